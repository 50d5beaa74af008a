// Replacing the running program: the new process takes everything over, and nobody notices.

package main_test

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
)

// program is a copy of the binary under test at a path of its own, where it can be replaced.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir")
	install(t, path, binary)
	return path
}

// install replaces a program as package managers do: the new file takes the name of the old one. Nothing is written here,
// so that no process started meanwhile holds the file open for writing, which would keep it from being run.
func install(t *testing.T, path, from string) {
	t.Helper()
	if os.Link(from, path+".new") != nil { // another file system
		out, err := exec.Command("cp", from, path+".new").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.Rename(path+".new", path))
}

// script replaces a program by a text.
func script(t *testing.T, path, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
	out, err := exec.Command("cp", "-p", file, path+".new").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Rename(path+".new", path))
}

// upgrade has the process hand over to the program on disk, and waits until the old process has ended. It returns how
// long that took from the outcome on.
func (w *weir) upgrade() time.Duration {
	w.t.Helper()
	r := w.usr2("upgrade")
	told := time.Now()
	w.succeeded(r.num("pid"))
	return time.Since(told)
}

// succeeded notes who serves now, and waits for the end of the process before.
func (w *weir) succeeded(pid int) {
	w.t.Helper()
	old := w.proc()
	w.addSuccessor(pid)
	nettest.Wait(w.t, 10*time.Second, "the old process to end", func() bool { return !old.Alive() })
}

// addSuccessor records that the process with this pid serves from now on.
func (w *weir) addSuccessor(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heirs = append(w.heirs, pid)
}

// successorCount returns how many processes have taken over so far.
func (w *weir) successorCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heirs)
}

// usr2 sends SIGUSR2 and waits for the outcome.
func (w *weir) usr2(outcome string) record {
	w.t.Helper()
	over := func(r record) bool { return r.str("event") == "upgrade" || r.str("event") == "upgrade_failed" }
	before := len(w.all(over))
	w.signal(syscall.SIGUSR2)
	var r record
	nettest.Wait(w.t, 30*time.Second, "the upgrade's outcome", func() bool {
		if all := w.all(over); len(all) > before {
			r = all[before]
		}
		return r != nil
	})
	require.Equal(w.t, outcome, r.str("event"), "%v", r)
	return r
}

// One process hands over to the next, again and again: its sockets, the files of unix sockets, its API.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	socket := filepath.Join(t.TempDir(), "l.sock")
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr()), more: pair("local", "unix:"+socket, host.Addr())}
	a := newAPI(t)
	w := launch{program: program(t)}.start(t, a.at(l.String()))
	first := int(w.proc())
	for range 3 {
		old := w.proc()
		w.upgrade()
		require.NotEqual(t, old, w.proc())
		require.Equal(t, int(w.proc()), a.pid())
		text, _ := echoOnce(t, l.listen)
		require.Equal(t, "hello", text)
		c, err := net.Dial("unix", socket)
		require.NoError(t, err)
		require.NoError(t, pingpong(c))
		c.Close()
	}
	out := a.done("upgrade")
	require.Contains(t, out, fmt.Sprintf("has taken over from %d", w.proc()))
	w.succeeded(a.pid())
	text, _ := echoOnce(t, l.listen)
	require.Equal(t, "hello", text)
	w.hup("reload")
	require.NotEqual(t, first, int(w.proc()))
	require.Empty(t, w.loud())
}

// A new process that cannot take over changes nothing.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	a := newAPI(t)
	path := program(t)
	good := a.at(l.String())
	w := launch{program: path}.start(t, good)
	c := nettest.Dial(t, l.listen)
	unchanged := func(what string) {
		t.Helper()
		require.NoError(t, pingpong(c), what)
		text, _ := echoOnce(t, l.listen)
		require.Equal(t, "hello", text, what)
		require.Equal(t, w.cmd.Process.Pid, a.pid(), what)
	}
	for what, text := range map[string]string{
		"ended: exit status 1":  "#!/bin/sh\nexit 1\n",
		"signal: killed":        "#!/bin/sh\nkill -9 $$\n",
		"exec format error":     "no program at all",
		"not get ready in time": "#!/bin/sh\nexec sleep 1000\n",
	} {
		script(t, path, text)
		require.Contains(t, w.usr2("upgrade_failed").str("error"), what)
		unchanged(what)
	}
	require.NoError(t, os.Remove(path))
	require.Contains(t, w.usr2("upgrade_failed").str("error"), "no such file")
	unchanged("no program")

	install(t, path, binary)
	w.write(good + "\n[cluster.d]\nbalanse = \"rr\"\n")
	var code int
	var out string
	for range 20 { // whoever of the two is quicker
		code, out = a.weirs("upgrade")
		require.Equal(t, 1, code)
		require.Contains(t, out, "balanse")
	}
	unchanged("a file with a mistake")

	taken := nettest.Start(t, nettest.Echo)
	w.write(good + pair("taken", taken.Addr(), host.Addr()))
	code, out = a.weirs("upgrade")
	require.Equal(t, 1, code)
	require.Contains(t, out, taken.Addr())
	unchanged("an address that is taken")

	w.write(good)
	c.Close()
	w.upgrade()
	require.NotEqual(t, w.cmd.Process.Pid, a.pid())
}

