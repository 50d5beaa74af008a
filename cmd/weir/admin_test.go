// The API of a running weir, from outside.

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// api is a client of a running weir's API.
type api struct {
	t      *testing.T
	socket string
	http   *http.Client
}

// administered is a layout with an API at a socket of its own.
func administered(t *testing.T, l layout) (*weir, string, api) {
	t.Helper()
	if l.listen == "" {
		l.listen = nettest.Reserve(t)
	}
	a := newAPI(t)
	return start(t, a.at(l.String())), l.listen, a
}

func newAPI(t *testing.T) api {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	return api{t, socket, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// at serves the API of a configuration at the socket, and at further addresses.
func (a api) at(config string, more ...string) string {
	list, _ := json.Marshal(append([]string{"unix:" + a.socket}, more...))
	return strings.Replace(config, "[admin]\nlisten = \"\"", "[admin]\nlisten = "+string(list), 1)
}

// do sends a request, METHOD PATH, and returns the status code and the answer.
func (a api) do(request, body string) (int, string) {
	a.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequest(method, "http://weir"+path, strings.NewReader(body))
	require.NoError(a.t, err)
	res, err := a.http.Do(req)
	require.NoError(a.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(a.t, err)
	return res.StatusCode, string(text)
}

// ok sends a request that must be done.
func (a api) ok(request, body string) string {
	a.t.Helper()
	code, text := a.do(request, body)
	require.Less(a.t, code, 300, "%s: %s", request, text)
	return text
}

// get is a part of the status document.
func (a api) get(path ...any) any {
	a.t.Helper()
	var v any
	require.NoError(a.t, json.Unmarshal([]byte(a.ok("GET /v1/status", "")), &v))
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

// state is that of a server of cluster c's first level.
func (a api) state(server int) any {
	a.t.Helper()
	return a.get("clusters", 0, "levels", 0, "servers", server, "state")
}

func TestStatusDocument(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := administered(t, layout{levels: servers(host.Addr()+" name=A weight=3", "127.0.0.1:1 name=B state=maint")})
	c := nettest.Dial(t, addr)
	require.NoError(t, pingpong(c))
	info, err := os.Stat(a.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())

	require.EqualValues(t, w.cmd.Process.Pid, a.get("pid"))
	require.NotEmpty(t, a.get("version"))
	require.Greater(t, a.get("uptime_seconds"), 0.0)
	require.Equal(t, w.file, a.get("config", "file"))
	require.NotEmpty(t, a.get("config", "loaded_at"))
	require.Empty(t, a.get("config", "last_error"))
	listener := a.get("listeners", 0).(map[string]any)
	for key, want := range map[string]any{"name": "l", "address": addr, "protocol": "tcp", "cluster": "c", "sessions": 1.0} {
		require.Equal(t, want, listener[key], key)
	}
	cluster := a.get("clusters", 0).(map[string]any)
	for key, want := range map[string]any{"name": "c", "balance": "wrr", "level": "1"} {
		require.Equal(t, want, cluster[key], key)
	}
	server := a.get("clusters", 0, "levels", 0, "servers", 0).(map[string]any)
	for key, want := range map[string]any{"name": "A", "address": host.Addr(), "state": "up", "reason": "", "weight": 3.0, "sessions": 1.0} {
		require.Equal(t, want, server[key], key)
	}
	require.NotEmpty(t, server["layers"])
	require.Equal(t, "maint", a.state(1))

	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.ok("GET /v1/sessions", "")), &list))
	require.Len(t, list, 1)
	for key, want := range map[string]any{
		"listener": "l", "client": c.LocalAddr().String(), "cluster": "c", "level": "1", "server": "A", "phase": "relay",
		"bytes_up": 1.0, "bytes_down": 1.0,
	} {
		require.Equal(t, want, list[0][key], key)
	}
	require.Contains(t, list[0], "age_seconds")
	a.ok(fmt.Sprintf("DELETE /v1/sessions/%.0f", list[0]["id"]), "")
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay cut_operator", w.session(c).end())
}

// What an operator says is not forgotten by a reload, whoever asks for it.
func TestDrainIsNotForgotten(t *testing.T) {
	t.Parallel()
	hostA, hostB := nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B"))
	l := layout{listen: nettest.Reserve(t), levels: servers(hostA.Addr()+" name=A", hostB.Addr()+" name=B")}
	w, addr, a := administered(t, l)
	a.ok("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
	require.Equal(t, "BBB", sequence(t, addr, 3))
	l.cluster = "try = 5"
	w.reload(a.at(l.String()))
	require.Equal(t, "BBB", sequence(t, addr, 3))
	l.cluster = "try = 6"
	w.write(a.at(l.String()))
	a.ok("POST /v1/reload", "")
	require.Equal(t, "BBB", sequence(t, addr, 3))
	require.Equal(t, "drain", a.state(0))
	require.EqualValues(t, 2, a.get("config", "reloads"))
	a.ok("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
	require.Contains(t, sequence(t, addr, 2), "A")
}

func TestReloadThroughTheAPI(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w, addr, a := administered(t, l)
	good := a.at(l.String())
	w.write(strings.Replace(good, "cluster = ", "cluter = ", 1))
	code, text := a.do("POST /v1/reload", "")
	require.Equal(t, 422, code)
	var problem struct{ Error, Field string }
	require.NoError(t, json.Unmarshal([]byte(text), &problem))
	require.Contains(t, problem.Error, w.file)
	require.Contains(t, problem.Error, "cluter")
	require.Equal(t, "listener[0].cluter", problem.Field)
	require.Contains(t, a.get("config", "last_error"), "cluter")
	require.Equal(t, "A", sequence(t, addr, 1))
	w.write(good)
	a.ok("POST /v1/reload", "")
	require.Empty(t, a.get("config", "last_error"))
}

// A reload goes over to other addresses of the API, or does nothing at all.
func TestReloadMovesTheAPI(t *testing.T) {
	t.Parallel()
	l := layout{listen: nettest.Reserve(t), levels: servers("127.0.0.1:1")}
	w, _, a := administered(t, l)
	other := newAPI(t)
	taken := nettest.Start(t, nettest.Silent)
	l.cluster = "try = 4"
	r := w.reloadFails(other.at(l.String(), taken.Addr()))
	require.Regexp(t, `weir.toml:\d+:10: admin.listen: listen tcp `+taken.Addr(), r.str("error"))
	require.EqualValues(t, 1, a.get("config", "reloads_failed"))
	w.reload(other.at(l.String()))
	require.EqualValues(t, 2, other.get("config", "reloads"))
	nettest.Wait(t, 5*time.Second, "the old address to be gone", func() bool {
		_, err := os.Stat(a.socket)
		return os.IsNotExist(err)
	})
}

// What was asked for and cannot be had stops the start; an address that others can reach wants a token.
func TestAPIThatCannotBeHad(t *testing.T) {
	t.Parallel()
	taken := nettest.Start(t, nettest.Silent)
	for name, c := range map[string]struct {
		listen string
		code   int
	}{
		taken.Addr():                {taken.Addr(), 2},
		"is not a directory":        {"unix:/dev/null/admin.sock", 2},
		"token_file is required":    {"0.0.0.0:9280", 1},
		"want an IP address":        {"localhost:9280", 1},
		"has it too":                {"LISTEN", 1},
		"admin.token_file: no such": {"127.0.0.1:9280\"\ntoken_file = \"/no/such/file", 1},
	} {
		l := layout{listen: nettest.Reserve(t), levels: servers("127.0.0.1:1")}
		listen := strings.ReplaceAll(c.listen, "LISTEN", l.listen)
		w := launch{}.launch(t, strings.Replace(l.String(), "[admin]\nlisten = \"\"", "[admin]\nlisten = \""+listen+"\"", 1))
		require.Equal(t, c.code, w.exit(10*time.Second), name)
		if strings.HasPrefix(name, "admin.token_file") {
			require.Contains(t, w.output(), "admin.token_file")
		} else if name != "is not a directory" {
			require.Contains(t, w.output(), name)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("open sesame\n"), 0o600))
	tcp := nettest.Reserve(t)
	l := layout{listen: nettest.Reserve(t), levels: servers("127.0.0.1:1")}
	a := newAPI(t)
	config := strings.Replace(a.at(l.String(), tcp), "[admin]", fmt.Sprintf("[admin]\ntoken_file = %q", token), 1)
	start(t, config)
	for _, path := range []string{"/v1/status", "/metrics", "/healthz"} {
		res, err := http.Get("http://" + tcp + path)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 401, res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	a.ok("GET /v1/status", "")
	code, out := run(t, "status", "--admin", tcp)
	require.Equal(t, 1, code)
	require.Contains(t, out, "token")
	code, out = run(t, "status", "--admin", tcp, "--token-file", token)
	require.Equal(t, 0, code, out)
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	_, _, a := administered(t, layout{
		levels: servers(host.Addr()+" name=A", "127.0.0.1:1 name=B state=maint"), cluster: "protected = false",
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"30ms\"\nrise = 1\nfall = 1",
	})
	res, err := a.http.Get("http://weir/v1/events")
	require.NoError(t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func(kind string) map[string]any {
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			var ev map[string]any
			if ok && json.Unmarshal([]byte(text), &ev) == nil && ev["event"] == kind {
				return ev
			}
		}
		require.Fail(t, "no event", kind)
		return nil
	}
	host.Down()
	ev := next("server_down")
	for key, want := range map[string]any{"cluster": "c", "level": "1", "server": "A", "from": "up", "to": "down", "layer": "checks"} {
		require.Equal(t, want, ev[key], key)
	}
	require.Contains(t, ev["reason"], "refused")
	_, err = time.Parse(time.RFC3339Nano, ev["time"].(string))
	require.NoError(t, err)
	host.Up()
	require.Equal(t, "up", next("server_up")["to"])
}

// While weir drains, the API says so and goes on answering.
func TestAPIDuringDrain(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := administered(t, layout{levels: servers(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, pingpong(c))
	a.ok("GET /readyz", "")
	w.signal(syscall.SIGTERM)
	nettest.Wait(t, 5*time.Second, "weir to stop", func() bool { code, _ := a.do("GET /readyz", ""); return code == 503 })
	require.Equal(t, true, a.get("stopping"))
	code, text := a.do("PATCH /v1/clusters/c/servers/"+host.Addr(), `{"weight": 5}`)
	require.Equal(t, 200, code, text)
	code, _ = a.do("POST /v1/clusters/c/servers", `"127.0.0.1:2"`)
	require.Equal(t, 503, code)
	code, _ = a.do("POST /v1/reload", "")
	require.Equal(t, 503, code)
	require.NoError(t, pingpong(c))
	c.Close()
	require.Equal(t, 0, w.exit(5*time.Second))
	_, err := os.Stat(a.socket)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	w, addr, a := administered(t, layout{levels: servers(host.Addr() + " name=A")})
	require.Equal(t, "AAA", sequence(t, addr, 3))
	nettest.Wait(t, 5*time.Second, "the sessions to be counted", func() bool {
		return strings.Contains(a.ok("GET /metrics", ""), "weir_sessions_total{listener=\"l\"} 3\n") && len(w.all(func(r record) bool { return r.end() != "" })) == 3
	})
	text := a.ok("GET /metrics", "")
	for _, line := range []string{
		`weir_sessions{listener="l"} 0`,
		`weir_sessions_ended_total{listener="l",phase="relay",reason="server_closed"} 3`,
		`weir_server_state{cluster="c",server="A",state="up"} 1`,
		`weir_server_dials_total{cluster="c",server="A"} 3`,
		`weir_dial_seconds_count 3`,
		`weir_session_seconds_count{listener="l"} 3`,
	} {
		require.Contains(t, text, line+"\n")
	}
	for line := range strings.SplitSeq(text, "\n") {
		require.True(t, line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "weir_"), line)
	}
}

// Sessions may take every descriptor that they may have; the API still answers.
func TestAPIAtTheDescriptorLimit(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	a := newAPI(t)
	launch{nofile: 400}.start(t, a.at(l.String()))
	limit := int(a.get("max_sessions").(float64))
	require.Greater(t, limit, 50)
	for range limit {
		require.NoError(t, pingpong(nettest.Dial(t, l.listen)))
	}
	_, served := knock(t, l.listen, 200*time.Millisecond)
	require.False(t, served)
	require.EqualValues(t, limit, a.get("sessions"))
	for range 20 {
		a.ok("GET /metrics", "")
	}
	require.Contains(t, a.ok("GET /metrics", ""), `weir_sessions_refused_total{listener="l",reason="runtime_max_sessions"} 1`)
}
