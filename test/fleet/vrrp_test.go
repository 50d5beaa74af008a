package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleetbed"
	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// keepalived has the address while weir can serve: not while the node is drained, nor while the cluster has no eligible server.
func TestKeepalived(t *testing.T) {
	t.Parallel()
	b := fleetbed.New(t, "none")
	n := b.Nodes[0]
	n.Serve(n.Config(""))
	n.StartKeepalived()
	wait := func(has bool) {
		t.Helper()
		nettest.Wait(t, weirtest.Bound(30*time.Second), "keepalived", func() bool {
			return strings.Contains(n.Exec("ip", "address", "show", "eth0"), "10.0.0.100/24") == has
		})
	}
	wait(true)
	n.API.MustRunCommand("node", "drain")
	wait(false)
	n.API.MustRunCommand("node", "ready")
	wait(true)
	b.Server.Down()
	wait(false)
	code, _ := n.API.Do("GET /readyz?cluster=c", "")
	require.Equal(t, 503, code)
}
