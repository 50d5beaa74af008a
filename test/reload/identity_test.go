// What a server keeps in a reload: it is the same server while its name is in its cluster.

package reload_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// layer returns the state of a layer of a server; "" if there is none.
func layer(server map[string]any, name string) any {
	for _, l := range server["layers"].([]any) {
		if l := l.(map[string]any); l["layer"] == name {
			return l["says"]
		}
	}
	return ""
}

// A server changes its address, its level and its name, and is removed.
func TestServerIdentity(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 2*time.Second, serverChanges)
}

func serverChanges(t *testing.T, drain time.Duration) (inTime bool) {
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{
		Runtime: fmt.Sprintf("drain_timeout = %q", drain), Cluster: "fail_timeout = \"1m\"\nmax_fails = 1\nprotected = false",
		Levels: [][]string{{a.Addr() + " name=s", b.Addr() + " name=other"}, {}},
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\nfall = 1\nservers = [\"s\"]\n",
	}
	l.Listen = nettest.Reserve(t)
	w, _, api := weirtest.ServeAPI(t, l)
	c := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	api.MustDo("PATCH /v1/clusters/c/servers/s", `{"weight": 7, "reason": "bigger"}`)
	a.Down()
	nettest.Wait(t, 15*time.Second, "the verdict", func() bool { return layer(api.Server("s"), "checks") == "down" })
	api.MustDo("POST /v1/clusters/c/servers/s/feedback", `{"failed": true}`)
	require.NoError(t, weirtest.PingPong(c), "on_down = keep")
	nettest.Wait(t, 15*time.Second, "the bytes to be counted", func() bool { return api.Server("s")["bytes_down"] == 2.0 })
	before := api.Server("s")
	require.Equal(t, "down", before["state"])
	require.Equal(t, "failing", layer(before, "passive"))

	// Another level: everything is kept.
	l.Levels = [][]string{{b.Addr() + " name=other"}, {a.Addr() + " name=s"}}
	w.Reload(api.AddTo(l.String()))
	moved := api.Server("s")
	for _, key := range []string{"state", "weight", "since", "sessions", "sessions_total", "bytes_down", "dials"} {
		require.Equal(t, before[key], moved[key], key)
	}
	require.Equal(t, "failing", layer(moved, "passive"))
	require.NoError(t, weirtest.PingPong(c))

	// Another address: verdicts are reset; overrides and counters are kept.
	l.Levels = [][]string{{}, {b.Addr() + " name=s"}}
	begin := time.Now()
	w.Reload(api.AddTo(l.String()))
	readdressed := api.Server("s")
	require.Equal(t, "up", readdressed["state"])
	require.Equal(t, "up", layer(readdressed, "passive"))
	require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen))
	alive := weirtest.PingPong(c)
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	for _, key := range []string{"weight", "sessions", "sessions_total", "dials"} {
		require.Equal(t, before[key], readdressed[key], key)
	}
	_, end := nettest.ReadToEnd(c, 20*time.Second+drain)
	weirtest.RequireBetween(t, drain, time.Since(begin))
	require.Equal(t, nettest.Reset, end, "sessions to the old address drain")

	// Another name: a new server, and the old one's sessions drain.
	c = nettest.Dial(t, l.Listen)
	require.Equal(t, "B", weirtest.ReadByte(t, c))
	l.Checks = ""
	l.Levels = [][]string{{}, {b.Addr() + " name=new"}}
	begin = time.Now()
	w.Reload(api.AddTo(l.String()))
	require.Nil(t, api.Server("s"))
	renamed := api.Server("new")
	require.EqualValues(t, 1, renamed["weight"])
	require.Zero(t, renamed["sessions_total"])
	alive = weirtest.PingPong(c)
	if time.Since(begin) >= drain {
		return false
	}
	require.NoError(t, alive)
	_, end = nettest.ReadToEnd(c, 20*time.Second+drain)
	weirtest.RequireBetween(t, drain, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	return true
}

// Settings of a listener change in place: its sockets stay, and new clients get the new settings.
func TestReloadChangesListenerSettings(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr()), Listener: "backlog = 100"}
	w := weirtest.Start(t, l.String())
	before := w.Process().Descriptors()
	for _, c := range []struct {
		listener string
		served   bool
	}{
		{"backlog = 200\ntcp_keepalive = \"5s\"", true},
		{"deny = [\"127.0.0.0/8\"]", false},
		{"allow = [\"127.0.0.1\"]\nmax_sessions = 5", true},
		{"allow = [\"10.0.0.0/8\"]", false},
	} {
		l.Listener = c.listener
		w.Reload(l.String())
		text, _ := weirtest.ReadSession(l.Listen)
		require.Equal(t, c.served, text == "ok", c.listener)
		nettest.Wait(t, 15*time.Second, "the same descriptors as before", func() bool { // the session's are closed soon
			now := w.Process().Descriptors()
			return len(now.Since(before)) == 0 && len(before.Since(now)) == 0
		})
	}
}

