package discovery_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// endpoint is a server of lists over HTTP.
type endpoint struct {
	*httptest.Server
	mu       sync.Mutex
	text     string
	code     int
	version  int
	requests []*http.Request
	full     int // answers with a body
	stall    chan struct{}
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{code: http.StatusOK}
	e.Server = httptest.NewUnstartedServer(e)
	t.Cleanup(func() { e.Server.CloseClientConnections(); e.Server.Close() })
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.requests = append(e.requests, r)
	stall, text, code, tag := e.stall, e.text, e.code, `"`+strconv.Itoa(e.version)+`"`
	e.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-r.Context().Done():
		}
		return
	}
	w.Header().Set("ETag", tag)
	if code == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	e.mu.Lock()
	e.full++
	e.mu.Unlock()
	if code/100 == 3 {
		w.Header().Set("Location", "http://127.0.0.1:1/")
	}
	w.WriteHeader(code)
	fmt.Fprint(w, text)
}

func (e *endpoint) set(code int, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.code, e.text, e.version = code, text, e.version+1
}

// seen returns the number of requests, and of those with a body in the answer.
func (e *endpoint) seen() (requests, full int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests), e.full
}

// A list over HTTP is asked for with headers and token, and transferred again only if it has changed.
func TestHTTPList(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	e := newEndpoint(t)
	e.Start()
	e.set(200, text(t, group(addresses(hosts, "A"))))
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("first-token\n"), 0o600))
	_, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"http\"\nurl = \"%s/list?key=s3cret\"\ninterval = \"100ms\"\nheaders = { X-Scope = \"db\", Host = \"sd.example.com\" }\ntoken_file = %q\n", e.URL, token)))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	nettest.Wait(t, weirtest.Bound(5*time.Second), "more questions", func() bool { n, _ := e.seen(); return n > 3 })
	e.mu.Lock()
	r := e.requests[0]
	e.mu.Unlock()
	_, full := e.seen()
	require.Equal(t, 1, full)
	require.Equal(t, []string{"Bearer first-token", "db", "sd.example.com", "/list?key=s3cret"}, []string{r.Header.Get("Authorization"), r.Header.Get("X-Scope"), r.Host, r.URL.String()})
	require.NoError(t, os.WriteFile(token, []byte("second-token\n"), 0o600))
	nettest.Wait(t, weirtest.Bound(5*time.Second), "the other token", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.requests[len(e.requests)-1].Header.Get("Authorization") == "Bearer second-token"
	})
	e.set(200, text(t, group(addresses(hosts, "BC"))))
	waitServers(a, addresses(hosts, "BC")...)
	for _, code := range []int{500, 404, 204, 302} {
		e.set(code, "")
		waitProblem(a, fmt.Sprintf("want status 200, got %d", code))
	}
	e.set(200, "<html>")
	waitProblem(a, "want a JSON list")
	require.ElementsMatch(t, addresses(hosts, "BC"), servers(a, 0))
	require.NotContains(t, a.MustRunCommand("discover", "c", "--json")+problems(a), "s3cret")
	e.Server.CloseClientConnections()
	e.mu.Lock()
	e.stall = make(chan struct{})
	e.mu.Unlock()
}

// HTTPS with an authority and a client certificate of the test's own.
func TestHTTPSList(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "A")
	e := newEndpoint(t)
	e.StartTLS()
	e.set(200, text(t, group(addresses(hosts, "A"))))
	_, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"http\"\nurl = %q\ntls_skip_verify = true\n", e.URL)))
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	_, _, b := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"http\"\nurl = %q\n", e.URL)))
	waitProblem(b, "certificate")
	require.Empty(t, problems(a))
}

// A start waits for a silent provider for its timeout and goes on without an answer.
func TestStartWithSilentProvider(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	e.stall = make(chan struct{})
	e.Start()
	begin := time.Now()
	_, _, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"http\"\nurl = %q\ntimeout = \"700ms\"\n", e.URL)))
	require.GreaterOrEqual(t, time.Since(begin), 700*time.Millisecond)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(3*time.Second))
	require.Contains(t, problems(a), "no answer within 700ms")
	close(e.stall)
}

// A token that other users may read is an error of the configuration, at its key.
func TestTokenFileRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token, file := filepath.Join(dir, "token"), filepath.Join(dir, "weir.toml")
	require.NoError(t, os.WriteFile(token, []byte("t"), 0o644))
	config := found(fmt.Sprintf("type = \"http\"\nurl = \"http://127.0.0.1:1/\"\ntoken_file = %q\n", token))
	config.Listen = "127.0.0.1:1"
	require.NoError(t, os.WriteFile(file, []byte(config.String()), 0o644))
	code, out := weirtest.RunCommand(t, "check", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "cluster.c.level[0].discover.token_file: "+token+": other users may read or write it (mode 0644)")
	code, out = weirtest.RunCommand(t, "check", "--syntax", file)
	require.Zero(t, code, out)
}
