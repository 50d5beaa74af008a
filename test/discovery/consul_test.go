package discovery_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// consul is a double of Consul's health endpoint with blocking queries.
type consul struct {
	*httptest.Server
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each change
	index     int
	instances []any
	code      int
	queries   []url.Values
	token     string
	path      string
	impatient bool // a blocking query is answered at once
}

func newConsul(t *testing.T) *consul {
	c := &consul{changed: make(chan struct{}), index: 10, code: http.StatusOK}
	c.Server = httptest.NewServer(c)
	t.Cleanup(func() { c.set(http.StatusOK); c.CloseClientConnections(); c.Close() })
	return c
}

// instance is an entry of the answer.
func instance(h *nettest.Host, weight int, onNode bool, status string) any {
	service := map[string]any{"ID": "db-" + h.Addr(), "Port": h.AddrPort().Port(), "Weights": map[string]int{"Passing": weight, "Warning": 1}, "Meta": map[string]string{"zone": "z1"}}
	if !onNode {
		service["Address"] = "127.0.0.1"
	}
	return map[string]any{"Node": map[string]string{"Node": "n1", "Address": "127.0.0.1"}, "Service": service, "Checks": []any{map[string]string{"Status": status}}}
}

func (c *consul) set(code int, instances ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	c.code, c.instances = code, instances
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *consul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c.mu.Lock()
	c.queries = append(c.queries, q)
	c.token, c.path = r.Header.Get("X-Consul-Token"), r.URL.Path
	changed, same := c.changed, q.Get("index") == strconv.Itoa(c.index) && !c.impatient
	c.mu.Unlock()
	if same {
		wait, err := time.ParseDuration(q.Get("wait"))
		if err != nil {
			wait = 5 * time.Minute
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("X-Consul-Index", strconv.Itoa(c.index))
	w.WriteHeader(c.code)
	list := c.instances
	if list == nil {
		list = []any{}
	}
	json.NewEncoder(w).Encode(list)
}

// The passing instances of a service, with weights; a change is in force at once, long before the interval has passed.
func TestConsulService(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	c := newConsul(t)
	c.set(200, instance(hosts["A"], 3, false, "passing"), instance(hosts["B"], 1, true, "passing"), instance(hosts["C"], 1, false, "critical"))
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("consul-token"), 0o600))
	at, err := url.Parse(c.URL)
	require.NoError(t, err)
	w, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"consul\"\naddress = %q\nservice = \"db\"\ntag = \"primary\"\ndatacenter = \"dc2\"\ninterval = \"1h\"\ntoken_file = %q\n", at.Host, token)))
	w.Baseline = nil // a blocking query is always open
	require.Equal(t, "AABA", weirtest.ReadSessions(t, listen, 4))
	out := a.MustRunCommand("discover", "c")
	require.Contains(t, out, "meta_zone=z1 node=n1")
	nettest.Wait(t, weirtest.Bound(5*time.Second), "a blocking query", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.queries) > 1 })
	c.mu.Lock()
	first, next := c.queries[0], c.queries[len(c.queries)-1]
	require.Equal(t, []string{"1", "primary", "dc2", "", "consul-token", "/v1/health/service/db"}, []string{first.Get("passing"), first.Get("tag"), first.Get("dc"), first.Get("index"), c.token, c.path})
	require.Equal(t, strconv.Itoa(c.index), next.Get("index"))
	c.mu.Unlock()
	begin := time.Now()
	c.set(200, instance(hosts["C"], 1, false, "passing"))
	waitServers(a, addresses(hosts, "C")...)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(2*time.Second))
	c.set(200, instance(hosts["A"], 1, false, "passing"))
	waitServers(a, addresses(hosts, "A")...)
	c.set(200)
	waitProblem(a, "lists no server: its last 1 server stays")
	c.set(200, instance(hosts["B"], 1, false, "passing"))
	waitServers(a, addresses(hosts, "B")...)
}

// While Consul fails, the last servers stay; it is asked again.
func TestConsulFails(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "AB")
	c := newConsul(t)
	c.set(200, instance(hosts["A"], 1, false, "passing"))
	at, err := url.Parse(c.URL)
	require.NoError(t, err)
	w, listen, a := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"consul\"\naddress = %q\nservice = \"db\"\ninterval = \"300ms\"\n", at.Host)))
	w.Baseline = nil
	c.set(500)
	waitProblem(a, "want status 200, got 500")
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	c.set(200, instance(hosts["B"], 1, false, "passing"))
	waitServers(a, addresses(hosts, "B")...)
	c.mu.Lock()
	c.index = 3 // of a restored Consul
	c.mu.Unlock()
	c.set(200, instance(hosts["A"], 1, false, "passing"))
	waitServers(a, addresses(hosts, "A")...)
}

// A Consul, or a proxy before it, that answers blocking queries at once is not asked without a pause.
func TestConsulThatDoesNotBlockIsNotFlooded(t *testing.T) {
	t.Parallel()
	c := newConsul(t)
	c.impatient = true
	c.set(200, instance(weirtest.StartLetters(t, "A")["A"], 1, false, "passing"))
	at, err := url.Parse(c.URL)
	require.NoError(t, err)
	began := time.Now()
	w, listen, _ := weirtest.ServeAPI(t, found(fmt.Sprintf("type = \"consul\"\naddress = %q\nservice = \"db\"\ninterval = \"1h\"\n", at.Host)))
	w.Baseline = nil // a query may be open
	require.Equal(t, "A", weirtest.ReadSessions(t, listen, 1))
	queries := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.queries) }
	nettest.Wait(t, 20*time.Second, "six queries", func() bool { return queries() >= 6 })
	require.LessOrEqual(t, queries(), 2+int(time.Since(began)/(200*time.Millisecond)))
}
