package cli_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// An idle weir stops immediately, with exit code 0.
func TestStopIdle(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		w, _ := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
		begin := time.Now()
		w.Signal(s)
		require.Equal(t, 0, w.WaitExit(15*time.Second))
		if !weirtest.RaceEnabled { // whose exit takes a second of its own
			require.Less(t, nettest.Elapsed(begin), weirtest.Bound(500*time.Millisecond))
		}
	}
}

// Signals that arrive while the process exits do not kill it: the exit code stays 0.
func TestSignalsDuringExit(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for range 5 {
		w, _ := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
		for begin := time.Now(); !w.HasExited() && nettest.Elapsed(begin) < 15*time.Second; time.Sleep(100 * time.Microsecond) {
			for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT, syscall.SIGPIPE} {
				syscall.Kill(w.Cmd.Process.Pid, s)
			}
		}
		require.Equal(t, 0, w.WaitExit(15*time.Second))
	}
}

// waitRefused waits until an address refuses connections.
func waitRefused(t *testing.T, addr string) {
	t.Helper()
	nettest.Wait(t, 15*time.Second, "the address to refuse", func() bool {
		c, err := nettest.TryDial(addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// On SIGTERM the address refuses immediately, sessions continue, and the process exits with the last of them.
func TestStopDrains(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Runtime: `drain_timeout = "10s"`, Levels: weirtest.OneLevel(host.Addr())})
	clients := make([]*net.TCPConn, 50)
	for i := range clients {
		clients[i] = nettest.Dial(t, addr)
		require.NoError(t, weirtest.PingPong(clients[i]))
	}
	last := clients[49]
	w.Signal(syscall.SIGTERM)
	waitRefused(t, addr)
	require.NoError(t, weirtest.PingPong(last))
	for _, c := range clients[:49] {
		c.Close()
		w.SessionRecord(c)
	}
	require.False(t, w.HasExited())
	require.NoError(t, weirtest.PingPong(last))
	begin := time.Now()
	last.Close()
	require.Equal(t, 0, w.WaitExit(15*time.Second))
	if !weirtest.RaceEnabled {
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(500*time.Millisecond))
	}
}

// During stop_delay /readyz answers 503 and new clients are served. Then the listeners close.
func TestStopDelay(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, time.Second, stopsAfterDelay)
}

func stopsAfterDelay(t *testing.T, delay time.Duration) (inTime bool) {
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: fmt.Sprintf("stop_delay = %q\ndrain_timeout = \"1m\"", delay), Levels: weirtest.OneLevel(host.Addr()),
	})
	stays := nettest.Dial(t, addr) // the process serves the API until it has ended
	require.NoError(t, weirtest.PingPong(stays))
	code, _ := a.Do("GET /readyz", "")
	require.Equal(t, 200, code)
	begin := time.Now()
	w.Signal(syscall.SIGTERM)
	nettest.Wait(t, 15*time.Second, "/readyz to fail", func() bool { code, _ := a.Do("GET /readyz", ""); return code == 503 })
	c, err := nettest.TryDial(addr)
	if time.Since(begin) >= delay {
		if err == nil {
			c.Close()
		}
		return false
	}
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, weirtest.PingPong(c))
	code, _ = a.Do("GET /healthz", "")
	require.Equal(t, 200, code)
	waitRefused(t, addr)
	require.GreaterOrEqual(t, time.Since(begin), delay)
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	stays.Close()
	require.Zero(t, w.WaitExit(15*time.Second))
	return true
}

// A second signal and weir stop --now end stop_delay.
func TestStopDelayEnds(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	for _, again := range []func(*weirtest.Weir, weirtest.API){
		func(w *weirtest.Weir, _ weirtest.API) { w.Signal(syscall.SIGTERM) },
		func(_ *weirtest.Weir, a weirtest.API) { a.MustRunCommand("stop", "--now") },
	} {
		w, _, a := weirtest.ServeAPI(t, weirtest.Config{Runtime: `stop_delay = "1h"`, Levels: weirtest.OneLevel(host.Addr())})
		w.Signal(syscall.SIGTERM)
		nettest.Wait(t, 15*time.Second, "/readyz to fail", func() bool { code, _ := a.Do("GET /readyz", ""); return code == 503 })
		again(w, a)
		require.Zero(t, w.WaitExit(15*time.Second))
	}
}

// loops = 0 follows the CPU quota of the cgroup.
func TestLoopsFollowCPUQuota(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	dir, file, quota := fmt.Sprintf("/sys/fs/cgroup/cpu/weirtest%d", os.Getpid()), "/cpu.cfs_quota_us", "100000"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		dir, file, quota = fmt.Sprintf("/sys/fs/cgroup/weirtest%d", os.Getpid()), "/cpu.max", "100000 100000"
		os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0) // it may have the controller already
	}
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() {
		nettest.Wait(t, 15*time.Second, "the cgroup to be empty", func() bool { return os.Remove(dir) == nil })
	})
	require.NoError(t, os.WriteFile(dir+file, []byte(quota), 0))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Wrapper: []string{"sh", "-c", "echo $$ > " + dir + "/cgroup.procs && exec \"$@\"", "sh"}}.Start(t, l.String())
	ready := w.WaitRecord(15*time.Second, "the start", func(r weirtest.Record) bool { return r.IsEvent("ready") })
	require.Equal(t, 1, ready.Int("loops"))
}

