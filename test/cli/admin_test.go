// The API of a running weir, from outside.

package cli_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

func TestStatusDocument(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()+" name=A weight=3", "127.0.0.1:1 name=B state=maint")})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	info, err := os.Stat(a.Socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())

	require.EqualValues(t, w.Cmd.Process.Pid, a.Get("pid"))
	require.NotEmpty(t, a.Get("version"))
	require.Greater(t, a.Get("uptime_seconds"), 0.0)
	require.Equal(t, w.File, a.Get("config", "file"))
	require.NotEmpty(t, a.Get("config", "loaded_at"))
	require.Empty(t, a.Get("config", "last_error"))
	listener := a.Get("listeners", 0).(map[string]any)
	for key, want := range map[string]any{"name": "l", "address": addr, "protocol": "tcp", "cluster": "c", "sessions": 1.0} {
		require.Equal(t, want, listener[key], key)
	}
	cluster := a.Get("clusters", 0).(map[string]any)
	for key, want := range map[string]any{"name": "c", "balance": "wrr", "level": "1"} {
		require.Equal(t, want, cluster[key], key)
	}
	server := a.Get("clusters", 0, "levels", 0, "servers", 0).(map[string]any)
	for key, want := range map[string]any{"name": "A", "address": host.Addr(), "state": "up", "reason": "", "weight": 3.0, "sessions": 1.0} {
		require.Equal(t, want, server[key], key)
	}
	require.NotEmpty(t, server["layers"])
	require.Equal(t, "maint", a.ServerState(1))

	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.MustDo("GET /v1/sessions", "")), &list))
	require.Len(t, list, 1)
	for key, want := range map[string]any{
		"listener": "l", "client": c.LocalAddr().String(), "cluster": "c", "level": "1", "server": "A", "phase": "relay",
		"bytes_up": 1.0, "bytes_down": 1.0,
	} {
		require.Equal(t, want, list[0][key], key)
	}
	require.Contains(t, list[0], "age_seconds")
	a.MustDo(fmt.Sprintf("DELETE /v1/sessions/%.0f", list[0]["id"]), "")
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay cut_operator", w.SessionRecord(c).Termination())
}

// A reload keeps overrides, however it is requested.
func TestDrainSurvivesReload(t *testing.T) {
	t.Parallel()
	hostA, hostB := nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(hostA.Addr()+" name=A", hostB.Addr()+" name=B")}
	w, addr, a := weirtest.ServeAPI(t, l)
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
	require.Equal(t, "BBB", weirtest.ReadSessions(t, addr, 3))
	l.Cluster = "try = 5"
	w.Reload(a.AddTo(l.String()))
	require.Equal(t, "BBB", weirtest.ReadSessions(t, addr, 3))
	l.Cluster = "try = 6"
	w.WriteConfig(a.AddTo(l.String()))
	a.MustDo("POST /v1/reload", "")
	require.Equal(t, "BBB", weirtest.ReadSessions(t, addr, 3))
	require.Equal(t, "drain", a.ServerState(0))
	require.EqualValues(t, 2, a.Get("config", "reloads"))
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
	require.Contains(t, weirtest.ReadSessions(t, addr, 2), "A")
}

func TestReloadByAPI(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w, addr, a := weirtest.ServeAPI(t, l)
	good := a.AddTo(l.String())
	w.WriteConfig(strings.Replace(good, "cluster = ", "cluter = ", 1))
	code, text := a.Do("POST /v1/reload", "")
	require.Equal(t, 422, code)
	var problem struct{ Error, Field string }
	require.NoError(t, json.Unmarshal([]byte(text), &problem))
	require.Contains(t, problem.Error, w.File)
	require.Contains(t, problem.Error, "cluter")
	require.Equal(t, "listener[0].cluter", problem.Field)
	require.Contains(t, a.Get("config", "last_error"), "cluter")
	require.Equal(t, "A", weirtest.ReadSessions(t, addr, 1))
	w.WriteConfig(good)
	a.MustDo("POST /v1/reload", "")
	require.Empty(t, a.Get("config", "last_error"))
}

// A reload changes the addresses of the API, or nothing at all.
func TestReloadMovesAPI(t *testing.T) {
	t.Parallel()
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
	w, _, a := weirtest.ServeAPI(t, l)
	other := weirtest.NewAPI(t)
	taken := nettest.Start(t, nettest.Silent)
	l.Cluster = "try = 4"
	r := w.FailReload(other.AddTo(l.String(), taken.Addr()))
	require.Regexp(t, `weir.toml:\d+:10: admin.listen: listen tcp `+taken.Addr(), r.Text("error"))
	require.EqualValues(t, 1, a.Get("config", "reloads_failed"))
	w.Reload(other.AddTo(l.String()))
	require.EqualValues(t, 2, other.Get("config", "reloads"))
	nettest.Wait(t, 15*time.Second, "the old address to be gone", func() bool {
		_, err := os.Stat(a.Socket)
		return os.IsNotExist(err)
	})
}

