package checks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
)

// DefaultCodes are the status codes that pass an HTTP check without codes.
const DefaultCodes = "101 102 2xx 3xx"

// HTTP sends one request and checks the status code of the reply and, if Expect is set, its body. Redirects are not
// followed, and nothing is decompressed. Interim replies (1xx but 101) are skipped.
type HTTP struct {
	Method  string      // "" = GET
	Path    string      // "" = /
	Host    string      // the Host header; "" = the target's host and port
	Headers [][2]string // further header lines: name, value
	Body    []byte
	Codes   string // in the format of ParseCodes; "" = DefaultCodes
	Expect  []byte // must occur in the first 64 kB of the body as sent; nil = the body is not read
	TLS     *TLS   // nil = plain
}

// Monitor returns the monitor, or an error if codes, TLS options or parts of the request are invalid.
func (o HTTP) Monitor() (Monitor, error) { return o.monitor(o.checkReply) }

// monitor returns a monitor that opens a connection for check.
func (o HTTP) monitor(check func(*checkConn, Target, *tls.Config, Codes) (Report, error)) (Monitor, error) {
	codes, err := ParseCodes(o.Codes)
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	return NewRedactor(o.secrets(), o.Path, string(o.Body)).monitor(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, secure)
		if err != nil {
			return Report{}, err
		}
		defer x.close()
		return check(x, t, secure, codes)
	}), nil
}

// checkReply sends the request and checks the reply.
func (o HTTP) checkReply(x *checkConn, t Target, secure *tls.Config, codes Codes) (Report, error) {
	response, err := o.roundTrip(x, t, secure)
	if err != nil {
		return Report{}, err
	}
	report := Report{Detail: clipText(response.status)}
	if !codes.Match(response.code) {
		return report, fmt.Errorf("status: expected %s, got %s", codes, quote([]byte(response.status)))
	}
	if len(o.Expect) > 0 {
		r := &replyReader{from: response.body}
		return report, r.awaitText(o.Expect, maxReply)
	}
	return report, nil
}

// secrets returns the values of the headers, and their parts after the first blank (credentials of an Authorization
// header).
func (o HTTP) secrets() []string {
	var list []string
	for _, h := range o.Headers {
		_, credentials, _ := strings.Cut(h[1], " ")
		list = append(list, h[1], credentials)
	}
	return list
}

// validate rejects options that would break the syntax of the request.
func (o HTTP) validate() error {
	for _, part := range [][2]string{{"method", o.Method}, {"path", o.Path}, {"host", o.Host}} {
		if strings.ContainsFunc(part[1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("%s: %q contains a blank or a control character", part[0], part[1])
		}
	}
	for _, h := range o.Headers {
		if h[0] == "" || strings.ContainsAny(h[0], " \t\r\n:") || strings.ContainsAny(h[1], "\r\n\x00") {
			return fmt.Errorf("headers: %q is not a header line", h[0]) // its value may be a secret
		}
	}
	return nil
}

// roundTrip sends the request and reads the head of the reply, after interim replies. The body remains to be read.
func (o HTTP) roundTrip(x *checkConn, t Target, secure *tls.Config) (*httpReply, error) {
	request := o.request(t, secure != nil)
	if _, err := x.Write(request); err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return nil, fmt.Errorf("send request: %w", err)
	}
	// After any other write error the server may have replied already. Then its reply counts.
	head := &cappedReader{from: x, limit: maxSkipped}
	response, err := readHTTP(head, o.method())
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errClosed
		}
		return nil, mismatch(err, "an HTTP status line and headers", head.first)
	}
	head.limit = head.read + 2*maxReply // for the body and its chunk sizes
	return response, nil
}

func (o HTTP) method() string {
	return cmp.Or(o.Method, "GET")
}

// request returns the request as sent.
func (o HTTP) request(t Target, secured bool) []byte {
	path := cmp.Or(o.Path, "/")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", o.method(), path)
	given := map[string]bool{}
	for _, h := range o.Headers {
		given[strings.ToLower(h[0])] = true
	}
	standard := func(name, value string) {
		if !given[strings.ToLower(name)] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	standard("Host", cmp.Or(o.Host, t.authority(secured)))
	standard("User-Agent", "weir")
	standard("Accept", "*/*")
	standard("Connection", "close")
	if len(o.Body) > 0 || o.method() == "POST" || o.method() == "PUT" {
		standard("Content-Length", fmt.Sprint(len(o.Body)))
	}
	for _, h := range o.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	b.Write(o.Body)
	return b.Bytes()
}

// authority returns the target as in a URL, without the default port of the scheme.
func (t Target) authority(secured bool) string {
	host := t.host()
	if strings.Contains(host, ":") {
		host, _, _ = strings.Cut(host, "%")
		host = "[" + host + "]"
	}
	i := strings.LastIndexByte(t.Address, ':')
	if t.Network == "unix" || i < 0 {
		return host
	}
	port := t.Address[i+1:]
	if secured && port == "443" || !secured && port == "80" {
		return host
	}
	return host + ":" + port
}

// cappedReader limits the bytes read and keeps the first ones for error messages.
type cappedReader struct {
	from  io.Reader
	limit int
	read  int
	first []byte
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.read == c.limit {
		return 0, tooLargeError(c.limit)
	}
	n, err := c.from.Read(p[:min(len(p), c.limit-c.read)])
	c.read += n
	if room := maxQuote + 1 - len(c.first); room > 0 {
		c.first = append(c.first, p[:min(n, room)]...)
	}
	return n, err
}