// Flows continue after SIGTERM until they end; no new flow starts.
func TestStopDrainsFlows(t *testing.T) {
	t.Parallel()
	weirtest.WithTime(t, 1500*time.Millisecond, stopDrainsFlows)
}

func stopDrainsFlows(t *testing.T, idle time.Duration) (inTime bool) {
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	w, addr := weirtest.ServeUDP(t, weirtest.Config{
		Runtime: `drain_timeout = "5m"`, Listener: fmt.Sprintf("flow_timeout = %q", idle), Levels: weirtest.OneLevel(host.Addr()),
	})
	c := nettest.DialDatagrams(t, "", addr)
	begin := time.Now()
	before := c.RoundTrip("x")
	w.Signal(syscall.SIGTERM)
	w.WaitRecord(15*time.Second, "the drain", func(r weirtest.Record) bool { return r.Text("msg") == "stopping" })
	c.Send([]byte("x"))
	again, answered := c.Receive(idle)
	late := nettest.DialDatagrams(t, "", addr)
	nettest.Wait(t, 15*time.Second, "new clients to be left alone", func() bool {
		late.Write([]byte("x"))
		_, served := late.Receive(50 * time.Millisecond)
		return !served
	})
	c.Send([]byte("x"))
	last, stillAnswered := c.Receive(idle)
	inTime = time.Since(begin) < idle
	if inTime {
		require.True(t, answered && stillAnswered)
		require.Equal(t, []string{before, before}, []string{string(again), string(last)})
	}
	require.Equal(t, 0, w.WaitExit(20*time.Second+3*idle), "the last flow has fallen silent")
	return inTime
}

// A session that does not end is reset after drain_timeout, and the exit code is 3.
func TestStopCutsAfterDrainTimeout(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{}
	host := nettest.Start(t, rec.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Runtime: `drain_timeout = "1s"`, Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(c, "hello"))
	nettest.Wait(t, 15*time.Second, "the session", func() bool { return len(rec.Conns()) == 1 })
	begin := time.Now()
	w.Signal(syscall.SIGTERM)
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	weirtest.RequireBetween(t, time.Second, time.Since(begin))
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, nettest.Reset, rec.WaitEnd(t, 0, 5*time.Second).End)
	require.Equal(t, 3, w.WaitExit(15*time.Second))
	require.Contains(t, w.SessionRecord(c).Termination(), "cut")
}

// A second signal ends the drain.
func TestSecondSignalStopsNow(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Runtime: `drain_timeout = "1m"`, Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	w.Signal(syscall.SIGTERM)
	waitRefused(t, addr)
	require.False(t, w.HasExited())
	begin := time.Now()
	w.Signal(syscall.SIGINT)
	require.Equal(t, 3, w.WaitExit(15*time.Second))
	if !weirtest.RaceEnabled {
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(500*time.Millisecond))
	}
	_, end := nettest.ReadToEnd(c, 20*time.Second)
	require.Equal(t, nettest.Reset, end)
}

// Connections in the accept queue at the time of the stop are served.
func TestStopServesAcceptQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	w.Signal(syscall.SIGSTOP)
	clients := make([]*net.TCPConn, weirtest.Scaled(200))
	for i := range clients {
		clients[i] = nettest.Dial(t, addr)
	}
	w.Signal(syscall.SIGTERM)
	w.Signal(syscall.SIGCONT)
	for _, c := range clients {
		data, end := nettest.ReadToEnd(c, 20*time.Second)
		require.Equal(t, "ok", string(data))
		require.Equal(t, nettest.EOF, end)
		c.Close()
	}
	require.Equal(t, 0, w.WaitExit(15*time.Second))
}

// After a kill with open sessions the same address can be served again immediately.
func TestStartAfterKill(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	config := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Start(t, config.String())
	for range weirtest.Scaled(200) {
		require.NoError(t, weirtest.PingPong(nettest.Dial(t, config.Listen)))
	}
	w.Signal(syscall.SIGKILL)
	<-w.Done
	weirtest.Start(t, config.String())
	text, _ := weirtest.EchoOnce(t, config.Listen)
	require.Equal(t, "hello", text)
}

