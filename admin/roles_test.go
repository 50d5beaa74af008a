package admin

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"weir/conf"
)

// role is a client of one address and what it may do there.
type role struct {
	name   string
	client *http.Client
	base   string // URL without a path
	token  string
	may    access
}

// do sends a request without following redirects. It returns the status code and the access that the response states.
func (c *role) do(t *testing.T, method, path, body string) (code int, stated string) {
	t.Helper()
	var text io.Reader
	if body != "" {
		text = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, c.base+path, text)
	require.NoError(t, err)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.client.Do(req)
	require.NoError(t, err, "%s %s", method, path)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header.Get("Weir-Access")
}

// allRoles serves f with every kind of access and returns the clients.
func allRoles(t *testing.T, f *fakeWeir) []role {
	t.Helper()
	ours := newAuthority(t)
	cert, key := ours.issue(t, "server")
	opsCert, opsKey := ours.issue(t, "ops")
	file := func(name, token string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(token+"\n"), 0o600))
		return path
	}
	const full, reader, wrong = "full-full-full-full", "read-read-read-read", "wrong-wrong-wrong-wrong"
	spec := conf.Admin{Explicit: true, TokenFile: file("full", full), ReadTokenFile: file("read", reader)}
	serve := func(change func(*conf.Admin)) (base string) {
		own := spec
		own.Listen = []conf.Address{freePort(t)}
		change(&own)
		startServer(t, f, own)
		if own.TLSCertFile != "" {
			return "https://" + own.Listen[0].String()
		}
		return "http://" + own.Listen[0].String()
	}
	withTLS := func(a *conf.Admin) { a.TLSCertFile, a.TLSKeyFile = cert, key }
	withClientCA := func(a *conf.Admin) { withTLS(a); a.TLSClientCAFile = ours.file }
	withoutTokens := func(a *conf.Admin) { a.TokenFile, a.ReadTokenFile = "", "" }

	open := serve(withoutTokens)
	guarded := serve(func(*conf.Admin) {})
	readable := serve(func(a *conf.Admin) { a.TokenFile = "" })
	encrypted := serve(func(a *conf.Admin) { withTLS(a); withoutTokens(a) })
	mutual := serve(func(a *conf.Admin) { withClientCA(a); withoutTokens(a) })
	both := serve(withClientCA)
	socket := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	startServer(t, f, conf.Admin{Listen: []conf.Address{socket}, Explicit: true, TokenFile: spec.TokenFile})

	plain, anonymous, ops := httpClient(socket), ours.client(t, "", ""), ours.client(t, opsCert, opsKey)
	for _, base := range []string{mutual, both} { // the handshake fails, whatever the request is
		_, err := anonymous.Get(base + "/v1/status")
		require.ErrorContains(t, err, "certificate required")
	}
	tcp := ours.client(t, "", "")
	for _, c := range []*http.Client{tcp, anonymous, ops, plain} { // thousands of requests
		transport := c.Transport.(*http.Transport)
		transport.DisableKeepAlives = false
		if transport.TLSClientConfig != nil {
			transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
		t.Cleanup(transport.CloseIdleConnections)
	}
	return []role{
		{"anonymous without tokens", tcp, open, "", readAccess},
		{"any token without tokens", tcp, open, wrong, readAccess},
		{"anonymous", tcp, guarded, "", noAccess},
		{"wrong token", tcp, guarded, wrong, noAccess},
		{"read token", tcp, guarded, reader, readAccess},
		{"full token", tcp, guarded, full, fullAccess},
		{"anonymous with read_token_file only", tcp, readable, "", noAccess},
		{"read token with read_token_file only", tcp, readable, reader, readAccess},
		{"full token with read_token_file only", tcp, readable, full, noAccess},
		{"TLS without a credential", anonymous, encrypted, "", readAccess},
		{"client certificate", ops, mutual, "", fullAccess},
		{"client certificate without the token", ops, both, "", noAccess},
		{"client certificate and read token", ops, both, reader, readAccess},
		{"client certificate and full token", ops, both, full, fullAccess},
		{"unix socket", plain, "http://weir", "", fullAccess},
		{"unix socket and wrong token", plain, "http://weir", wrong, fullAccess},
	}
}

// Every client may use every path with every method as its role permits, and nothing else: a request that is refused
// does not reach weir. The paths and methods are those of openapi.yaml.
func TestRolesOnEveryEndpoint(t *testing.T) {
	f := newFakeWeir()
	roles := allRoles(t, f)
	paths := loadOpenAPI(t).Paths.Map()
	require.Greater(t, len(paths), 20)
	for _, c := range roles {
		t.Run(c.name, func(t *testing.T) {
			for path, item := range paths {
				url := strings.NewReplacer("{cluster}", "c", "{server}", "a", "{id}", "7", "{node}", "n").Replace(path)
				require.NotContains(t, url, "{")
				if path == "/v1/events" {
					url += "?follow=false"
				}
				for _, method := range []string{get, http.MethodHead, put, post, patch, del, http.MethodOptions} {
					checkRole(t, f, &c, method, url, item)
				}
			}
		})
	}
}

// checkRole checks the response to one request.
func checkRole(t *testing.T, f *fakeWeir, c *role, method, url string, item *openapi3.PathItem) {
	t.Helper()
	what := method + " " + url
	reading := method == get || method == http.MethodHead
	op := item.GetOperation(method)
	if method == http.MethodHead {
		op = item.Get
	}
	body := ""
	if op != nil && op.RequestBody != nil {
		body = "{}"
	}
	select {
	case f.cut <- 0: // the answer of a stop
	default:
	}
	require.NoError(t, f.record("nothing"))
	code, stated := c.do(t, method, url, body)
	switch {
	case c.may == noAccess:
		require.Equal(t, http.StatusUnauthorized, code, what)
	case c.may == readAccess && !reading:
		require.Equal(t, http.StatusForbidden, code, what)
	case op == nil:
		require.Equal(t, http.StatusMethodNotAllowed, code, what)
		return
	default:
		require.True(t, code >= 200 && code < 300, "%s: %d", what, code)
		require.Equal(t, map[access]string{readAccess: "read", fullAccess: "full"}[c.may], stated, what)
		return
	}
	require.Equal(t, "nothing", f.lastCall(), what)
	require.Empty(t, stated, what)
}
