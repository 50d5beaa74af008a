package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// TestMajorityDecidesThatServerIsDown: three nodes reach server a on their own ways. A node that alone does not reach it uses
// the other server. When two do not reach it, it is down for all. Without the store each node decides for itself.
func TestMajorityDecidesThatServerIsDown(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	b := nettest.Start(t, nettest.Echo)
	nodes := fleetOf(t, etcd, 3, "A name=a", b.Addr()+" name=b")
	var ways []*nettest.Host
	for _, n := range nodes {
		a := nettest.Start(t, nettest.Echo)
		ways = append(ways, a)
		n.config = strings.NewReplacer("A name=a", a.Addr()+" name=a", "ttl = \"5s\"", "ttl = \"2s\"\n[cluster.c.fleet]\nverdict = \"quorum\"\n"+
			"[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"100ms\"\nfall = 2\nrise = 1\n").Replace(n.config)
		n.start(t)
	}
	for _, n := range nodes {
		n.waitFleet(t, "all nodes", func(f status.Fleet) bool { return len(f.Members) == 3 })
		nettest.Wait(t, 60*time.Second, "votes", func() bool { return strings.Contains(n.command(t, "explain", "c/a"), "0 of 3 nodes find it down") })
	}

	ways[0].Down()
	waitState(t, "a", "failing", nodes[0])
	waitState(t, "a", "up", nodes[1:]...)
	require.Contains(t, nodes[0].command(t, "explain", "c/a"), "1 of 3 nodes finds it down: this one; tcp: ")
	for range 4 {
		text, end := weirtest.EchoOnce(t, nodes[0].listen)
		require.NotEmpty(t, text, end)
	}
	nodes[1].waitFleet(t, "the disagreement", func(f status.Fleet) bool {
		return len(f.Disagreements) == 1 && f.Disagreements[0].Verdict == "1 of 3 nodes finds it down: n1" && f.Disagreements[0].States["n1"] == "failing"
	})
	require.Contains(t, nodes[1].command(t, "fleet", "status"), "c/a: n1 failing, n2 up, n3 up; 1 of 3 nodes finds it down: n1")
	require.Equal(t, []string{"server_down 1 a up→failing"}, nodes[0].Events("server_down", "server_state"))
	nodes[0].Upgrade()
	require.Equal(t, "failing", nodes[0].state(t, "a"))

	ways[1].Down()
	waitState(t, "a", "down", nodes...)
	require.Contains(t, nodes[2].command(t, "explain", "c/a"), "2 of 3 nodes find it down: n1, n2")
	require.Contains(t, nodes[2].command(t, "status"), "2 of 3 nodes find it down: n1, n2")

	etcd.Members[0].Kill()
	waitState(t, "a", "up", nodes[2])
	require.Equal(t, "down", nodes[0].state(t, "a"))
	etcd.Up()
	waitState(t, "a", "down", nodes...)
	ways[0].Up()
	waitState(t, "a", "up", nodes[0], nodes[2])
	nodes[1].Reload(strings.Replace(nodes[1].config, "\"quorum\"", "\"own\"", 1))
	waitState(t, "a", "down", nodes[1])
	nodes[2].waitFleet(t, "no vote of n2", func(f status.Fleet) bool { return len(f.Disagreements) == 1 && f.Disagreements[0].Verdict == "" })
}