// An unavailable API address makes the start fail; an address that other hosts can reach requires a token.
func TestUnavailableAPIAddress(t *testing.T) {
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
		"also used by listener":     {"LISTEN", 1},
		"admin.token_file: no such": {"127.0.0.1:9280\"\ntoken_file = \"/no/such/file", 1},
	} {
		l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
		listen := strings.ReplaceAll(c.listen, "LISTEN", l.Listen)
		w := weirtest.Options{}.StartUnready(t, strings.Replace(l.String(), "[admin]\nlisten = \"\"", "[admin]\nlisten = \""+listen+"\"", 1))
		require.Equal(t, c.code, w.WaitExit(10*time.Second), name)
		if strings.HasPrefix(name, "admin.token_file") {
			require.Contains(t, w.Output(), "admin.token_file")
		} else if name != "is not a directory" {
			require.Contains(t, w.Output(), name)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("open sesame, please\n"), 0o600))
	tcp := nettest.Reserve(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}
	a := weirtest.NewAPI(t)
	config := strings.Replace(a.AddTo(l.String(), tcp), "[admin]", fmt.Sprintf("[admin]\ntoken_file = %q", token), 1)
	weirtest.Start(t, config)
	for _, path := range []string{"/v1/status", "/metrics", "/healthz"} {
		res, err := http.Get("http://" + tcp + path)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 401, res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	a.MustDo("GET /v1/status", "")
	code, out := weirtest.RunCommand(t, "status", "--admin", tcp)
	require.Equal(t, 1, code)
	require.Contains(t, out, "token")
	code, out = weirtest.RunCommand(t, "status", "--admin", tcp, "--token-file", token)
	require.Equal(t, 0, code, out)
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{
		Levels: weirtest.OneLevel(host.Addr()+" name=A", "127.0.0.1:1 name=B state=maint"), Cluster: "protected = false",
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ndown_interval = \"50ms\"\nrise = 1\nfall = 1",
	})
	res, err := a.HTTP.Get("http://weir/v1/events")
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

// During the drain of a stop, the API shows it and continues to respond.
func TestAPIDuringDrain(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	a.MustDo("GET /readyz", "")
	w.Signal(syscall.SIGTERM)
	nettest.Wait(t, 15*time.Second, "weir to stop", func() bool { code, _ := a.Do("GET /readyz", ""); return code == 503 })
	require.Equal(t, true, a.Get("stopping"))
	code, text := a.Do("PATCH /v1/clusters/c/servers/"+host.Addr(), `{"weight": 5}`)
	require.Equal(t, 200, code, text)
	code, _ = a.Do("POST /v1/clusters/c/servers", `"127.0.0.1:2"`)
	require.Equal(t, 503, code)
	code, _ = a.Do("POST /v1/reload", "")
	require.Equal(t, 503, code)
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	require.Equal(t, 0, w.WaitExit(15*time.Second))
	_, err := os.Stat(a.Socket)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	require.Equal(t, "AAA", weirtest.ReadSessions(t, addr, 3))
	nettest.Wait(t, 15*time.Second, "the sessions to be counted", func() bool {
		return strings.Contains(a.MustDo("GET /metrics", ""), "weir_sessions_total{listener=\"l\"} 3\n") && len(w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })) == 3
	})
	text := ""
	for _, line := range []string{
		`weir_sessions{listener="l"} 0`,
		`weir_sessions_ended_total{listener="l",phase="relay",reason="server_closed"} 3`,
		`weir_server_state{cluster="c",server="A",state="up"} 1`,
		`weir_server_dials_total{cluster="c",server="A"} 3`,
		`weir_dial_duration_seconds_count 3`,
		`weir_session_duration_seconds_count{listener="l"} 3`,
	} {
		nettest.Wait(t, 15*time.Second, line, func() bool {
			text = a.MustDo("GET /metrics", "")
			return strings.Contains(text, "\n"+line+"\n")
		})
	}
	for line := range strings.SplitSeq(text, "\n") {
		require.True(t, line == "" || regexp.MustCompile(`^(#|weir_|process_|go_)`).MatchString(line), line)
	}
}

// When sessions use all of their descriptors, the API still responds.
func TestAPIAtDescriptorLimit(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	weirtest.Options{DescriptorLimit: 400}.Start(t, a.AddTo(l.String()))
	limit := int(a.Get("max_sessions").(float64))
	require.Greater(t, limit, 50)
	for range limit {
		require.NoError(t, weirtest.PingPong(nettest.Dial(t, l.Listen)))
	}
	_, served := weirtest.DialServed(t, l.Listen, 5*time.Second)
	require.False(t, served)
	require.EqualValues(t, limit, a.Get("sessions"))
	for range 20 {
		a.MustDo("GET /metrics", "")
	}
	require.Contains(t, a.MustDo("GET /metrics", ""), `weir_sessions_refused_total{listener="l",reason="runtime_max_sessions"} 1`)
}
