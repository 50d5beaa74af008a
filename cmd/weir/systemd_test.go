// weir under a service manager: what it tells, and the sockets that it gets.

package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// ear hears what a service manager is told.
type ear struct {
	t    *testing.T
	path string

	mu    sync.Mutex
	heard []string // every message, its lines joined by blanks
}

func newEar(t *testing.T) *ear {
	t.Helper()
	e := &ear{t: t, path: filepath.Join(t.TempDir(), "notify.sock")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			e.mu.Lock()
			e.heard = append(e.heard, strings.ReplaceAll(string(buf[:n]), "\n", " "))
			e.mu.Unlock()
		}
	}()
	return e
}

// all returns the messages so far that begin with a text.
func (e *ear) all(begin string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, m := range e.heard {
		if strings.HasPrefix(m, begin) {
			out = append(out, m)
		}
	}
	return out
}

// waits until a message has been heard so often, and returns the last.
func (e *ear) waits(begin string, times int) string {
	e.t.Helper()
	var all []string
	nettest.Wait(e.t, 10*time.Second, begin, func() bool {
		all = e.all(begin)
		return len(all) >= times
	})
	return all[len(all)-1]
}

// The service manager hears of readiness, reloads, refused ones too, and the stop.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	ear := newEar(t)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := launch{under: []string{"env", "NOTIFY_SOCKET=" + ear.path}}.start(t, l.String())
	ear.waits("READY=1", 1)
	require.Equal(t, "STATUS=serving, 0 sessions", ear.waits("STATUS", 1))
	c := nettest.Dial(t, l.listen)
	require.NoError(t, pingpong(c))

	w.reload(l.String())
	told := ear.waits("RELOADING=1 MONOTONIC_USEC=", 1)
	usec, err := strconv.ParseInt(strings.TrimPrefix(told, "RELOADING=1 MONOTONIC_USEC="), 10, 64)
	require.NoError(t, err)
	var uptime float64
	text, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	fmt.Sscan(string(text), &uptime)
	require.InDelta(t, uptime, float64(usec)/1e6, 60, "it is on the system's monotonic clock")
	ear.waits("READY=1", 2)

	w.reloadFails("nonsense")
	ear.waits("RELOADING=1", 2)
	ear.waits("READY=1", 3)
	require.Contains(t, ear.waits("STATUS=serving, 1 sessions; the last reload was refused: ", 1), w.file+":1:")
	w.reload(l.String())
	ear.waits("READY=1", 4)
	nettest.Wait(t, 10*time.Second, "the refusal to be forgotten", func() bool {
		all := ear.all("STATUS=")
		return !strings.Contains(all[len(all)-1], "refused")
	})

	w.signal(syscall.SIGTERM)
	require.Contains(t, ear.waits("STOPPING=1", 1), "draining, 1 sessions")
	c.Close()
	require.Equal(t, 0, w.exit(10*time.Second))
	require.Empty(t, ear.all("WATCHDOG"), "nobody has asked for that")
}

// The watchdog hears that weir is alive while its loops go round, also of the process that has taken over.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	ear := newEar(t)
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	// As systemd does it: the number is the process's own.
	under := []string{"sh", "-c", `NOTIFY_SOCKET=$0 WATCHDOG_USEC=300000 WATCHDOG_PID=$$ exec "$@"`, ear.path}
	w := launch{under: under, program: program(t)}.start(t, l.String())
	ear.waits("WATCHDOG=1", 3)
	w.upgrade()
	ear.waits(fmt.Sprintf("MAINPID=%d READY=1", w.proc()), 1)
	before := len(ear.all("WATCHDOG=1"))
	ear.waits("WATCHDOG=1", before+5)
}

// Sockets that were opened beforehand are used: a client that has knocked before weir was there is served.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	tcp, other := nettest.Reserve(t), nettest.Reserve(t)
	path := filepath.Join(t.TempDir(), "l.sock")
	l := layout{listen: tcp, levels: servers(host.Addr()), more: pair("local", "unix:"+path, host.Addr())}
	activate, err := exec.LookPath("systemd-socket-activate")
	require.NoError(t, err)
	w := launch{under: []string{activate, "-l", tcp, "-l", path, "-l", other}, program: program(t)}.launch(t, l.String())
	var c *net.TCPConn
	nettest.Wait(t, 5*time.Second, "the socket", func() bool {
		c, err = nettest.TryDial(tcp)
		return err == nil
	})
	data, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, "ok", string(data))
	require.Equal(t, nettest.EOF, end)
	w.waitRecord(5*time.Second, "ready", func(r record) bool { return r.is("ready") })
	for range 20 {
		text, _ := ask(tcp)
		require.Equal(t, "ok", text)
	}
	local, err := net.Dial("unix", path)
	require.NoError(t, err)
	data, _ = nettest.ReadToEnd(local, 5*time.Second)
	require.Equal(t, "ok", string(data))
	r := w.waitRecord(5*time.Second, "the socket that nobody uses", func(r record) bool { return r.str("socket") != "" })
	require.Equal(t, "tcp "+other, r.str("socket"))
	_, err = nettest.TryDial(other)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	w.upgrade()
	text, _ := ask(tcp)
	require.Equal(t, "ok", text)
	serving := w.proc()
	w.signal(syscall.SIGTERM)
	nettest.Wait(t, 10*time.Second, "the end", func() bool { return !serving.Alive() })
	require.FileExists(t, path, "it belongs to who has made it")
}
