package cli

// How client commands find the running weir and talk to it.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/conf"
)

// reach is what the flags of a client command say: where weir is, and how to answer.
type clientFlags struct {
	admin     string
	tokenFile string
	json      bool
}

func (flags *clientFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.admin, "admin", "", "where the API is, as `address`: unix:/path or host:port (default $WEIR_ADMIN, else "+conf.DefaultAdminSocket+")")
	f.StringVar(&flags.tokenFile, "token-file", "", "a `file` with the token of the API (default $WEIR_TOKEN_FILE)")
	f.BoolVar(&flags.json, "json", false, "answer in JSON")
	cmd.MarkFlagFilename("token-file")
}

// requestTimeout bounds a request whose answer needs no waiting for anything.
const requestTimeout = 30 * time.Second

// client talks to the API.
type client struct {
	address string
	base    string // of URLs
	token   string
	seen    uint64 // the last event that came; 0 = none
	http    *http.Client
}

func (flags *clientFlags) client() (*client, error) {
	c := &client{address: firstOf(flags.admin, os.Getenv("WEIR_ADMIN"), conf.DefaultAdminSocket)}
	if file := firstOf(flags.tokenFile, os.Getenv("WEIR_TOKEN_FILE")); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		c.token = strings.TrimSpace(line)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	if path, ok := strings.CutPrefix(c.address, "unix:"); ok {
		c.base = "http://weir"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else {
		if _, _, err := net.SplitHostPort(c.address); err != nil {
			return nil, fmt.Errorf("admin address %q: want unix:/path or host:port", c.address)
		}
		c.base = "http://" + c.address
	}
	c.http = &http.Client{Transport: transport}
	return c, nil
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// path joins the parts of a URL's path, each of which may hold anything.
func path(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// open sends a request and returns the answer's body; the caller closes it. Refusals are errors that end the command.
func (c *client) open(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.seen > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(c.seen, 10))
	}
	res, err := c.http.Do(req)
	if err != nil {
		if inner, ok := err.(*url.Error); ok {
			err = inner.Err
		}
		return nil, ExitError{ExitUnreachable, fmt.Errorf("cannot reach weir at %s: %w", c.address, err)}
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	var problem struct{ Error, Field string }
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
		return nil, ExitError{ExitUnreachable, fmt.Errorf("no weir at %s: %s", c.address, res.Status)}
	}
	if res.StatusCode == http.StatusUnauthorized {
		problem.Error = "weir at " + c.address + " wants its token: --token-file or $WEIR_TOKEN_FILE"
		if c.token != "" {
			problem.Error = "weir at " + c.address + " has another token"
		}
	}
	if problem.Field != "" && res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusUnprocessableEntity {
		problem.Error = problem.Field + ": " + problem.Error
	}
	return nil, ExitError{ExitUsage, fmt.Errorf("%s", problem.Error)}
}

// do sends a request and reads the answer into out, which may be nil, and returns its text.
func (c *client) do(ctx context.Context, method, path string, body []byte, out any) ([]byte, error) {
	answer, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	text, err := io.ReadAll(answer)
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return nil, ExitError{ExitUnreachable, fmt.Errorf("the answer of %s: %w", c.address, err)}
	}
	return text, nil
}

// ask sends a request, shows the answer, in JSON as it came or else with show, and returns it.
func ask[T any](cmd *cobra.Command, flags *clientFlags, method, path string, body []byte, show func(w io.Writer, answer T)) (T, error) {
	return requestWithin(requestTimeout, cmd, flags, method, path, body, show)
}

func requestWithin[T any](
	limit time.Duration, cmd *cobra.Command, flags *clientFlags, method, path string, body []byte, show func(w io.Writer, answer T),
) (T, error) {
	var answer T
	c, err := flags.client()
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	text, err := c.do(ctx, method, path, body, &answer)
	if err != nil {
		return answer, err
	}
	out := cmd.OutOrStdout()
	if flags.json {
		return answer, indent(out, text)
	}
	show(out, answer)
	return answer, nil
}

// tell is ask for commands that are done with the answer.
func request[T any](cmd *cobra.Command, flags *clientFlags, method, path string, body []byte, show func(w io.Writer, answer T)) error {
	_, err := ask(cmd, flags, method, path, body, show)
	return err
}

func indent(w io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
