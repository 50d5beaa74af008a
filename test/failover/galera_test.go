package failover_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Three real nodes of Galera, which take long to start, for two tests.
func TestGalera(t *testing.T) {
	g := nettest.StartGalera(t, 3)
	g.Nodes[0].SQL(sqlUsers)
	var ids atomic.Int64 // of rows
	t.Run("Example", func(t *testing.T) { runGaleraExample(t, g, &ids) })
	t.Run("HasOneWriter", func(t *testing.T) { requireOneWriter(t, g, &ids) })
}

// requireOneWriter runs two instances of weir: clients of both write to the same node, and after each change to another one.
func requireOneWriter(t *testing.T, g *nettest.Galera, ids *atomic.Int64) {
	var servers []string
	for _, n := range g.Nodes {
		servers = append(servers, n.Addr())
	}
	config := weirtest.Config{
		Cluster: "on_down = \"close\"\nhold_timeout = \"30s\"\n", Levels: weirtest.OneLevel(servers...), Checks: sqlTopology("galera", sqlInterval, ""),
	}
	one, first := serveSQL(t, config)
	two, second := serveSQL(t, config)
	clients := []*sqlWriters{startSQLWriters(t, one, first, 2, false, ids), startSQLWriters(t, two, second, 2, false, ids)}

	// waitWriter waits until the clients of both instances write to one node.
	waitWriter := func(node int) {
		t.Helper()
		since := time.Now()
		nettest.Wait(t, 30*time.Second, "writes to "+portOf(g.Nodes[node]), func() bool {
			for _, c := range clients {
				writes, _, _ := c.copy()
				if len(writes) == 0 || !writes[len(writes)-1].began.After(since) || writes[len(writes)-1].port != portOf(g.Nodes[node]) {
					return false
				}
			}
			return true
		})
	}
	overlap := func(since time.Time) time.Duration { return longestOverlap(clients, since) }
	// change makes a change and waits until the node that must be chosen then is the only one in use. without are the nodes
	// that cannot serve.
	var run []any
	change := func(what string, do func(), without ...int) int {
		t.Helper()
		before := countSQL(clients...)
		began := time.Now()
		do()
		done := time.Now()
		node := lowestIndex(g, without...)
		waitWriter(node)
		took := time.Since(done)
		t.Logf("%s: both at %s after %v, two nodes in use for %v", what, portOf(g.Nodes[node]), time.Since(began).Round(time.Millisecond), overlap(began).Round(time.Millisecond))
		twoInUse := overlap(began)
		require.Less(t, twoInUse-nettest.StalledSince(began), weirtest.Bound(2*sqlInterval))
		settled := time.Now()
		time.Sleep(2 * sqlInterval) // clients go on for two polls
		waitWriter(node)
		require.Zero(t, overlap(settled))
		for i, f := range append(countSQL(clients...).since(before), "weir", took, "two_in_use", twoInUse) {
			if i%2 == 0 {
				f = what + "_" + f.(string)
			}
			run = append(run, f)
		}
		return node
	}
	var gone []int
	for range weirtest.Scaled(1) {
		run = nil
		i := change("start", func() {})
		j := change("desync", func() { g.Nodes[i].SQL("SET GLOBAL wsrep_desync = ON") }, i)
		k := change("reject", func() { g.Nodes[j].SQL("SET GLOBAL wsrep_reject_queries = ALL") }, i, j)
		require.NotEqual(t, i, k)
		i = change("return_of_two", func() {
			g.Nodes[j].SQL("SET GLOBAL wsrep_reject_queries = NONE")
			g.Nodes[i].SQL("SET GLOBAL wsrep_desync = OFF")
			g.WaitSynced(i)
		})
		change("kill", func() {
			g.Nodes[i].Kill()
			for _, c := range clients {
				c.serverKilled()
			}
			for at := range g.Nodes {
				if at != i {
					g.WaitSize(at, 2)
				}
			}
		}, i)
		gone = []int{i}
		if weirtest.Campaign() { // a state transfer takes long
			change("return", func() {
				g.Nodes[i].Up()
				g.WaitSynced(i)
			})
			gone = nil
		}
		weirtest.RecordFigures(t, run...)
	}
	for _, c := range clients {
		c.close()
		writes, _, failures := c.copy()
		t.Logf("%d writes, %d statements failed", len(writes), len(failures))
		c.requireConnects(t)
		require.Zero(t, c.lost(g.Nodes[lowestIndex(g, gone...)]))
	}
}

// lowestIndex returns the node with the lowest index but those left out.
func lowestIndex(g *nettest.Galera, without ...int) int {
	at, best := -1, ""
	for i := range g.Nodes {
		if slices.Contains(without, i) {
			continue
		}
		if index := g.Status(i, "wsrep_local_index"); at < 0 || index < best {
			at, best = i, index
		}
	}
	return at
}

// longestOverlap returns the longest time since a moment for which the clients of one instance have begun to write to a node
// after those of the other instance had moved to another one.
func longestOverlap(clients []*sqlWriters, since time.Time) (longest time.Duration) {
	type step struct {
		sqlWrite
		instance int
	}
	var steps []step
	for i, c := range clients {
		writes, _, _ := c.copy()
		for _, one := range writes {
			if one.began.After(since) {
				steps = append(steps, step{one, i})
			}
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return a.began.Compare(b.began) })
	last := make([]string, len(clients))
	moved, at := -1, time.Time{} // the instance that has moved first, and when
	for _, s := range steps {
		before := last[s.instance]
		last[s.instance] = s.port
		switch {
		case last[0] == last[1] || last[0] == "" || last[1] == "":
			moved = -1
		case moved < 0 && before != s.port:
			moved, at = s.instance, s.ended
		case moved != s.instance:
			longest = max(longest, s.began.Sub(at))
		}
	}
	return longest
}