// Included files are added and removed, and an error in one names it.
func TestReloadOfIncludedFiles(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	dir := t.TempDir()
	config := "include = [" + `"` + dir + `/*.toml"]` + "\n" + l.String()
	w := weirtest.Start(t, config)
	extra := nettest.Reserve(t)
	file := filepath.Join(dir, "extra.toml")
	require.NoError(t, os.WriteFile(file, []byte(weirtest.ListenerTables("extra", extra, host.Addr())), 0o644))
	w.SignalReload("reload")
	text, _ := weirtest.ReadSession(extra)
	require.Equal(t, "ok", text)
	for bad, says := range map[string]string{
		"[[listener]]\nnam = \"x\"\n":                                               file + ":2:1: ",
		weirtest.ListenerTables("l", nettest.Reserve(t), host.Addr()):               w.File + ":",
		"include = [\"more/*.toml\"]\n":                                             file + ":1:1: include: only the main file may include files",
		weirtest.ListenerTables("extra", extra, host.Addr()) + "[runtime]\nloops=7": "runtime.loops: cannot change",
	} {
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o644))
		r := w.SignalReload("reload_failed")
		require.Contains(t, r.Text("error"), says)
		text, _ = weirtest.ReadSession(extra)
		require.Equal(t, "ok", text, "nothing has changed")
	}
	require.NoError(t, os.Remove(file))
	w.SignalReload("reload")
	_, err := nettest.TryDial(extra)
	require.Error(t, err)
}

// A server, a listener and a cluster leave the configuration and return before their drain deadline: they take their
// sessions back, which count for limits, appear in the status, and are not cut.
func TestServerThatReturnsKeepsItsSessions(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 1500*time.Millisecond, serverReturns)
}

func serverReturns(t *testing.T, drain time.Duration) (inTime bool) {
	host, other := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: fmt.Sprintf("drain_timeout = %q", drain), Cluster: "max_sessions = 1",
		Levels: weirtest.OneLevel(host.Addr()+" name=a", other.Addr()+" name=b"),
	}
	without := l
	without.Levels = weirtest.OneLevel(other.Addr() + " name=b")
	more := nettest.Reserve(t)
	second := "[[listener]]\nname = \"second\"\naddress = \"" + more + "\"\ncluster = \"second\"\nmax_sessions = 1\n[cluster.second]\n" +
		"[[cluster.second.level]]\nservers = [\"" + host.Addr() + " name=a\"]\n"
	w, _, api := weirtest.ServeAPI(t, l)
	with := func(c weirtest.Config, more string) string { return api.AddTo(c.String()) + more }
	w.Reload(with(l, second))

	c := nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	s := nettest.Dial(t, more)
	require.Equal(t, "A", weirtest.ReadByte(t, s))
	for range 2 { // the first departure is over when the second begins
		begin := time.Now()
		w.Reload(with(without, ""))
		require.Nil(t, api.Server("a"))
		w.Reload(with(l, second))
		if time.Since(begin) >= drain {
			w.Baseline = nil // the second listener stays
			return false
		}
	}
	require.EqualValues(t, 1, api.Server("a")["sessions"])
	require.Equal(t, "B", weirtest.DialAndReadByte(t, l.Listen), "a is at max_sessions")
	_, end := weirtest.ReadSession(more)
	require.NotEqual(t, nettest.Timeout, end, "the listener is at max_sessions")
	require.EqualValues(t, 1, api.Get("clusters", 1, "sessions"))
	require.EqualValues(t, 1, api.Get("listeners", 1, "sessions"))

	begin := time.Now()
	nettest.Wait(t, 3*drain, "the drain deadlines to pass", func() bool { return time.Since(begin) > drain+500*time.Millisecond })
	require.NoError(t, weirtest.PingPong(c))
	require.NoError(t, weirtest.PingPong(s))
	api.MustDo("DELETE /v1/clusters/c/servers/a/sessions", "")
	_, end = nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
	nettest.Wait(t, 15*time.Second, "the slot to be free", func() bool { return api.Server("a")["sessions"] == 0.0 })

	// By the API, and a server that stays away is cut at its deadline.
	c = nettest.Dial(t, l.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	api.MustDo("DELETE /v1/clusters/c/servers/a", "")
	api.MustDo("POST /v1/clusters/c/servers", `{"name": "a", "address": "`+host.Addr()+`"}`)
	require.EqualValues(t, 1, api.Server("a")["sessions"])
	begin = time.Now()
	api.MustDo("DELETE /v1/clusters/c/servers/a", "")
	_, end = nettest.ReadToEnd(c, 20*time.Second+drain)
	weirtest.RequireBetween(t, drain, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	require.NoError(t, weirtest.PingPong(s))
	s.Close()
	w.Reload(with(l, ""))
	return true
}
