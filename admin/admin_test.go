package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
	"weir/internal/status"
)

// startServer starts an API server for w; the test closes it.
func startServer(t *testing.T, w Weir, spec conf.Admin) *Server {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler), unixSockets)
	s.Start(w)
	guard, wrong := NewGuard(spec)
	require.Empty(t, wrong)
	c, err := s.Prepare(spec, guard)
	require.NoError(t, err)
	c.Commit()
	t.Cleanup(s.Close)
	return s
}

func unixAddress(path string) conf.Address { return conf.Address{Path: path} }

// freePort returns a loopback address that is not in use.
func freePort(t *testing.T) conf.Address {
	t.Helper()
	at := netip.MustParseAddrPort(nettest.Reserve(t))
	return conf.Address{Addr: at, Port: at.Port()}
}

// httpClient returns an HTTP client that connects to one address.
func httpClient(at conf.Address) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if at.Path != "" {
				return (&net.Dialer{}).DialContext(ctx, "unix", at.Path)
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", at.Addr.String())
		},
	}}
}

// request sends a request. what is METHOD PATH; header alternates names and values.
func request(t *testing.T, c *http.Client, what, body string, header ...string) (*http.Response, string) {
	t.Helper()
	method, path, _ := strings.Cut(what, " ")
	req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(text)
}

func TestEndpoints(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	c := httpClient(at)
	for _, test := range []struct {
		what, body string
		code       int
		asked      string // of the weir
		says       string
	}{
		{"GET /healthz", "", 200, "", `{"ok":true}`},
		{"HEAD /healthz", "", 200, "", ""},
		{"GET /readyz", "", 200, "", `{"ready":true}`},
		{"GET /v1/status", "", 200, "", `"version":"test"`},
		{"GET /v1/clusters", "", 200, "", `[{"name":"c"`},
		{"GET /v1/clusters/c", "", 200, "", `{"name":"c"`},
		{"GET /v1/clusters/d", "", 404, "", `{"error":"no cluster d","field":"cluster"}`},
		{"PUT /v1/clusters/c", "{x}", 201, "put c {x}", `{"name":"c"`},
		{"DELETE /v1/clusters/c", "", 204, "remove c", ""},
		{"POST /v1/clusters/c/failback", "", 204, "failback c", ""},
		{"GET /v1/clusters/c/discover", "", 200, "discoveries of c", `{"cluster":"c","providers":[]}`},
		{"POST /v1/clusters/c/topology/reset", "", 204, "reset topology c", ""},
		{"POST /v1/clusters/c/servers", "{}", 201, "add c {}", `"name":"new"`},
		{"GET /v1/clusters/c/servers/a", "", 200, "", `"name":"a"`},
		{"GET /v1/clusters/c/servers/a/explain", "", 200, "", `"cluster":"c"`},
		{"PATCH /v1/clusters/c/servers/a", "{y}", 200, "override c a {y}", `"name":"a"`},
		{"PATCH /v1/clusters/c/servers/unix:%2Frun%2Fx.sock", "{y}", 200, "override c unix:/run/x.sock {y}", ""},
		{"DELETE /v1/clusters/c/servers/a", "", 204, "remove c a", ""},
		{"POST /v1/clusters/c/servers/a/restore", "", 200, "restore c a", `"name":"a"`},
		{"POST /v1/clusters/c/servers/a/feedback", "{z}", 200, "feedback c a {z}", ""},
		{"DELETE /v1/clusters/c/servers/a/sessions", "", 200, "cut c a", `{"sessions_cut":3}`},
		{"GET /v1/sessions", "", 200, "sessions ", `[{"id":7`},
		{"GET /v1/sessions?cluster=c&limit=5", "", 200, "sessions c", `[{"id":7`},
		{"GET /v1/history", "", 200, "history of / since ", `"step_seconds":10`},
		{"GET /v1/history?cluster=c&server=a&since=5m", "", 200, "history of c/a since 5m0s", `{"cluster":"c","server":"a"`},
		{"GET /v1/history?cluster=c&since=2000-01-01T00:00:00Z", "", 200, "history of c/ since long ago", `"cluster":"c"`},
		{"GET /v1/history?since=yesterday", "", 400, "", `"field":"since"`},
		{"GET /v1/history?since=-5m", "", 400, "", `"field":"since"`},
		{"GET /v1/history?clutser=c", "", 400, "", `unknown parameter`},
		{"GET /v1/sessions?limit=0", "", 400, "", `"field":"limit"`},
		{"GET /v1/sessions?limit=many", "", 400, "", `"field":"limit"`},
		{"GET /v1/sessions?limit=1000000", "", 400, "", `"field":"limit"`},
		{"DELETE /v1/sessions/7", "", 204, "cut 7", ""},
		{"DELETE /v1/sessions/8", "", 404, "", `{"error":"no such session","field":"id"}`},
		{"DELETE /v1/sessions/x", "", 400, "", `"field":"id"`},
		{"POST /v1/reload", "", 200, "reload", `"file":""`},
		{"POST /v1/plan", "", 200, "plan of the file", `{"steps":[]`},
		{"POST /v1/plan", "text", 200, "plan text", `{"steps":[]`},
		{"POST /v1/stop", `{"now": 1}`, 400, "", `{"error":"want true or false, got 1","field":"now"}`},
		{"POST /v1/stop", `{`, 400, "", `want JSON`},
		{"GET /v1/events?follow=perhaps", "", 400, "", `"field":"follow"`},
		{"POST /v1/status", "", 405, "", `{"error":"want GET, HEAD, got POST","field":""}`},
		{"DELETE /v1/reload", "", 405, "", `want POST, got DELETE`},
		{"GET /v1/sessions?clutser=c", "", 400, "", `unknown parameter \"clutser\", want listener`},
		{"GET /v1/sessions?limit=1&limit=2", "", 400, "", `"field":"limit"`},
		{"GET /v1/sessions?a;b", "", 400, "", `invalid query string`},
		{"GET /v1/events?folow=false", "", 400, "", `"field":"folow"`},
		{"GET //v1/status", "", 404, "", `"error":"no such path`},
		{"GET /v1/clusters/../status", "", 404, "", `"error":"no such path`},
		{"GET /v1/status/", "", 404, "", `"error":"no such path`},
		{"GET /v1/nothing", "", 404, "", `"error":"no such path`},
		{"GET /v2", "", 404, "", `"error":"no such path`},
		{"PUT /v1/clusters/c", strings.Repeat("x", maxBody+1), 413, "", `{"error":"request body too large","field":""}`},
	} {
		t.Run(test.what, func(t *testing.T) {
			f.calls = nil
			res, text := request(t, c, test.what, test.body)
			require.Equal(t, test.code, res.StatusCode, text)
			require.Contains(t, text, test.says)
			require.Equal(t, test.asked, f.lastCall())
			require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
			require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
			if text != "" {
				require.Equal(t, "application/json", res.Header.Get("Content-Type"))
				require.True(t, json.Valid([]byte(text)))
			}
		})
	}
}

