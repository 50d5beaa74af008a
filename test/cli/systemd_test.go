// weir under a service manager: notifications and socket activation.

package cli_test

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
	"weir/internal/weirtest"
)

// ear receives the notifications for a service manager.
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

// all returns the messages so far that start with a text.
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

// waits waits until a message has arrived n times, and returns the last.
func (e *ear) waits(begin string, times int) string {
	e.t.Helper()
	var all []string
	nettest.Wait(e.t, 30*time.Second, begin, func() bool {
		all = e.all(begin)
		return len(all) >= times
	})
	return all[len(all)-1]
}

// weir notifies the service manager of readiness, reloads, failed reloads too, and the stop.
func TestSystemdNotifications(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	ear := newEar(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Wrapper: []string{"env", "NOTIFY_SOCKET=" + ear.path}}.Start(t, l.String())
	ear.waits("READY=1", 1)
	require.Equal(t, "STATUS=serving, 0 sessions", ear.waits("STATUS", 1))
	c := nettest.Dial(t, l.Listen)
	require.NoError(t, weirtest.PingPong(c))

	w.Reload(l.String())
	told := ear.waits("RELOADING=1 MONOTONIC_USEC=", 1)
	usec, err := strconv.ParseInt(strings.TrimPrefix(told, "RELOADING=1 MONOTONIC_USEC="), 10, 64)
	require.NoError(t, err)
	var uptime float64
	text, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	fmt.Sscan(string(text), &uptime)
	require.InDelta(t, uptime, float64(usec)/1e6, 60, "it is on the system's monotonic clock")
	ear.waits("READY=1", 2)

	w.FailReload("nonsense")
	ear.waits("RELOADING=1", 2)
	ear.waits("READY=1", 3)
	require.Contains(t, ear.waits("STATUS=serving, 1 sessions; last reload failed: ", 1), w.File+":1:")
	w.Reload(l.String())
	ear.waits("READY=1", 4)
	nettest.Wait(t, 10*time.Second, "the refusal to be forgotten", func() bool {
		all := ear.all("STATUS=")
		return !strings.Contains(all[len(all)-1], "refused")
	})

	w.Signal(syscall.SIGTERM)
	require.Contains(t, ear.waits("STOPPING=1", 1), "draining, 1 sessions")
	c.Close()
	require.Equal(t, 0, w.WaitExit(10*time.Second))
	require.Empty(t, ear.all("WATCHDOG"), "the watchdog is off")
}

// weir feeds the watchdog while its loops run, also after an upgrade.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	ear := newEar(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	// As in systemd, the number is that of the process itself.
	under := []string{"sh", "-c", `NOTIFY_SOCKET=$0 WATCHDOG_USEC=300000 WATCHDOG_PID=$$ exec "$@"`, ear.path}
	w := weirtest.Options{Wrapper: under, Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	ear.waits("WATCHDOG=1", 3)
	w.Upgrade()
	ear.waits(fmt.Sprintf("MAINPID=%d READY=1", w.Process()), 1)
	before := len(ear.all("WATCHDOG=1"))
	ear.waits("WATCHDOG=1", before+5)
}

// Inherited sockets are used: a client that connected before the start of weir is served.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	tcp, other := nettest.Reserve(t), nettest.Reserve(t)
	path := filepath.Join(t.TempDir(), "l.sock")
	l := weirtest.Config{Listen: tcp, Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("local", "unix:"+path, host.Addr())}
	activate, err := exec.LookPath("systemd-socket-activate")
	require.NoError(t, err)
	w := weirtest.Options{Wrapper: []string{activate, "-l", tcp, "-l", path, "-l", other}, Program: weirtest.CopyProgram(t)}.StartUnready(t, l.String())
	var c *net.TCPConn
	nettest.Wait(t, 15*time.Second, "the socket", func() bool {
		c, err = nettest.TryDial(tcp)
		return err == nil
	})
	data, end := nettest.ReadToEnd(c, 30*time.Second)
	require.Equal(t, "ok", string(data))
	require.Equal(t, nettest.EOF, end)
	w.WaitRecord(15*time.Second, "ready", func(r weirtest.Record) bool { return r.IsEvent("ready") })
	for range 20 {
		text, _ := weirtest.ReadSession(tcp)
		require.Equal(t, "ok", text)
	}
	local, err := net.Dial("unix", path)
	require.NoError(t, err)
	data, _ = nettest.ReadToEnd(local, 20*time.Second)
	require.Equal(t, "ok", string(data))
	r := w.WaitRecord(15*time.Second, "the unused socket", func(r weirtest.Record) bool { return r.Text("socket") != "" })
	require.Equal(t, "tcp "+other, r.Text("socket"))
	_, err = nettest.TryDial(other)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	w.Upgrade()
	text, _ := weirtest.ReadSession(tcp)
	require.Equal(t, "ok", text)
	serving := w.Process()
	w.Signal(syscall.SIGTERM)
	nettest.Wait(t, 10*time.Second, "the end", func() bool { return !serving.Alive() })
	require.FileExists(t, path, "it belongs to who has made it")
}