// Clients in the accept queue when the upgrade comes are served by one of the two processes.
func TestUpgradeKeepsAcceptQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := launch{program: program(t)}.start(t, l.String())
	for _, loops := range []int{2, 5, 1, 3} { // sockets that are too few, or too many, for the loops
		l.runtime = fmt.Sprintf("loops = %d", loops)
		w.write(l.String())
		w.signal(syscall.SIGSTOP)
		clients := make([]*net.TCPConn, scaled(200))
		for i := range clients {
			clients[i] = nettest.Dial(t, l.listen)
		}
		w.signal(syscall.SIGUSR2)
		w.signal(syscall.SIGCONT)
		for _, c := range clients {
			data, end := nettest.ReadToEnd(c, 10*time.Second)
			require.Equal(t, "ok", string(data))
			require.Equal(t, nettest.EOF, end)
			c.Close()
		}
		done := w.successorCount()
		nettest.Wait(t, 10*time.Second, "the upgrade", func() bool { return len(w.upgrades()) == done+1 })
		w.succeeded(w.upgrades()[done].num("pid"))
	}
	w.base = nil // the sockets are not as many as in the beginning
	require.Empty(t, w.loud())
}

// pid is the process that answers.
func (a api) pid() int {
	a.t.Helper()
	return int(a.get("pid").(float64))
}

// upgrades are those that have been told, in order.
func (w *weir) upgrades() []record {
	return w.all(func(r record) bool { return r.str("event") == "upgrade" })
}

// What is known goes along: what an operator has said, what checks and sessions have found out, what was counted and told.
func TestUpgradeKeepsState(t *testing.T) {
	t.Parallel()
	hosts := letters(t, "ABC")
	down := nettest.Reserve(t) // nobody listens there
	_, port, _ := net.SplitHostPort(down)
	check := "[[cluster.c.check]]\ntype = \"tcp\"\nid = \"dead\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 2\nrise = 1000\nservers = [\"C\"]\nport = " + port + "\n"
	l := layout{listen: nettest.Reserve(t), checks: check, levels: [][]string{weighted(hosts, "A B C")}}
	a := newAPI(t)
	w := launch{program: program(t)}.start(t, a.at(l.String()))
	w.waitEvent("server_down", "C")
	a.done("server", "c/B", "drain", "--reason", "new kernel")
	a.done("server", "c/A", "weight", "7")
	added := nettest.Start(t, nettest.SendText("D"))
	a.done("server", "c/D", "add", added.Addr(), "weight=2")
	sequence(t, l.listen, 20)
	total := func() float64 { return a.get("listeners", 0, "sessions_total").(float64) }
	nettest.Wait(t, 5*time.Second, "the sessions to be counted", func() bool { return total() == 20 })
	_, follow := a.do("GET /v1/events?follow=false", "")
	tail := exec.Command(binary, "events", "-f", "--json", "--admin", "unix:"+a.socket)
	told, err := tail.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, tail.Start())
	t.Cleanup(func() { tail.Process.Kill(); tail.Wait() })

	for i := range 3 {
		w.upgrade()
		for j, state := range []string{"up", "drain", "down", "up"} {
			require.Equal(t, state, a.state(j), "server %d", j)
		}
		require.Equal(t, "new kernel", a.get("clusters", 0, "levels", 0, "servers", 1, "reason"))
		require.Equal(t, 7.0, a.get("clusters", 0, "levels", 0, "servers", 0, "weight"))
		require.Equal(t, 20+float64(9*i), total())
		require.Positive(t, a.get("clusters", 0, "levels", 0, "servers", 0, "connect_ms"))
		text := sequence(t, l.listen, 9)
		require.Equal(t, 7, strings.Count(text, "A"), text)
		require.Equal(t, 2, strings.Count(text, "D"), text)
		_, again := a.do("GET /v1/events?follow=false", "")
		require.True(t, strings.HasPrefix(again, follow), "the events of before, with their numbers")
		nettest.Wait(t, 5*time.Second, "the sessions to be counted", func() bool { return total() == 20+float64(9*(i+1)) })
	}
	require.Len(t, w.all(func(r record) bool { return r.is("server_down") }), 1, "told once")
	a.done("server", "c/B", "reset")
	require.Contains(t, sequence(t, l.listen, 10), "B")
	a.done("server", "c/D", "remove")
	// Whoever follows the events has gone along, and has heard each once.
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

