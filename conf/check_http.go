package conf

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"weir/conf/internal/tree"
)

// Options of checks that use HTTP.

func httpKeys() []key[checkDraft] {
	return []key[checkDraft]{
		onlyIn(httpTypes, scalar("method", orEmpty(httpMethodType()), "", func(c *checkDraft) *string { return &c.Method },
			"request method.").withDefaultText("`\"GET\"`")),
		onlyIn(httpTypes, scalar("path", orEmpty(httpPathType()), "", func(c *checkDraft) *string { return &c.Path },
			"request path, with a query if needed.").withDefaultText("`\"/\"`").withAliases("uri").hideValue()),
		onlyIn(httpTypes, scalar("host", orEmpty(httpHostType()), "", func(c *checkDraft) *string { return &c.Host },
			"the Host header.").withDefaultText("the host and port that are checked")),
		onlyIn(httpTypes, headersKey()),
		onlyIn(httpTypes, scalar("body", bytesType(), "", func(c *checkDraft) *[]byte { return &c.Body },
			"request body; text, or bytes as `\"0x…\"`.").hideValue()),
		onlyIn(httpTypes, scalar("ok_codes", orEmpty(statusCodesType()), "", func(c *checkDraft) *string { return &c.OKCodes },
			"status codes that pass, such as `200`, `40x` or `2xx`, separated by spaces or commas.").
			withDefaultText("`\"101 102 2xx 3xx\"`, agent_http `\"2xx\"`").withAliases("expected_status", "status")),
		onlyIn("agent_http", urlKey()),
	}
}

// finishHTTP fills in defaults.
func finishHTTP(c *checkDraft) {
	c.Method = cmp.Or(c.Method, "GET")
	c.Path = cmp.Or(c.Path, "/")
	switch {
	case c.OKCodes != "":
	case c.Type == "http":
		c.OKCodes = "101 102 2xx 3xx"
	default:
		c.OKCodes = "2xx"
	}
}

func httpMethodType() valueType[string] {
	return textType("method", func(s string) error {
		if !isToken(s) {
			return fmt.Errorf("want a method such as GET, got %s", tree.Quote(s))
		}
		return nil
	})
}

func httpPathType() valueType[string] {
	return textType("path", func(s string) error {
		switch {
		case !strings.HasPrefix(s, "/"):
			return fmt.Errorf("must start with /, got %s", tree.Quote(s))
		case hasBlank(s):
			return fmt.Errorf("space or control character in %s; write %%20 for a space", tree.Quote(s))
		}
		return nil
	})
}

func httpHostType() valueType[string] {
	return textType("host", func(s string) error {
		if hasBlank(s) || strings.Contains(s, "/") {
			return fmt.Errorf("want a host such as \"www.example.com\", got %s", tree.Quote(s))
		}
		return nil
	})
}

func statusCodesType() valueType[string] {
	k := textType("status codes", func(s string) error {
		words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
		if len(words) == 0 {
			return fmt.Errorf("want status codes such as 200, 40x or 2xx, got %s", tree.Quote(s))
		}
		for _, w := range words {
			if !isCode(strings.ToLower(w)) {
				return fmt.Errorf("want status codes such as 200, 40x or 2xx, got %s", tree.Quote(w))
			}
		}
		return nil
	})
	parse := k.parse
	k.parse = func(n *tree.Node) (string, error) {
		if _, ok := n.Value.(string); !ok {
			return "", fmt.Errorf("want a string of status codes such as \"200 40x\", got %s", n.Describe())
		}
		return parse(n)
	}
	return k
}

// isCode reports whether w is three digits from 100 on, or such digits with x for the last one or two.
func isCode(w string) bool {
	if len(w) != 3 || w[0] < '1' || w[0] > '9' {
		return false
	}
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return digit(w[1]) && (digit(w[2]) || w[2] == 'x') || w[1:] == "xx"
}

