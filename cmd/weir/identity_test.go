// What a server keeps when the file changes around it: it is the same one for as long as its name is in its cluster.

package main_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// look is a server as the API shows it, wherever in cluster c it is; nil = nowhere.
func (a api) look(name string) map[string]any {
	a.t.Helper()
	for _, level := range a.get("clusters", 0, "levels").([]any) {
		for _, s := range level.(map[string]any)["servers"].([]any) {
			if s := s.(map[string]any); s["name"] == name {
				return s
			}
		}
	}
	return nil
}

// layer is what a layer says of a server; "" = nothing.
func layer(server map[string]any, name string) any {
	for _, l := range server["layers"].([]any) {
		if l := l.(map[string]any); l["layer"] == name {
			return l["says"]
		}
	}
	return ""
}

// A server under another address, in another level, under another name, and gone.
func TestServerIdentity(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	l := layout{
		runtime: `drain_timeout = "2s"`, cluster: "fail_timeout = \"1m\"\nmax_fails = 1\nprotected = false",
		levels: [][]string{{a.Addr() + " name=s", b.Addr() + " name=other"}, {}},
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\nfall = 1\nservers = [\"s\"]\n",
	}
	l.listen = nettest.Reserve(t)
	w, _, api := administered(t, l)
	c := nettest.Dial(t, l.listen)
	require.Equal(t, "A", first(t, c))
	api.ok("PATCH /v1/clusters/c/servers/s", `{"weight": 7, "reason": "bigger"}`)
	a.Down()
	nettest.Wait(t, 5*time.Second, "the verdict", func() bool { return layer(api.look("s"), "checks") == "down" })
	api.ok("POST /v1/clusters/c/servers/s/feedback", `{"failed": true}`)
	require.NoError(t, pingpong(c), "on_down = keep")
	nettest.Wait(t, 5*time.Second, "the bytes to be counted", func() bool { return api.look("s")["bytes_down"] == 2.0 })
	before := api.look("s")
	require.Equal(t, "down", before["state"])
	require.Equal(t, "failing", layer(before, "passive"))

	// Another level: everything is kept.
	l.levels = [][]string{{b.Addr() + " name=other"}, {a.Addr() + " name=s"}}
	w.reload(api.at(l.String()))
	moved := api.look("s")
	for _, key := range []string{"state", "weight", "since", "sessions", "sessions_total", "bytes_down", "dials"} {
		require.Equal(t, before[key], moved[key], key)
	}
	require.Equal(t, "failing", layer(moved, "passive"))
	require.NoError(t, pingpong(c))

	// Another address: what was found out is about the old one; what was said and counted is about the server.
	l.levels = [][]string{{}, {b.Addr() + " name=s"}}
	w.reload(api.at(l.String()))
	readdressed := api.look("s")
	require.Equal(t, "up", readdressed["state"])
	require.Equal(t, "up", layer(readdressed, "passive"))
	for _, key := range []string{"weight", "sessions", "sessions_total", "dials"} {
		require.Equal(t, before[key], readdressed[key], key)
	}
	require.Equal(t, "B", greeting(t, l.listen))
	time.Sleep(2500 * time.Millisecond) // longer than drain_timeout
	require.NoError(t, pingpong(c), "nobody has left")

	// Another name: another server, and the old one's sessions drain.
	l.checks = ""
	l.levels = [][]string{{}, {b.Addr() + " name=new"}}
	begin := time.Now()
	w.reload(api.at(l.String()))
	require.Nil(t, api.look("s"))
	renamed := api.look("new")
	require.EqualValues(t, 1, renamed["weight"])
	require.Zero(t, renamed["sessions_total"])
	require.NoError(t, pingpong(c))
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	between(t, 2*time.Second, time.Since(begin))
}

// Settings of a listener change in place: its sockets stay, and new clients meet the new settings.
func TestReloadChangesListenerSettings(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr()), listener: "backlog = 100"}
	w := start(t, l.String())
	before := w.proc().Descriptors()
	for _, c := range []struct {
		listener string
		served   bool
	}{
		{"backlog = 200\ntcp_keepalive = \"5s\"", true},
		{"deny = [\"127.0.0.0/8\"]", false},
		{"allow = [\"127.0.0.1\"]\nmax_sessions = 5", true},
		{"allow = [\"10.0.0.0/8\"]", false},
	} {
		l.listener = c.listener
		w.reload(l.String())
		text, _ := ask(l.listen)
		require.Equal(t, c.served, text == "ok", c.listener)
		nettest.Wait(t, 5*time.Second, "the same descriptors as before", func() bool { // the session's are closed soon
			now := w.proc().Descriptors()
			return len(now.Since(before)) == 0 && len(before.Since(now)) == 0
		})
	}
}

// Files that are included come and go, and a mistake in one names it.
func TestReloadOfIncludedFiles(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	dir := t.TempDir()
	config := "include = [" + `"` + dir + `/*.toml"]` + "\n" + l.String()
	w := start(t, config)
	extra := nettest.Reserve(t)
	file := filepath.Join(dir, "extra.toml")
	require.NoError(t, os.WriteFile(file, []byte(pair("extra", extra, host.Addr())), 0o644))
	w.hup("reload")
	text, _ := ask(extra)
	require.Equal(t, "ok", text)
	for bad, says := range map[string]string{
		"[[listener]]\nnam = \"x\"\n":                            file + ":2:1: ",
		pair("l", nettest.Reserve(t), host.Addr()):               w.file + ":",
		"include = [\"more/*.toml\"]\n":                          file + ":1:1: include: only the main file may include others",
		pair("extra", extra, host.Addr()) + "[runtime]\nloops=7": "runtime.loops: cannot change",
	} {
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o644))
		r := w.hup("reload_failed")
		require.Contains(t, r.str("error"), says)
		text, _ = ask(extra)
		require.Equal(t, "ok", text, "nothing has changed")
	}
	require.NoError(t, os.Remove(file))
	w.hup("reload")
	_, err := nettest.TryDial(extra)
	require.Error(t, err)
}