// While an upgrade is under way another one is refused, reloads wait for the outcome, and a stop calls it off.
func TestStopDuringUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	a := newAPI(t)
	path := program(t)
	w := launch{program: path}.start(t, a.at(l.String()))
	script(t, path, "#!/bin/sh\nexec sleep 1000\n")
	w.signal(syscall.SIGUSR2)
	w.waitRecord(5*time.Second, "the upgrade to begin", func(r record) bool { return r.is("upgrade") })
	code, out := a.weirs("upgrade")
	require.Equal(t, 1, code)
	require.Contains(t, out, "under way")
	w.signal(syscall.SIGUSR2)
	w.waitRecord(5*time.Second, "the refusal", func(r record) bool { return r.is("upgrade refused") })
	w.signal(syscall.SIGHUP)
	c := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(c))
	c.Close()
	require.Empty(t, w.all(func(r record) bool { return r.is("reload") }))
	begin := time.Now()
	w.signal(syscall.SIGTERM)
	require.Zero(t, w.exit(10*time.Second)) // the new process has ended too: it had the log
	if !raceEnabled {
		require.Less(t, nettest.Elapsed(begin), 3*time.Second)
	}
	require.Len(t, w.all(func(r record) bool { return r.is("upgrade_failed") }), 1)
}

// The API moves with the file: an address that is gone is closed and its file removed, one that is new is opened.
func TestUpgradeMovesAPI(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	a, b := newAPI(t), newAPI(t)
	w := launch{program: program(t)}.start(t, a.at(l.String()))
	w.write(b.at(l.String()))
	w.upgrade()
	require.Equal(t, int(w.proc()), b.pid())
	_, err := os.Lstat(a.socket)
	require.ErrorIs(t, err, os.ErrNotExist)
	w.write(a.at(l.String(), "unix:"+b.socket))
	w.upgrade()
	require.Equal(t, int(w.proc()), a.pid())
	require.Equal(t, int(w.proc()), b.pid())
	w.base["socket"]++ // there are two addresses now
}

// Sessions count for limits as before, where their clients were named by PROXY headers too, and places that come free are
// given away again.
func TestUpgradeKeepsLimits(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := layout{
		listen: nettest.Reserve(t), levels: servers(host.Addr() + " name=A max_sessions=6"),
		listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nmax_sessions = 5\nmax_sessions_per_source = 2",
	}
	a := newAPI(t)
	w := launch{program: program(t)}.start(t, a.at(l.String()))
	enter := func(client string) (*net.TCPConn, bool) {
		c := nettest.Dial(t, l.listen)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := fmt.Fprintf(c, "PROXY TCP4 %s 192.0.2.1 1234 80\r\n", client)
		return c, err == nil && pingpong(c) == nil
	}
	var inside []*net.TCPConn
	for _, client := range []string{"198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"} {
		c, ok := enter(client)
		require.True(t, ok)
		inside = append(inside, c)
	}
	for range 2 {
		w.upgrade()
		for _, c := range inside {
			require.NoError(t, pingpong(c))
		}
		_, ok := enter("198.51.100.9")
		require.False(t, ok, "max_sessions")
		inside[4].Close()
		nettest.Wait(t, 5*time.Second, "the place to be free", func() bool { return len(a.sessions()) == 4 })
		_, ok = enter("198.51.100.1")
		require.False(t, ok, "max_sessions_per_source")
		inside[4], ok = enter("198.51.100.5")
		require.True(t, ok)
		require.Contains(t, fmt.Sprint(a.sessions()), "198.51.100.5:1234")
		require.Contains(t, fmt.Sprint(a.sessions()), "198.51.100.3:1234")
		require.Equal(t, 5.0, a.get("clusters", 0, "levels", 0, "servers", 0, "sessions"))
		require.Equal(t, 5.0, a.get("listeners", 0, "sessions"))
	}
	for _, c := range inside {
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "the sessions to end", func() bool { return len(a.sessions()) == 0 })
	require.Equal(t, 0.0, a.get("clusters", 0, "sessions"))
}

// sessions are those under way.
func (a api) sessions() []any {
	a.t.Helper()
	var list []any
	require.NoError(a.t, json.Unmarshal([]byte(a.ok("GET /v1/sessions", "")), &list))
	return list
}
