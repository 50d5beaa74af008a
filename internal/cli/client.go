package cli

// The client of the API, and the flags that select it.

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/conf"
)

// clientFlags are the flags that all client commands share.
type clientFlags struct {
	admin     string
	tokenFile string
	json      bool
	caFile    string
	certFile  string
	keyFile   string

	contentType string // of the request body; "" = none; set by a command
}

// add defines the flags for cmd.
func (flags *clientFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.admin, "admin", "", "the `address` of the API: unix:/path, host:port or https://host:port (default $WEIR_ADMIN, else "+conf.DefaultAdminSocket+")")
	f.StringVar(&flags.tokenFile, "token-file", "", "a `file` that contains the token of the API (default $WEIR_TOKEN_FILE)")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	f.StringVar(&flags.caFile, "ca-file", "", "a `file` with the authorities that https addresses are verified with (default the system's)")
	f.StringVar(&flags.certFile, "cert-file", "", "a `file` with the client certificate for https addresses")
	f.StringVar(&flags.keyFile, "key-file", "", "a `file` with the key of the client certificate")
	for _, name := range []string{"token-file", "ca-file", "cert-file", "key-file"} {
		cmd.MarkFlagFilename(name)
	}
}

// requestTimeout bounds a request that does not wait for sessions or a new process.
const requestTimeout = 30 * time.Second

// client sends requests to the API.
type client struct {
	address string
	base    string // scheme and host of URLs
	token   string
	content string // type of request bodies; "" = none
	limit   int    // of responses in bytes; 0 = maxResponse
	seen    uint64 // the ID of the last event received; 0 = none
	http    *http.Client
}

// client returns a client for the address and token that the flags and the environment specify.
func (flags *clientFlags) client() (*client, error) {
	c := &client{address: cmp.Or(flags.admin, os.Getenv("WEIR_ADMIN"), conf.DefaultAdminSocket), content: flags.contentType}
	if file := cmp.Or(flags.tokenFile, os.Getenv("WEIR_TOKEN_FILE")); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		c.token = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	if path, ok := strings.CutPrefix(c.address, "unix:"); ok {
		c.base = "http://weir"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	} else {
		host, secure := strings.CutPrefix(c.address, "https://")
		if _, _, err := net.SplitHostPort(host); err != nil {
			return nil, fmt.Errorf("admin address %q: want unix:/path, host:port or https://host:port", c.address)
		}
		c.base = "http://" + host
		if secure {
			c.base = c.address
			var err error
			if transport.TLSClientConfig, err = flags.tls(); err != nil {
				return nil, err
			}
		}
	}
	// The API redirects nowhere: a token must not follow to another address.
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// tls returns the TLS settings for https addresses.
func (flags *clientFlags) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if flags.caFile != "" {
		text, err := os.ReadFile(flags.caFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("CA file %s: want certificates in PEM format", flags.caFile)
		}
	}
	if flags.certFile != "" || flags.keyFile != "" {
		cert, err := tls.LoadX509KeyPair(flags.certFile, flags.keyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// path joins the parts of a URL path and escapes each.
func path(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// open sends a request and returns the body of the response, which the caller closes. An error response is an ExitError.
func (c *client) open(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.content != "" {
		req.Header.Set("Content-Type", c.content)
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
		return nil, ExitError{ExitUnreachable, fmt.Errorf("invalid response from %s: not a weir API: %s", c.address, res.Status)}
	}
	if res.StatusCode == http.StatusUnauthorized {
		problem.Error = "authentication failed: token required by " + c.address + "; set --token-file or $WEIR_TOKEN_FILE"
		if c.token != "" {
			problem.Error = "authentication failed: token rejected by " + c.address
		}
	}
	if res.StatusCode == http.StatusForbidden && strings.Contains(problem.Error, "admin.token_file") {
		problem.Error += "; use --admin unix:PATH (a unix socket), or --token-file or $WEIR_TOKEN_FILE with the token"
	}
	if res.StatusCode == http.StatusNotFound && (problem.Field == "cluster" || problem.Field == "server") {
		problem.Error += c.suggest(ctx, problem.Field, path)
	}
	if problem.Field != "" && !strings.HasPrefix(problem.Error, problem.Field+" ") && res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusUnprocessableEntity {
		problem.Error = problem.Field + ": " + problem.Error
	}
	return nil, ExitError{ExitUsage, fmt.Errorf("%s", problem.Error)}
}

// suggest returns the end of a message about an unknown cluster or server: the nearest name, or "". path is that of the
// request.
func (c *client) suggest(ctx context.Context, field, path string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/v1/clusters/"), "/")
	for i := range parts {
		if name, err := url.PathUnescape(parts[i]); err == nil {
			parts[i] = name
		}
	}
	doc, err := fetchStatus(ctx, c)
	switch {
	case err != nil:
		return ""
	case field == "cluster":
		return didYouMean(parts[0], clustersOf(doc))
	}
	for i := range doc.Clusters {
		if cluster := &doc.Clusters[i]; cluster.Name == parts[0] && len(parts) > 2 {
			if slices.Contains(cluster.Removed, parts[2]) {
				return fmt.Sprintf("; it was removed at run time: weir server %s/%s restore", parts[0], parts[2])
			}
			return didYouMean(parts[2], serversOf(cluster))
		}
	}
	return ""
}

// request sends a request and prints the response: as JSON with --json, else with show.
func request[T any](cmd *cobra.Command, flags *clientFlags, method, path string, body any, show func(w io.Writer, response T)) error {
	_, err := requestWithin(requestTimeout, cmd, flags, method, path, body, show)
	return err
}

// requestWithin is request with a time limit. It also returns the response.
func requestWithin[T any](
	limit time.Duration, cmd *cobra.Command, flags *clientFlags, method, path string, body any, show func(w io.Writer, response T),
) (T, error) {
	var response T
	c, err := flags.client()
	if err != nil {
		return response, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	text, err := c.do(ctx, method, path, body, &response)
	if err != nil {
		return response, err
	}
	out := cmd.OutOrStdout()
	if flags.json {
		return response, indent(out, text)
	}
	show(out, response)
	return response, nil
}

// done sends a request without a response body and prints that it was carried out: as JSON with --json, else as text.
func done(cmd *cobra.Command, flags *clientFlags, method, path, text string, document any) error {
	c, err := flags.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), requestTimeout)
	defer cancel()
	if _, err := c.do(ctx, method, path, nil, nil); err != nil {
		return err
	}
	if !flags.json {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}
	encoded, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return indent(cmd.OutOrStdout(), encoded)
}

// indent prints JSON in indented form.
func indent(w io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