func TestRequestErrorStatusCodes(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	c := httpClient(at)
	for why, code := range map[status.ErrorKind]int{
		status.Invalid: 400, status.NotFound: 404, status.Conflict: 409, status.Unprocessable: 422, status.Unavailable: 503,
	} {
		f.err = &status.RequestError{Kind: why, Field: "weight", Text: "so what"}
		for _, what := range []string{
			"PUT /v1/clusters/c", "DELETE /v1/clusters/c", "POST /v1/clusters/c/servers", "PATCH /v1/clusters/c/servers/a",
			"DELETE /v1/clusters/c/servers/a", "POST /v1/clusters/c/servers/a/feedback", "DELETE /v1/clusters/c/servers/a/sessions",
			"POST /v1/reload", "POST /v1/plan", "POST /v1/clusters/c/failback", "POST /v1/clusters/c/topology/reset",
		} {
			res, text := request(t, c, what, "{}")
			require.Equal(t, code, res.StatusCode, what)
			require.JSONEq(t, `{"error": "so what", "field": "weight"}`, text, what)
		}
	}
	f.err = io.ErrUnexpectedEOF
	res, _ := request(t, c, "POST /v1/reload", "")
	require.Equal(t, 500, res.StatusCode)
	f.ready = false
	res, _ = request(t, c, "GET /readyz", "")
	require.Equal(t, 503, res.StatusCode)
	res, _ = request(t, c, "GET /healthz", "")
	require.Equal(t, 200, res.StatusCode)
}