func headersKey() key[checkDraft] {
	return key[checkDraft]{
		name: "headers", typeText: "table or list of strings", aliases: []string{"header"},
		doc: "additional header lines: `{ Authorization = \"Bearer …\" }`, or as a list, `[\"Authorization: Bearer …\"]`.",
		decode: func(d *decoder, n *tree.Node, c *checkDraft) {
			switch n.Kind {
			case tree.Table:
				for _, e := range n.Keys {
					decodeHeader(d, e, e.Name, c)
				}
			case tree.List:
				for _, e := range n.Items {
					decodeHeaderLine(d, e, c)
				}
			default:
				d.errorAt(n, "want a table such as { Accept = \"text/plain\" }")
			}
		},
		show: func(c *checkDraft) string {
			var b strings.Builder
			for _, h := range c.Headers {
				b.WriteString(h.Name + ": " + h.Value + "\n")
			}
			return b.String()
		},
		secret: true,
	}
}

// decodeHeader decodes a header whose value is n.
func decodeHeader(d *decoder, n *tree.Node, name string, c *checkDraft) {
	value, ok := n.Value.(string)
	switch { // messages do not show the value, which may be a secret
	case !isToken(name):
		d.errorAtKey(n, "%s is not a header name", tree.QuoteKey(name))
	case !ok:
		d.errorAt(n, "want a string")
	case strings.ContainsAny(value, "\r\n\x00"):
		d.errorAt(n, "want a header value without line breaks")
	default:
		c.Headers = append(c.Headers, Header{name, value})
	}
}

// decodeHeaderLine decodes a header in the form "Name: value".
func decodeHeaderLine(d *decoder, n *tree.Node, c *checkDraft) {
	line, ok := n.Value.(string)
	name, value, pair := strings.Cut(line, ":")
	switch {
	case !ok || !pair || !isToken(name):
		d.errorAt(n, "want a header such as \"Accept: text/plain\"")
	case strings.ContainsAny(value, "\r\n\x00"):
		d.errorAt(n, "want a header value without line breaks")
	default:
		c.Headers = append(c.Headers, Header{name, strings.TrimSpace(value)})
	}
}

// urlKey sets what address, port, path and tls set.
func urlKey() key[checkDraft] {
	return key[checkDraft]{
		name: "url", typeText: "URL",
		doc: "URL of the agent, instead of `address`, `port`, `path` and `tls`: `\"http://10.0.0.9:8080/weight\"`, or " +
			"`\"http://:8080/weight\"` for an agent on each server's host.",
		decode: func(d *decoder, n *tree.Node, c *checkDraft) {
			u, err := parseURL(n)
			if err != nil {
				d.errorAt(n, "%s", err)
				return
			}
			for _, name := range []string{"address", "port", "path", "tls"} {
				if n.Parent.Get(name) != nil {
					d.errorAtKey(n, "url and %s exclude each other", name)
				}
			}
			c.Address, c.Port, c.Path, c.TLS.On = u.host, u.port, u.path, u.secure
		},
	}
}

type agentURL struct {
	host   string
	port   int
	path   string
	secure bool
}

func parseURL(n *tree.Node) (u agentURL, err error) {
	const want = "want a URL such as \"http://10.0.0.9:8080/weight\""
	s, ok := n.Value.(string)
	if !ok {
		return u, errors.New(want)
	}
	parsed, err := url.Parse(s)
	switch {
	case err != nil || hasBlank(s) || parsed.Opaque != "" || parsed.Fragment != "" || parsed.Scheme != "http" && parsed.Scheme != "https":
		return u, errors.New(want) // without the value, which may contain a password
	case parsed.User != nil:
		return u, errors.New("want a URL without a user; use headers for a login")
	}
	port, err := strconv.ParseUint(parsed.Port(), 10, 16)
	if err != nil || port == 0 {
		return u, fmt.Errorf("agent_http check requires a port: %s", want)
	}
	if host := parsed.Hostname(); host != "" {
		if u.host, err = parseHost(host); err != nil {
			return u, err
		}
	}
	u.port, u.path, u.secure = int(port), parsed.RequestURI(), parsed.Scheme == "https"
	return u, nil
}

func hasBlank(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
