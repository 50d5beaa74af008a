// The first results of checks, and checks that give no result.

package health_test

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The first result after a start, or after a server was added by a reload or the API, decides alone. An upgrade continues
// the verdicts: one failure takes no server down.
func TestFirstResultDecides(t *testing.T) {
	t.Parallel()
	live, dead := nettest.Start(t, nettest.SendText("A")), nettest.Reserve(t)
	l := weirtest.Config{
		Listen: nettest.Reserve(t), Cluster: "protected = false\nmax_fails = 0", Levels: weirtest.OneLevel(live.Addr()+" name=A", dead+" name=B"),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nfall = 1000000\nrise = 1000000\n",
	}
	w, _, a := weirtest.ServeAPI(t, l)
	state := func(name, want string) {
		t.Helper()
		nettest.Wait(t, 15*time.Second, name+" to be "+want, func() bool { s := a.Server(name); return s != nil && s["state"] == want })
	}
	state("B", "down")
	a.MustDo("POST /v1/clusters/c/servers", `{"name": "C", "address": "`+dead+`"}`)
	state("C", "down")
	l.Levels[0] = append(l.Levels[0], dead+" name=D")
	w.Reload(a.AddTo(l.String()))
	state("D", "down")
	require.Equal(t, "up", a.Server("A")["state"])
	w.Upgrade()
	live.Down()
	nettest.Wait(t, 15*time.Second, "failures after the upgrade", func() bool {
		return strings.Contains(a.MustRunCommand("explain", "c/A"), "failures so far")
	})
	require.Equal(t, "up", a.Server("A")["state"])
	state("B", "down")
}

// A check that was due while weir itself was stopped has no verdict.
func TestStoppedWeirFailsNoCheck(t *testing.T) {
	t.Parallel()
	slow := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
		nettest.SendText("ready")(ctx, c)
	})
	w, _, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "protected = false", Levels: weirtest.OneLevel(slow.Addr() + " name=A"),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\nexpect = \"ready\"\ninterval = \"3s\"\ntimeout = \"3s\"\nfall = 1\nrise = 1\n",
	})
	nettest.Wait(t, 10*time.Second, "the first check", func() bool { return slow.Accepted() > 0 })
	for n := range 2 {
		before := slow.Accepted()
		nettest.Wait(t, 10*time.Second, "a check", func() bool { return slow.Accepted() > before || n == 0 })
		w.Signal(syscall.SIGSTOP)
		stopped := time.Now()
		nettest.Wait(t, 10*time.Second, "the deadline of the check", func() bool { return time.Since(stopped) > 3500*time.Millisecond })
		w.Signal(syscall.SIGCONT)
	}
	require.Equal(t, "up", a.ServerState(0))
	require.Empty(t, w.Events("server_down"))
}

// A check from a source address that this host lacks cannot run: the cause is shown, and counted.
func TestCheckWithoutItsSourceAddress(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	w, _, a := weirtest.ServeAPI(t, weirtest.Config{
		Levels: weirtest.OneLevel(host.Addr() + " name=A source=192.0.2.77"),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nfall = 1\nrise = 1\n",
	})
	nettest.Wait(t, 10*time.Second, "the problem", func() bool { return strings.Contains(a.MustRunCommand("status"), "not checked") })
	text := a.MustRunCommand("explain", "c/A")
	require.Contains(t, text, "not checked since ")
	require.Contains(t, text, "cannot assign requested address")
	require.Equal(t, "up", a.ServerState(0))
	require.NotEqual(t, "0", a.Metric(`weir_check_skipped_total{reason="source_address"}`))
	warnings := 0
	for _, r := range w.Warnings() {
		if r.Text("msg") == "check cannot run on this host" {
			warnings++
		}
	}
	require.Equal(t, 1, warnings)
}
