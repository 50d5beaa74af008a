package weirtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// API is a client of a running weir's API.
type API struct {
	T      *testing.T
	Socket string
	HTTP   *http.Client
}

// ServeAPI runs weir with a configuration and an API on a socket of its own, and returns the address to connect to.
func ServeAPI(t *testing.T, l Config) (*Weir, string, API) {
	t.Helper()
	if l.Listen == "" {
		l.Listen = nettest.Reserve(t)
	}
	a := NewAPI(t)
	return Start(t, a.AddTo(l.String())), l.Listen, a
}

func NewAPI(t *testing.T) API { return NewAPIAt(t, filepath.Join(t.TempDir(), "admin.sock")) }

// NewAPIAt returns a client of an API at a given socket.
func NewAPIAt(t *testing.T, socket string) API {
	return API{t, socket, &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// AddTo adds the API to a configuration: at the socket, and at further addresses.
func (a API) AddTo(config string, more ...string) string {
	list, _ := json.Marshal(append([]string{"unix:" + a.Socket}, more...))
	return strings.Replace(config, "[admin]\nlisten = \"\"", "[admin]\nlisten = "+string(list), 1)
}

// Do sends a request, METHOD PATH, and returns the status code and the response.
func (a API) Do(request, body string) (int, string) {
	a.T.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequest(method, "http://weir"+path, strings.NewReader(body))
	require.NoError(a.T, err)
	res, err := a.HTTP.Do(req)
	require.NoError(a.T, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(a.T, err)
	return res.StatusCode, string(text)
}

// MustDo sends a request that must succeed.
func (a API) MustDo(request, body string) string {
	a.T.Helper()
	code, text := a.Do(request, body)
	require.Less(a.T, code, 300, "%s: %s", request, text)
	return text
}

// Get returns a part of the status document.
func (a API) Get(path ...any) any {
	a.T.Helper()
	var v any
	require.NoError(a.T, json.Unmarshal([]byte(a.MustDo("GET /v1/status", "")), &v))
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// ServerState returns the state of a server of cluster c's first level.
func (a API) ServerState(server int) any {
	a.T.Helper()
	return a.Get("clusters", 0, "levels", 0, "servers", server, "state")
}

// Metric returns the value of one line of the metrics, by its name and labels.
func (a API) Metric(line string) string {
	a.T.Helper()
	for text := range strings.Lines(a.MustDo("GET /metrics", "")) {
		if value, ok := strings.CutPrefix(text, line+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Server returns a server of cluster c from the status document, or nil.
func (a API) Server(name string) map[string]any {
	a.T.Helper()
	for _, level := range a.Get("clusters", 0, "levels").([]any) {
		for _, s := range level.(map[string]any)["servers"].([]any) {
			if s := s.(map[string]any); s["name"] == name {
				return s
			}
		}
	}
	return nil
}

// DroppedDatagrams returns how many datagrams the listener has dropped for a reason.
func (a API) DroppedDatagrams(reason string) int {
	a.T.Helper()
	n, err := strconv.ParseFloat(a.Metric(fmt.Sprintf(`weir_datagrams_dropped_total{listener="l",reason=%q}`, reason)), 64)
	require.NoError(a.T, err)
	return int(n)
}

// PID returns the ID of the process that serves the API.
func (a API) PID() int {
	a.T.Helper()
	return int(a.Get("pid").(float64))
}

// Sessions returns the open sessions.
func (a API) Sessions() []any {
	a.T.Helper()
	var list []any
	require.NoError(a.T, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
	return list
}

// WaitSession waits until the API lists a session of client c that matches.
func (a API) WaitSession(c net.Conn, what string, match func(Record) bool) {
	a.T.Helper()
	client := c.LocalAddr().String()
	nettest.Wait(a.T, patience, "a session "+what, func() bool {
		var list []Record
		require.NoError(a.T, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions?limit=20000", "")), &list))
		return slices.ContainsFunc(list, func(r Record) bool { return r.Text("client") == client && match(r) })
	})
}

// WaitPhase waits until the session of client c is in a phase.
func (a API) WaitPhase(c net.Conn, phase string) {
	a.T.Helper()
	a.WaitSession(c, "in phase "+phase, func(r Record) bool { return r.Text("phase") == phase })
}
