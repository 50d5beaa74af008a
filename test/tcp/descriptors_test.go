package tcp_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// descriptorBudget returns the log record that shows how the descriptors are divided.
func descriptorBudget(w *weirtest.Weir) weirtest.Record {
	w.T.Helper()
	return w.WaitRecord(10*time.Second, "the budget", func(r weirtest.Record) bool { return r.Text("msg") == "descriptors" })
}

// With 20,000 descriptors 9,900 sessions fit. Connections over that number are rejected immediately; checks, the API
// and a reload continue.
func TestSessionsFitDescriptorLimit(t *testing.T) { // alone: it measures time
	const nofile, least = 20_000, 9_900
	checked := nettest.Start(t, nettest.SendText("x"))
	l := weirtest.Config{Listen: nettest.Reserve(t), More: strings.Replace(weirtest.ListenerTables("checked", nettest.Reserve(t), checked.Addr()), "[[cluster",
		"[[cluster.checked.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nfall = 10\nexpect = \"x\"\n[[cluster", 1)}
	l.Levels = weirtest.OneLevel()
	for range 4 { // unaccepted connections cost this process no descriptor, up to 4,096 for each socket
		ln := nettest.Listen(t, "127.0.0.1:0")
		defer ln.Close()
		l.Levels[0] = append(l.Levels[0], ln.Addr().String())
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{DescriptorLimit: nofile}.Start(t, a.AddTo(l.String()))
	room := descriptorBudget(w).Int("max_sessions")
	require.GreaterOrEqual(t, room, least)

	conns := make([]net.Conn, room)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			from := net.Dialer{Timeout: 30 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker))}}
			for i := worker; i < room; i += 8 {
				c, err := from.Dial("tcp", l.Listen)
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				conns[i] = c
			}
		})
	}
	wait.Wait()
	connected := func() bool {
		return strings.Count(a.MustDo("GET /v1/sessions?limit=20000", ""), `"phase":"relay"`) == room
	}
	nettest.Wait(t, 30*time.Second, "all to be connected", connected)
	for range 5 {
		_, ok := come(t, "127.0.0.1", l.Listen)
		require.False(t, ok)
	}
	before := checked.Accepted()
	nettest.Wait(t, 10*time.Second, "checks", func() bool { return checked.Accepted() >= before+3 })
	l.Listener = "max_sessions = 20000"
	w.Reload(a.AddTo(l.String()))
	require.Equal(t, "up", a.Get("clusters", 1, "levels", 0, "servers", 0, "state"))

	conns[0].(*net.TCPConn).SetLinger(0)
	conns[0].Close()
	nettest.Wait(t, 20*time.Second, "room for one", func() bool {
		c, err := nettest.TryDial(l.Listen)
		if err != nil {
			return false
		}
		conns[0] = c
		for !connected() {
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); nettest.StreamEndOf(err) != nettest.Timeout {
				c.Close() // it came before the other had left
				return false
			}
		}
		return true
	})
}

// A start reports how many sessions fit, warns about limits that do not, and fails if nothing fits; so does a reload.
// The soft limit is raised to the hard limit.
func TestDescriptorBudget(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Wrapper: []string{"prlimit", "--nofile=300:5000"}}.Start(t, l.String())
	require.Equal(t, 4999, descriptorBudget(w).Int("limit")) // Go leaves one
	require.Empty(t, w.Warnings())
	l.Runtime, l.Listener = "max_sessions = 100000", "max_sessions = 2000"
	w.Reload(l.String())
	loud := w.Warnings()
	require.Len(t, loud, 1)
	require.Equal(t, "runtime.max_sessions", loud[0].Text("key"))
	require.Equal(t, 4999, loud[0].Int("descriptors_limit"))
	require.InDelta(t, 200_500, loud[0].Int("descriptors_needed"), 500)
	l.Listener = "max_sessions = 3000"
	w.Reload(l.String())
	require.Equal(t, "listener l: max_sessions", w.Warnings()[2].Text("key"))
	require.InDelta(t, 6050, w.Warnings()[2].Int("descriptors_needed"), 50)

	for _, few := range []int{24, 40, 80} { // it runs, if for few
		one := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(host.Addr())}
		w := weirtest.Options{DescriptorLimit: few}.Start(t, one.String())
		n := descriptorBudget(w).Int("max_sessions")
		require.Positive(t, n)
		for range n {
			c, ok := come(t, "127.0.0.1", one.Listen)
			require.True(t, ok, "%d descriptors", few)
			defer c.Close()
		}
		_, ok := come(t, "127.0.0.1", one.Listen)
		require.False(t, ok)
	}

	ports := fmt.Sprintf("address = %q", l.Listen)
	l.Runtime, l.Listener = "", ""
	many := strings.Replace(l.String(), ports, fmt.Sprintf("address = [%q, \"127.0.0.77:20000-24999\"]", l.Listen), 1)
	r := w.FailReload(many)
	require.Contains(t, r.Text("error"), "descriptors for one session")
	c, ok := come(t, "127.0.0.1", l.Listen)
	require.True(t, ok)
	c.Close()
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(many), 0o644))
	out, err := exec.Command("prlimit", "--nofile=2000:2000", weirtest.Binary, "run", "-c", file).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 2, err.(*exec.ExitError).ExitCode(), "%s", out)
	require.Contains(t, string(out), "got a limit of 2000")
}
