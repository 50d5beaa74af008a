// Upgrades: a new process takes over without an effect on clients.

package upgrade_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// script replaces a program by a script.
func script(t *testing.T, path, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
	out, err := exec.Command("cp", "-p", file, path+".new").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Rename(path+".new", path))
}

// Each process hands over to the next: its sockets, the files of unix sockets, its API.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	socket := filepath.Join(t.TempDir(), "l.sock")
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("local", "unix:"+socket, host.Addr())}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	first := int(w.Process())
	for range 3 {
		old := w.Process()
		w.Upgrade()
		require.NotEqual(t, old, w.Process())
		require.Equal(t, int(w.Process()), a.PID())
		text, _ := weirtest.EchoOnce(t, l.Listen)
		require.Equal(t, "hello", text)
		c, err := net.Dial("unix", socket)
		require.NoError(t, err)
		require.NoError(t, weirtest.PingPong(c))
		c.Close()
	}
	out := a.MustRunCommand("upgrade")
	require.Contains(t, out, fmt.Sprintf("took over from process %d", w.Process()))
	w.WaitSuccessor(a.PID())
	text, _ := weirtest.EchoOnce(t, l.Listen)
	require.Equal(t, "hello", text)
	w.SignalReload("reload")
	require.NotEqual(t, first, int(w.Process()))
	require.Empty(t, w.Warnings())
}

// A new process that cannot take over changes nothing.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	path := weirtest.CopyProgram(t)
	good := a.AddTo(l.String())
	w := weirtest.Options{Program: path}.Start(t, good)
	c := nettest.Dial(t, l.Listen)
	unchanged := func(what string) {
		t.Helper()
		require.NoError(t, weirtest.PingPong(c), what)
		text, _ := weirtest.EchoOnce(t, l.Listen)
		require.Equal(t, "hello", text, what)
		require.Equal(t, w.Cmd.Process.Pid, a.PID(), what)
	}
	for what, text := range map[string]string{
		"ended: exit status 1": "#!/bin/sh\nexit 1\n",
		"signal: killed":       "#!/bin/sh\nkill -9 $$\n",
		"exec format error":    "no program at all",
		"not ready in time":    "#!/bin/sh\nexec sleep 1000\n",
	} {
		script(t, path, text)
		require.Contains(t, w.SignalUpgrade("upgrade_failed").Text("error"), what)
		unchanged(what)
	}
	require.NoError(t, os.Remove(path))
	require.Contains(t, w.SignalUpgrade("upgrade_failed").Text("error"), "no such file")
	unchanged("no program")

	weirtest.ReplaceProgram(t, path, weirtest.Binary)
	w.WriteConfig(good + "\n[cluster.d]\nbalanse = \"rr\"\n")
	var code int
	var out string
	for range 20 { // either process may be quicker
		code, out = a.RunCommand("upgrade")
		require.Equal(t, 1, code)
		require.Contains(t, out, "balanse")
	}
	unchanged("a file with a mistake")

	taken := nettest.Start(t, nettest.Echo)
	w.WriteConfig(good + weirtest.ListenerTables("taken", taken.Addr(), host.Addr()))
	code, out = a.RunCommand("upgrade")
	require.Equal(t, 1, code)
	require.Contains(t, out, taken.Addr())
	unchanged("an address that is taken")

	w.WriteConfig(good)
	c.Close()
	w.Upgrade()
	require.NotEqual(t, w.Cmd.Process.Pid, a.PID())
}

// Clients in the accept queue during an upgrade are served by one of the two processes.
func TestUpgradeKeepsAcceptQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	for _, loops := range []int{2, 5, 1, 3} { // sockets that are too few, or too many, for the loops
		l.Runtime = fmt.Sprintf("loops = %d", loops)
		w.WriteConfig(l.String())
		w.Signal(syscall.SIGSTOP)
		clients := make([]*net.TCPConn, weirtest.Scaled(200))
		for i := range clients {
			clients[i] = nettest.Dial(t, l.Listen)
		}
		w.Signal(syscall.SIGUSR2)
		w.Signal(syscall.SIGCONT)
		for _, c := range clients {
			data, end := nettest.ReadToEnd(c, 30*time.Second)
			require.Equal(t, "ok", string(data))
			require.Equal(t, nettest.EOF, end)
			c.Close()
		}
		done := w.SuccessorCount()
		nettest.Wait(t, 30*time.Second, "the upgrade", func() bool { return len(w.UpgradeRecords()) == done+1 })
		w.WaitSuccessor(w.UpgradeRecords()[done].Int("pid"))
	}
	w.Baseline = nil // the sockets are not as many as in the beginning
	require.Empty(t, w.Warnings())
}

