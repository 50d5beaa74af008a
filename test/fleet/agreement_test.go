package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// TestOverrideIsInForceSoon measures from the answer of the command to the last of three nodes. make campaign takes 100.
func TestOverrideIsInForceSoon(t *testing.T) {
	etcd := nettest.StartEtcd(t, 3)
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 3, a.Addr(), b.Addr())
	var took []time.Duration
	for i := range weirtest.Scaled(5) {
		at, state := nodes[rand.IntN(3)], []string{"drain", "maint", "up"}[i%3]
		verb := map[string]string{"up": "reset"}[state]
		if verb == "" {
			verb = state
		}
		require.Contains(t, at.command(t, "server", "c/"+a.Addr(), verb), "written to the fleet")
		began := time.Now()
		waitState(t, a.Addr(), state, nodes...)
		took = append(took, nettest.Elapsed(began))
	}
	p99 := weirtest.Percentile(took, 99)
	for _, d := range took {
		weirtest.RecordFigures(t, "override", d)
	}
	require.Less(t, p99, weirtest.Bound(time.Second))
}

// TestNodesAgreeAfterLeaderKills sets overrides on all nodes while the leader of the store is killed. In the end all nodes
// agree, and the last override of each server holds. make campaign sets 1,000 and kills 20 times.
func TestNodesAgreeAfterLeaderKills(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 3)
	var servers []string
	for range 9 {
		servers = append(servers, nettest.Start(t, nettest.Echo).Addr())
	}
	nodes := startFleet(t, etcd, 3, servers...)
	want := map[string]int{}
	kills := weirtest.Scaled(1)
	pending := 0
	for range kills {
		var killed *nettest.EtcdMember
		for i := range 50 {
			if i == 10 {
				if killed = etcd.Leader(); killed != nil {
					killed.Kill()
				}
			}
			server := rand.IntN(len(servers))
			name, weight := servers[server], 2+rand.IntN(200)
			// One node speaks about a server, so that the last word is known.
			code, text := nodes[server%3].api.Do("PATCH /v1/clusters/c/servers/"+name, fmt.Sprintf(`{"weight": %d}`, weight))
			require.Equal(t, 200, code, text)
			want[name] = weight
		}
		pending += nodes[0].fleet(t).Pending + nodes[1].fleet(t).Pending + nodes[2].fleet(t).Pending
		etcd.Up()
	}
	for i, n := range nodes {
		n.waitFleet(t, "nothing to be pending", func(f status.Fleet) bool { return f.Connected && f.Pending == 0 })
		for name, weight := range want {
			nettest.Wait(t, 60*time.Second, fmt.Sprintf("node %d to have weight %d of %s", i+1, weight, name), func() bool {
				return n.api.Server(name)["weight"].(float64) == float64(weight)
			})
		}
		require.Empty(t, n.Events("override_conflict"))
	}
	t.Logf("%d overrides were pending at the end of %d rounds", pending, kills)
}