// Exit codes: 0 success, 1 invalid configuration or usage, 2 start failed.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := dir + "/" + name
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	good := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1")}.String()
	goodFile, badFile := file("good.toml", good), file("bad.toml", strings.Replace(good, "cluster = ", "cluter = ", 1))
	taken := nettest.Start(t, nettest.Echo)
	takenFile := file("taken.toml", weirtest.Config{Listen: taken.Addr(), Levels: weirtest.OneLevel("127.0.0.1:1")}.String())
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"check", "-c", goodFile}, 0, goodFile + ": ok"},
		{[]string{"check", "-c", badFile}, 1, badFile + ":"},
		{[]string{"check", "-c", dir + "/none.toml"}, 1, "none.toml"},
		{[]string{"run", "-c", badFile}, 1, "cluter"},
		{[]string{"run", "-c", dir + "/none.toml"}, 1, "none.toml"},
		{[]string{"run", "-c", dir}, 1, ""},
		{[]string{"run", "--no-such-flag"}, 1, "no-such-flag"},
		{[]string{"no-such-command"}, 1, "no-such-command"},
		{[]string{"run", "-c", takenFile}, 2, taken.Addr()},
		{[]string{"check", "-c", takenFile}, 0, "ok"}, // a check opens no socket
		{[]string{"version"}, 0, ""},
		{[]string{"completion", "tcsh"}, 1, "want bash, zsh or fish"},
		{[]string{"completion", "zsh"}, 0, "#compdef weir"},
		{[]string{"check", "-c", takenFile, "more"}, 1, `unexpected argument "more"; usage: weir check -c FILE`},
		{[]string{"explain"}, 1, "missing argument; usage: weir explain CLUSTER/SERVER"},
	} {
		code, out := weirtest.RunCommand(t, c.args...)
		require.Equal(t, c.code, code, "%v: %s", c.args, out)
		require.Contains(t, out, c.says, "%v", c.args)
	}
}

// A log without a reader, or a closed one, never slows or stops the service.
func TestUnreadLogDoesNotBlock(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{false, true} {
		t.Run(map[bool]string{false: "full pipe", true: "closed pipe"}[closed], func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.SendText("ok"))
			l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
			r, stderr, err := os.Pipe()
			require.NoError(t, err)
			w := weirtest.Options{Stderr: stderr}.Start(t, l.String())
			stderr.Close()
			t.Cleanup(func() { r.Close() })
			nettest.Wait(t, 10*time.Second, "weir to listen", func() bool {
				c, err := nettest.TryDial(l.Listen)
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			if closed {
				r.Close()
			}
			for range 1000 { // several times the 64 KiB that a pipe holds
				text, end := weirtest.ReadSession(l.Listen)
				require.Equal(t, "ok", text)
				require.Equal(t, nettest.EOF, end)
			}
			w.Signal(syscall.SIGHUP)
			text, _ := weirtest.ReadSession(l.Listen)
			require.Equal(t, "ok", text)
			w.Signal(syscall.SIGTERM)
			require.Equal(t, 0, w.WaitExit(10*time.Second))
		})
	}
}

// On SIGUSR1 weir reopens a log file that was moved away; no line is lost.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	file := t.TempDir() + "/weir.log"
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{}.StartUnready(t, strings.Replace(l.String(), "[log]\n", fmt.Sprintf("[log]\nfile = %q\n", file), 1))
	lines := func(file, text string) int {
		data, _ := os.ReadFile(file)
		return strings.Count(string(data), text)
	}
	nettest.Wait(t, 15*time.Second, "weir to be ready", func() bool { return lines(file, "\"ready\"") == 1 })
	const each, rounds = 20, 3
	for range each {
		weirtest.ReadSession(l.Listen)
	}
	total := func() (n int) {
		for i := range rounds {
			n += lines(fmt.Sprintf("%s.%d", file, i), "\"msg\":\"session\"")
		}
		return n + lines(file, "\"msg\":\"session\"")
	}
	for i := range rounds {
		require.NoError(t, os.Rename(file, fmt.Sprintf("%s.%d", file, i)))
		for range each {
			weirtest.ReadSession(l.Listen)
		}
		w.Signal(syscall.SIGUSR1)
		nettest.Wait(t, 15*time.Second, "the new file", func() bool {
			_, err := os.Stat(file)
			return err == nil
		})
	}
	weirtest.ReadSession(l.Listen)
	nettest.Wait(t, 15*time.Second, "every session's record", func() bool { return total() == each*(rounds+1)+1 })
	require.Positive(t, lines(file, "\"msg\":\"session\""), "in the new file")
}

// A check of a file opens no socket.
func TestCheckOpensNoSocket(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/weir.toml"
	require.NoError(t, os.WriteFile(file, []byte(weirtest.Config{
		Listen: nettest.Reserve(t), Levels: weirtest.OneLevel("127.0.0.1:1"),
	}.String()), 0o644))
	strace, err := exec.LookPath("strace")
	require.NoError(t, err, "install strace to run this test")
	out, err := exec.Command(strace, "-f", "-e", "trace=socket,bind,listen,connect", weirtest.Binary, "check", "-c", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "socket(")
}
