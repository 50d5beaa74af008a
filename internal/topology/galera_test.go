package topology

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Real nodes of Galera: two watchers with the same view choose the same node.
func TestGaleraNodes(t *testing.T) {
	began := time.Now()
	g := nettest.StartGalera(t, 3)
	t.Logf("started in %v", time.Since(began))
	var addresses []string
	for _, n := range g.Nodes {
		addresses = append(addresses, n.Addr())
	}
	// lowest returns the address of the node with the lowest index but those left out.
	lowest := func(without ...int) (string, int) {
		t.Helper()
		left := map[int]bool{}
		for _, i := range without {
			left[i] = true
		}
		best, at := "", -1
		for i := range g.Nodes {
			if !left[i] {
				if index := g.Status(i, "wsrep_local_index"); best == "" || index < best {
					best, at = index, i
				}
			}
		}
		return addresses[at], at
	}
	_, r1 := watchSQL(t, Options{Spec: mysqlSpec("galera"), Servers: serversAt(addresses...)})
	_, r2 := watchSQL(t, Options{Spec: mysqlSpec("galera"), Servers: serversAt(addresses[2], addresses[0], addresses[1])})
	both := func(what, address string) {
		t.Helper()
		began := time.Now()
		r1.waitPrimary(t, 20*time.Second, address)
		r2.waitPrimary(t, 20*time.Second, address)
		t.Logf("%s: %v", what, time.Since(began))
	}
	first, i := lowest()
	both("start", first)

	next, j := lowest(i)
	g.Nodes[i].SQL("SET GLOBAL wsrep_desync = ON")
	both("desync", next)
	require.Equal(t, Other, r1.last().roles()[first])
	g.Nodes[j].SQL("SET GLOBAL wsrep_reject_queries = ALL")
	third, _ := lowest(i, j)
	both("reject queries", third)
	g.Nodes[i].SQL("SET GLOBAL wsrep_desync = OFF")
	both("synced again", first)
	_, err := g.Nodes[j].TrySQL("SET GLOBAL wsrep_reject_queries = NONE")
	require.NoError(t, err)

	g.Nodes[i].Kill()
	nettest.Wait(t, 20*time.Second, "the primary to change", func() bool { p := r1.last().Primary; return p != first && p != "" })
	g.WaitSynced(j)
	nettest.Wait(t, 20*time.Second, "the smaller cluster", func() bool { return g.Status(j, "wsrep_cluster_size") == "2" })
	second, _ := lowest(i)
	both("kill", second)
	g.Nodes[i].Up()
	g.WaitSynced(i)
	back, _ := lowest()
	both("return", back)
}