// State moves: overrides, verdicts, passive health, counters and events.
func TestUpgradeKeepsState(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABC")
	down := nettest.Reserve(t) // closed
	_, port, _ := net.SplitHostPort(down)
	check := "[[cluster.c.check]]\ntype = \"tcp\"\nid = \"dead\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 1000\nservers = [\"C\"]\nport = " + port + "\n"
	l := weirtest.Config{Listen: nettest.Reserve(t), Checks: check, Levels: [][]string{weirtest.WeightedLevel(hosts, "A B C")}}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	w.WaitEvent("server_down", "C")
	a.MustRunCommand("server", "c/B", "drain", "--reason", "new kernel")
	a.MustRunCommand("server", "c/A", "weight", "7")
	added := nettest.Start(t, nettest.SendText("D"))
	a.MustRunCommand("server", "c/D", "add", added.Addr(), "weight=2")
	weirtest.ReadSessions(t, l.Listen, 20)
	total := func() float64 { return a.Get("listeners", 0, "sessions_total").(float64) }
	nettest.Wait(t, 5*time.Second, "the sessions to be counted", func() bool { return total() == 20 })
	_, follow := a.Do("GET /v1/events?follow=false", "")
	tail := exec.Command(weirtest.Binary, "events", "-f", "--json", "--admin", "unix:"+a.Socket)
	told, err := tail.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, tail.Start())
	t.Cleanup(func() { tail.Process.Kill(); tail.Wait() })

	serverC := func(key string) any { return a.Get("clusters", 0, "levels", 0, "servers", 2, key) }
	last := serverC("last_check").(map[string]any)
	require.Equal(t, []any{"dead", false}, []any{last["check"], last["passed"]})
	require.Contains(t, last, "duration_ms")
	failures := serverC("check_failures")
	require.GreaterOrEqual(t, failures, 2.0)

	for i := range 3 {
		w.Upgrade()
		require.GreaterOrEqual(t, serverC("check_failures"), failures)
		require.Positive(t, a.Get("clusters", 0, "levels", 0, "servers", 0, "sessions_peak"))
		for j, state := range []string{"up", "drain", "down", "up"} {
			require.Equal(t, state, a.ServerState(j), "server %d", j)
		}
		require.Equal(t, "new kernel", a.Get("clusters", 0, "levels", 0, "servers", 1, "reason"))
		require.Equal(t, 7.0, a.Get("clusters", 0, "levels", 0, "servers", 0, "weight"))
		require.Equal(t, 20+float64(9*i), total())
		require.Positive(t, a.Get("clusters", 0, "levels", 0, "servers", 0, "connect_ms"))
		text := weirtest.ReadSessions(t, l.Listen, 9)
		require.Equal(t, 7, strings.Count(text, "A"), text)
		require.Equal(t, 2, strings.Count(text, "D"), text)
		_, again := a.Do("GET /v1/events?follow=false", "")
		require.True(t, strings.HasPrefix(again, follow), "the events of before, with their numbers")
		nettest.Wait(t, 5*time.Second, "the sessions to be counted", func() bool { return total() == 20+float64(9*(i+1)) })
	}
	require.Len(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("server_down") }), 1, "told once")
	a.MustRunCommand("server", "c/B", "reset")
	require.Contains(t, weirtest.ReadSessions(t, l.Listen, 10), "B")
	a.MustRunCommand("server", "c/D", "remove")
	// A client that follows the events continues at the new process and gets each event once.
	back := bufio.NewScanner(told)
	for last := 0.0; ; {
		require.True(t, back.Scan())
		var ev map[string]any
		require.NoError(t, json.Unmarshal(back.Bytes(), &ev))
		require.Equal(t, last+1, ev["id"])
		last = ev["id"].(float64)
		if ev["server"] == "B" && ev["to"] == "up" {
			break
		}
	}
}