func TestTokenIsRequiredOnTCP(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(file, []byte("s3cret-s3cret-s3cret\n"), 0o600))
	tcp, unix := freePort(t), unixAddress(filepath.Join(dir, "a.sock"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{tcp, unix}, Explicit: true, TokenFile: file})
	for _, path := range []string{"/v1/status", "/healthz", "/readyz", "/metrics", "/", "/v1/nothing"} {
		for _, header := range []string{"", "s3cret-s3cret-s3cret", "Bearer", "Bearer s3cret-s3cret-s3cre", "Bearer s3cret-s3cret-s3cret2", "Basic s3cret-s3cret-s3cret"} {
			res, text := request(t, httpClient(tcp), "GET "+path, "", "Authorization", header)
			require.Equal(t, 401, res.StatusCode, "%s %q", path, header)
			require.NotContains(t, text, "s3cret")
		}
		res, _ := request(t, httpClient(tcp), "GET "+path, "", "Authorization", "Bearer s3cret-s3cret-s3cret")
		require.NotEqual(t, 401, res.StatusCode, path)
	}
	res, _ := request(t, httpClient(tcp), "GET /v1/status", "", "Authorization", "bearer s3cret-s3cret-s3cret", "Host", "weir.example:9280")
	require.Equal(t, 200, res.StatusCode)
	res, _ = request(t, httpClient(unix), "GET /v1/status", "")
	require.Equal(t, 200, res.StatusCode, "unix sockets rely on their mode")
}

// A web page can reach a loopback address. It must not change anything there, nor read under a host name of its own.
func TestRequestsFromOtherOriginsAreRejected(t *testing.T) {
	at := freePort(t)
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	c := httpClient(at)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "http://evil.example"}} {
		res, text := request(t, c, "POST /v1/reload", "", header...)
		require.Equal(t, 403, res.StatusCode)
		require.Contains(t, text, "another origin")
	}
	for _, host := range []string{"evil.example", "evil.example:9280", "127.0.0.1.evil.example"} {
		res, _ := request(t, c, "GET /v1/status", "", "Host", host)
		require.Equal(t, 421, res.StatusCode, host)
	}
	for _, host := range []string{"localhost:9280", "127.0.0.1", "[::1]:9280"} {
		res, _ := request(t, c, "GET /v1/status", "", "Host", host)
		require.Equal(t, 200, res.StatusCode, host)
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
	} {
		res, _ := request(t, c, "GET /v1/events?follow=false", "", header...)
		require.Equal(t, 403, res.StatusCode, "%v: nor take up places", header)
	}
	link := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	res, _ := request(t, c, "GET /", "", link...)
	require.Equal(t, 200, res.StatusCode, "its user may follow a link to the dashboard")
	res, text := request(t, c, "POST /v1/clusters/c/servers", "{}", "Content-Type", "application/json")
	require.Equal(t, 403, res.StatusCode)
	require.Contains(t, text, "read-only")
	require.Empty(t, f.lastCall())
}

// With client certificates a browser may make changes. It must post JSON, so that no HTML form can.
func TestBrowserMustPostJSON(t *testing.T) {
	g := &Guard{tls: &tls.Config{ClientCAs: x509.NewCertPool()}}
	post := func(path, body, kind, agent string) int {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("User-Agent", agent)
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		if _, no := g.check(r); no != nil {
			require.Equal(t, "Content-Type", no.field)
			return no.code
		}
		return 200
	}
	const browser, curl = "Mozilla/5.0 (X11)", "curl/8.5.0"
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense;"} {
		require.Equal(t, 415, post("/v1/clusters/c/servers", "{}", kind, browser), kind)
		require.Equal(t, 200, post("/v1/clusters/c/servers", "{}", kind, curl), kind)
	}
	for _, kind := range []string{"", "application/json", "application/json; charset=utf-8", "application/vnd.x+json"} {
		require.Equal(t, 200, post("/v1/clusters/c/servers", "{}", kind, browser), kind)
	}
	require.Equal(t, 200, post("/v1/plan", "text", "text/plain", browser))
	require.Equal(t, 200, post("/v1/reload", "", "application/x-www-form-urlencoded", browser), "without a body")
}

