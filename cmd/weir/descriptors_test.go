package main_test

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
)

// budget is the line of the log that says what becomes of the descriptors.
func (w *weir) budget() record {
	w.t.Helper()
	return w.waitRecord(10*time.Second, "the budget", func(r record) bool { return r.str("msg") == "descriptors" })
}

// With 20,000 descriptors 9,900 sessions fit; whoever comes when there is no room is refused at once, and checks, the API
// and a reload go on.
func TestRoomForSessions(t *testing.T) { // alone: it measures time
	const nofile, least = 20_000, 9_900
	checked := nettest.Start(t, nettest.SendText("x"))
	l := layout{listen: nettest.Reserve(t), more: strings.Replace(pair("checked", nettest.Reserve(t), checked.Addr()), "[[cluster",
		"[[cluster.checked.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nexpect = \"x\"\n[[cluster", 1)}
	l.levels = servers()
	for range 4 { // connections that nobody accepts cost this process no descriptor, up to 4,096 for each socket
		ln := nettest.Listen(t, "127.0.0.1:0")
		defer ln.Close()
		l.levels[0] = append(l.levels[0], ln.Addr().String())
	}
	a := newAPI(t)
	w := launch{nofile: nofile}.start(t, a.at(l.String()))
	room := w.budget().num("max_sessions")
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
			from := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker))}}
			for i := worker; i < room; i += 8 {
				c, err := from.Dial("tcp", l.listen)
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				conns[i] = c
			}
		})
	}
	wait.Wait()
	connected := func() bool { return strings.Count(a.ok("GET /v1/sessions?limit=20000", ""), `"phase":"relay"`) == room }
	nettest.Wait(t, 20*time.Second, "all to be connected", connected)
	for range 5 {
		_, ok := come(t, "127.0.0.1", l.listen)
		require.False(t, ok)
	}
	before := checked.Accepted()
	nettest.Wait(t, 5*time.Second, "checks", func() bool { return checked.Accepted() >= before+5 })
	l.listener = "max_sessions = 20000"
	w.reload(a.at(l.String()))
	require.Equal(t, "up", a.get("clusters", 1, "levels", 0, "servers", 0, "state"))

	conns[0].(*net.TCPConn).SetLinger(0)
	conns[0].Close()
	nettest.Wait(t, 5*time.Second, "room for one", func() bool {
		conns[0], _ = nettest.TryDial(l.listen)
		return conns[0] != nil
	})
	nettest.Wait(t, 5*time.Second, "all to be connected", connected)
}

// The start says what fits, warns of limits that do not, and is refused where nothing fits; a reload likewise. The soft limit
// is raised to the hard one.
func TestDescriptorBudget(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	l := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
	w := launch{under: []string{"prlimit", "--nofile=300:5000"}}.start(t, l.String())
	require.Equal(t, 4999, w.budget().num("limit")) // Go leaves one
	require.Empty(t, w.loud())
	l.runtime, l.listener = "max_sessions = 100000", "max_sessions = 2000"
	w.reload(l.String())
	loud := w.loud()
	require.Len(t, loud, 1)
	require.Regexp(t, `runtime.max_sessions = 100000 needs ~200\d\d\d fds, limit is 4999`, loud[0].str("msg"))
	l.listener = "max_sessions = 3000"
	w.reload(l.String())
	require.Regexp(t, `listener l: max_sessions = 3000 needs ~60\d\d fds, limit is 4999`, w.loud()[2].str("msg"))

	for _, few := range []int{24, 40, 80} { // it runs, if for few
		one := layout{listen: nettest.Reserve(t), levels: servers(host.Addr())}
		w := launch{nofile: few}.start(t, one.String())
		n := w.budget().num("max_sessions")
		require.Positive(t, n)
		for range n {
			c, ok := come(t, "127.0.0.1", one.listen)
			require.True(t, ok, "%d descriptors", few)
			defer c.Close()
		}
		_, ok := come(t, "127.0.0.1", one.listen)
		require.False(t, ok)
	}

	ports := fmt.Sprintf("address = %q", l.listen)
	l.runtime, l.listener = "", ""
	many := strings.Replace(l.String(), ports, fmt.Sprintf("address = [%q, \"127.0.0.77:20000-24999\"]", l.listen), 1)
	r := w.reloadFails(many)
	require.Contains(t, r.str("error"), "descriptors are needed to serve a single session")
	c, ok := come(t, "127.0.0.1", l.listen)
	require.True(t, ok)
	c.Close()
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(many), 0o644))
	out, err := exec.Command("prlimit", "--nofile=2000:2000", binary, "run", "-c", file).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 2, err.(*exec.ExitError).ExitCode(), "%s", out)
	require.Contains(t, string(out), "the limit is 2000")
}