// During an upgrade a second one is rejected, reloads wait for the outcome, and a stop cancels it.
func TestStopDuringUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	path := weirtest.CopyProgram(t)
	w := weirtest.Options{Program: path}.Start(t, a.AddTo(l.String()))
	script(t, path, "#!/bin/sh\nexec sleep 1000\n")
	w.Signal(syscall.SIGUSR2)
	w.WaitRecord(5*time.Second, "the upgrade to begin", func(r weirtest.Record) bool { return r.IsEvent("upgrade") })
	code, out := a.RunCommand("upgrade")
	require.Equal(t, 1, code)
	require.Contains(t, out, "in progress")
	w.Signal(syscall.SIGUSR2)
	w.WaitRecord(5*time.Second, "the refusal", func(r weirtest.Record) bool { return r.IsEvent("upgrade refused") })
	w.Signal(syscall.SIGHUP)
	c := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	begin := time.Now()
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(10*time.Second)) // the new process has ended too: it had the log
	if !weirtest.RaceEnabled {
		require.Less(t, nettest.Elapsed(begin), 3*time.Second)
	}
	require.Len(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("upgrade_failed") }), 1)
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("reload") }))
}

// The API follows the file: a removed address is closed and its file removed, a new one is opened.
func TestUpgradeMovesAPI(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	a, b := weirtest.NewAPI(t), weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	w.WriteConfig(b.AddTo(l.String()))
	w.Upgrade()
	require.Equal(t, int(w.Process()), b.PID())
	_, err := os.Lstat(a.Socket)
	require.ErrorIs(t, err, os.ErrNotExist)
	w.WriteConfig(a.AddTo(l.String(), "unix:"+b.Socket))
	w.Upgrade()
	require.Equal(t, int(w.Process()), a.PID())
	require.Equal(t, int(w.Process()), b.PID())
	w.Baseline["socket"]++ // there are two addresses now
}

// Sessions count for limits as before, also with clients from PROXY headers, and freed slots are used again.
func TestUpgradeKeepsLimits(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr() + " name=A max_sessions=6"),
		Listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nmax_sessions = 5\nmax_sessions_per_source = 2",
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(l.String()))
	enter := func(client string) (*net.TCPConn, bool) {
		c := nettest.Dial(t, l.Listen)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := fmt.Fprintf(c, "PROXY TCP4 %s 192.0.2.1 1234 80\r\n", client)
		return c, err == nil && weirtest.PingPong(c) == nil
	}
	var inside []*net.TCPConn
	for _, client := range []string{"198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"} {
		c, ok := enter(client)
		require.True(t, ok)
		inside = append(inside, c)
	}
	for range 2 {
		w.Upgrade()
		for _, c := range inside {
			require.NoError(t, weirtest.PingPong(c))
		}
		_, ok := enter("198.51.100.9")
		require.False(t, ok, "max_sessions")
		inside[4].Close()
		nettest.Wait(t, 5*time.Second, "the place to be free", func() bool { return len(a.Sessions()) == 4 })
		_, ok = enter("198.51.100.1")
		require.False(t, ok, "max_sessions_per_source")
		inside[4], ok = enter("198.51.100.5")
		require.True(t, ok)
		require.Contains(t, fmt.Sprint(a.Sessions()), "198.51.100.5:1234")
		require.Contains(t, fmt.Sprint(a.Sessions()), "198.51.100.3:1234")
		require.Equal(t, 5.0, a.Get("clusters", 0, "levels", 0, "servers", 0, "sessions"))
		require.Equal(t, 5.0, a.Get("listeners", 0, "sessions"))
	}
	for _, c := range inside {
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "the sessions to end", func() bool { return len(a.Sessions()) == 0 })
	require.Equal(t, 0.0, a.Get("clusters", 0, "sessions"))
}
