// Reasons of server states in the status document.

package health_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server that is down shows why it went down until it is up again, even while its checks pass already; a server that
// is up shows its failing checks.
func TestReasonsOfVerdicts(t *testing.T) {
	t.Parallel()
	var reply atomic.Value
	reply.Store("500 Broken")
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		nettest.SendText(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", reply.Load()))(ctx, c)
	})
	other := nettest.Start(t, nettest.SendText("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	gone := other.Addr()
	const check = "[[cluster.c.check]]\ntype = \"http\"\nid = %q\nservers = [%[1]q]\ninterval = \"1s\"\ntimeout = \"1s\"\n" +
		"fast_interval = \"50ms\"\ndown_interval = \"50ms\"\nrise = 1000000\nfall = %d\n"
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "protected = false", Levels: weirtest.OneLevel(host.Addr()+" name=A", gone+" name=B"),
		Checks: fmt.Sprintf(check, "A", 1) + fmt.Sprintf(check, "B", 1000000),
	})
	nettest.Wait(t, 20*time.Second, "the first check of B", func() bool { return other.Accepted() > 0 })
	other.Down()
	nettest.Wait(t, 20*time.Second, "A to go down", func() bool { return a.ServerState(0) == "down" })
	require.Contains(t, a.MustRunCommand("explain", "c/A"), `status: expected 101 102 2xx 3xx, got "500 Broken"`)
	reply.Store("200 Mended")
	before := host.Accepted()
	nettest.Wait(t, 20*time.Second, "checks to pass", func() bool { return host.Accepted() > before+4 })
	require.Equal(t, `status: expected 101 102 2xx 3xx, got "500 Broken"`, a.Get("clusters", 0, "levels", 0, "servers", 0, "reason"))
	nettest.Wait(t, 20*time.Second, "failures of B", func() bool {
		return regexp.MustCompile(`(?m)^ +\d+ failures so far: connect to ` + gone + `: connection refused$`).MatchString(a.MustRunCommand("explain", "c/B"))
	})
	require.Equal(t, "up", a.ServerState(1))
}

// The reason of a layer is shown completely, however long it is.
func TestExplainShowsWholeReasons(t *testing.T) {
	t.Parallel()
	_, _, a := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel("127.0.0.1:1 name=A", "127.0.0.1:2 name=B")})
	why := strings.TrimSpace(strings.Repeat("because ", 20))
	a.MustRunCommand("server", "c/A", "weight", "3", "--reason", why)
	require.Contains(t, a.MustRunCommand("explain", "c/A"), "\n      "+why+"\n")
}

// A failing server shows the error of the last failed dial.
func TestReasonOfFailingServer(t *testing.T) {
	t.Parallel()
	live := nettest.Start(t, nettest.SendText("B"))
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"first\"", Levels: weirtest.OneLevel(nettest.Reserve(t)+" name=A", live.Addr()+" name=B max_fails=1")})
	require.Equal(t, "BBB", weirtest.ReadSessions(t, addr, 3))
	down := w.WaitRecord(15*time.Second, "A to be failing", func(r weirtest.Record) bool { return r.IsEvent("server_down") && r.Text("server") == "A" })
	require.Equal(t, "3 failures within 10s, the last: connection refused", down.Text("reason"))
}