// A disconnected client of the event stream frees its place.
func TestSlowStreamClientIsDisconnected(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	s := New(slog.New(slog.DiscardHandler), unixSockets)
	s.streamWriteTimeout = 50 * time.Millisecond
	s.Start(f)
	c, err := s.Prepare(conf.Admin{Listen: []conf.Address{at}, Explicit: true}, &Guard{})
	require.NoError(t, err)
	c.Commit()
	t.Cleanup(s.Close)
	stream, err := httpClient(at).Get("http://weir/v1/events")
	require.NoError(t, err)
	defer stream.Body.Close()
	require.Eventually(t, func() bool { return s.streams.Load() == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { f.addEvent(strings.Repeat("x", 64<<10)); return s.streams.Load() == 0 }, 10*time.Second, time.Millisecond)
}

// A text of few bytes and many keys is refused before it takes hundreds of megabytes and seconds to parse.
func TestPlanOfManyKeysIsRefused(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	for _, body := range []string{strings.Repeat("a=1\n", 900_000), "a=" + strings.Repeat("[", 1_000_000), strings.Repeat("[a]\n", 900_000)} {
		res, text := request(t, httpClient(at), "POST /v1/plan", body)
		require.Equal(t, 413, res.StatusCode)
		require.Contains(t, text, "300000 keys and values")
		require.Empty(t, f.lastCall())
	}
	server := `{ address = "10.0.100.200:6379", name = "server-000000", weight = 10, max_fails = 3, fail_timeout = "10s" },` + "\n"
	res, _ := request(t, httpClient(at), "POST /v1/plan", strings.Repeat(server, 10_000))
	require.Equal(t, 200, res.StatusCode, "ten thousand servers")
}

// A configuration to roll out has the limits of one to plan: a few of many keys took gigabytes at once.
func TestRollOutHasLimitsOfPlan(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	s := startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	apply := func(text string) int {
		res, _ := request(t, httpClient(at), "POST /v1/fleet/config", fmt.Sprintf(`{"text": %q}`, text))
		return res.StatusCode
	}
	require.Equal(t, 413, apply(strings.Repeat("[a]", maxMarks+1)))
	s.plans <- struct{}{}
	require.Equal(t, 503, apply("a = 1"))
	require.Empty(t, f.lastCall())
	<-s.plans
	require.Equal(t, 202, apply("a = 1"))
}

func TestPlanLimit(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	for range maxPlans {
		s.plans <- struct{}{}
	}
	res, _ := request(t, httpClient(at), "POST /v1/plan", "")
	require.Equal(t, 503, res.StatusCode)
	<-s.plans
	res, _ = request(t, httpClient(at), "POST /v1/plan", "")
	require.Equal(t, 200, res.StatusCode)
}

func TestEventStream(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	s := startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	f.addEvent("server_down")
	f.addEvent("server_up")
	res, text := request(t, httpClient(at), "GET /v1/events?follow=false", "")
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(t, 2, strings.Count(text, "data: "))
	require.True(t, strings.HasPrefix(text, "id: 1\nevent: server_down\ndata: {\"id\":1,"), text)
	_, text = request(t, httpClient(at), "GET /v1/events?follow=false", "", "Last-Event-ID", "1")
	require.True(t, strings.HasPrefix(text, "id: 2\n"), text)
	res, _ = request(t, httpClient(at), "GET /v1/events", "", "Last-Event-ID", "last")
	require.Equal(t, 400, res.StatusCode)

	stream, err := httpClient(at).Get("http://weir/v1/events")
	require.NoError(t, err)
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	next := func() string {
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				return name
			}
		}
		return "end"
	}
	require.Equal(t, "server_down", next())
	require.Equal(t, "server_up", next())
	f.addEvent("reload")
	require.Equal(t, "reload", next())
	began := time.Now()
	s.Close() // ends streams at once
	require.Equal(t, "end", next())
	require.Less(t, nettest.Elapsed(began), closePatience)
}

// An event stream ends when a reload takes its token away or changes what it permits, and continues when it does neither.
func TestEventStreamOfRevokedTokenEnds(t *testing.T) {
	dir := t.TempDir()
	file := func(name, token string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
		return path
	}
	const old, reading, later = "0123456789abcdef-old", "0123456789abcdef-read", "0123456789abcdef-later"
	at := freePort(t)
	spec := conf.Admin{Listen: []conf.Address{at}, Explicit: true, TokenFile: file("t", old), ReadTokenFile: file("r", reading)}
	f := newFakeWeir()
	s := startServer(t, f, spec)
	open := func(token string) *bufio.Scanner {
		req, err := http.NewRequest(http.MethodGet, "http://"+at.String()+"/v1/events", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := httpClient(at).Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { res.Body.Close() })
		require.Equal(t, 200, res.StatusCode)
		return bufio.NewScanner(res.Body)
	}
	next := func(lines *bufio.Scanner) string {
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				return name
			}
		}
		return "end"
	}
	reload := func() {
		guard, wrong := NewGuard(spec)
		require.Empty(t, wrong)
		c, err := s.Prepare(spec, guard)
		require.NoError(t, err)
		c.Commit()
	}
	full, reader := open(old), open(reading)
	reload()
	f.addEvent("one")
	require.Equal(t, []string{"one", "one"}, []string{next(full), next(reader)})
	file("t", later)
	reload()
	f.addEvent("two")
	require.Equal(t, []string{"end", "two"}, []string{next(full), next(reader)})
	spec.TokenFile, spec.ReadTokenFile = file("r", reading), ""
	reload()
	f.addEvent("three")
	require.Equal(t, "end", next(reader), "the token permits more")
}

// A request that takes no body refuses one: what the client asks for with it would not be done.
func TestBodyOfRequestWithoutOneIsRefused(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	for _, what := range []string{
		"POST /v1/reload", "POST /v1/upgrade", "POST /v1/clusters/c/failback", "POST /v1/clusters/c/topology/reset",
		"POST /v1/clusters/c/servers/a/restore", "DELETE /v1/clusters/c", "DELETE /v1/clusters/c/servers/a",
		"DELETE /v1/clusters/c/servers/a/sessions", "DELETE /v1/sessions/1",
	} {
		before := f.lastCall()
		res, text := request(t, httpClient(at), what, `{"file": "/etc/other.toml"}`)
		require.Equal(t, 400, res.StatusCode, what)
		require.Contains(t, text, "takes no request body")
		require.Equal(t, before, f.lastCall())
		res, _ = request(t, httpClient(at), what, "{}")
		require.NotEqual(t, 400, res.StatusCode, what)
	}
}

// Idle clients are connected and have not sent a complete request.
func TestCloseDoesNotWaitForIdleClients(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	for _, said := range []string{"", "GET /heal"} {
		c, err := net.Dial("unix", at.Path)
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte(said))
		require.NoError(t, err)
	}
	res, _ := request(t, httpClient(at), "GET /healthz", "") // by now they are in
	require.Equal(t, 200, res.StatusCode)
	began := time.Now()
	s.Close()
	require.Less(t, nettest.Elapsed(began), closePatience*3/4)
}

// A client that has connected while the API closes, at an upgrade for example, is answered: it cannot know.
func TestCloseAnswersClientThatHasJustConnected(t *testing.T) {
	answered := 0
	for range 20 {
		at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
		s := startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
		l := s.listeners[at.String()]
		c, err := net.Dial("unix", at.Path)
		require.NoError(t, err)
		defer c.Close()
		nettest.Wait(t, 5*time.Second, "the client", func() bool {
			l.limited.mu.Lock()
			defer l.limited.mu.Unlock()
			return l.limited.count == 1
		})
		closed := make(chan struct{})
		go func() { s.Close(); close(closed) }()
		<-l.limited.done
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: weir\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		text, _ := io.ReadAll(c)
		<-closed
		if strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
			answered++
		}
	}
	require.GreaterOrEqual(t, answered, 15) // a stall of the test leaves a client without its time
}

func TestStreamLimit(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	startServer(t, newFakeWeir(), conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	for range maxStreams {
		stream, err := httpClient(at).Get("http://weir/v1/events")
		require.NoError(t, err)
		defer stream.Body.Close()
	}
	res, _ := request(t, httpClient(at), "GET /v1/events", "")
	require.Equal(t, 503, res.StatusCode)
	res, _ = request(t, httpClient(at), "GET /v1/status", "")
	require.Equal(t, 200, res.StatusCode)
}

func TestStopRespondsWhenDone(t *testing.T) {
	at := unixAddress(filepath.Join(t.TempDir(), "a.sock"))
	f := newFakeWeir()
	startServer(t, f, conf.Admin{Listen: []conf.Address{at}, Explicit: true})
	time.AfterFunc(50*time.Millisecond, func() { f.cut <- 5 })
	res, text := request(t, httpClient(at), "POST /v1/stop", "")
	require.Equal(t, 200, res.StatusCode)
	require.JSONEq(t, `{"sessions_cut": 5}`, text)
}
