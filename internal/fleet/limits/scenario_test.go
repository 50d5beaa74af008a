package limits

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var serverKey = ServerKey("c", "s")

// fleetOf returns a world with n nodes that share one limit, after its first grace.
func fleetOf(t *testing.T, n int, reserve time.Duration, limit int) *world {
	w := newWorld(1, serverKey)
	for i := range n {
		w.add(fmt.Sprint("n", i), reserve, limit)
	}
	w.pass(t, 6*time.Second)
	return w
}

// pass is run with a check of the invariant.
func (w *world) pass(t *testing.T, d time.Duration) {
	t.Helper()
	w.run(d, func() { require.Empty(t, w.violation()) })
}

// allowedTo returns what each node may use.
func (w *world) allowedTo() (list []int) {
	for _, s := range w.nodes {
		list = append(list, s.may(serverKey))
	}
	return list
}

func (w *world) inUse() (list []int) {
	for _, s := range w.nodes {
		list = append(list, s.sessions[serverKey])
	}
	return list
}

func TestPartsAreEqualAtFirst(t *testing.T) {
	require.Equal(t, []int{34, 33, 33}, fleetOf(t, 3, 0, 100).allowedTo())
	require.ElementsMatch(t, []int{1, 1, 0}, fleetOf(t, 3, 0, 2).allowedTo())
}

func TestNodeThatJoinsGetsItsPart(t *testing.T) {
	w := fleetOf(t, 2, 0, 100)
	w.add("n2", 0, 100)
	w.pass(t, 3*time.Second)
	require.ElementsMatch(t, []int{34, 33, 33}, w.allowedTo())
}

// TestPartsFollowDemand measures the time from a demand until it is satisfied.
func TestPartsFollowDemand(t *testing.T) {
	for _, c := range []struct {
		name         string
		limit        int
		demand, want []int
	}{
		{"one node", 100, []int{92, 0, 0}, []int{92, 0, 0}},
		{"one node and some use", 100, []int{80, 5, 5}, []int{80, 5, 5}},
		{"two nodes", 100, []int{200, 200, 4}, []int{46, 46, 4}},
		{"all nodes", 100, []int{200, 200, 200}, []int{33, 33, 33}},
		{"small limit", 4, []int{4, 0, 0}, []int{4, 0, 0}},
		{"limit below the number of nodes", 2, []int{0, 0, 2}, []int{0, 0, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fleetOf(t, 3, 0, c.limit)
			for i, s := range w.nodes {
				s.demand[serverKey] = c.demand[i]
			}
			w.pass(t, 2*time.Second)
			for i, s := range w.nodes {
				require.GreaterOrEqual(t, s.sessions[serverKey], c.want[i], "%v", w.inUse())
			}
		})
	}
}

// TestSteadyDemandMovesNothing: parts stay, and nodes write beats only.
func TestSteadyDemandMovesNothing(t *testing.T) {
	for _, demand := range [][]int{{0, 0, 0}, {80, 5, 5}, {200, 200, 200}, {200, 200, 4}} {
		w := fleetOf(t, 3, 10*time.Minute, 100)
		for i, s := range w.nodes {
			s.demand[serverKey] = demand[i]
		}
		w.pass(t, 15*time.Second)
		parts, written := w.held(serverKey), w.beaten
		w.pass(t, time.Minute)
		require.Equal(t, parts, w.held(serverKey))
		require.LessOrEqual(t, w.beaten-written, 3*7)
	}
}

// TestWritesAreBounded: demand that changes all the time costs a transaction per node and second.
func TestWritesAreBounded(t *testing.T) {
	w := fleetOf(t, 3, 0, 100)
	written := w.beaten
	for range 60 {
		for _, s := range w.nodes {
			s.demand[serverKey] = w.rnd.IntN(120)
		}
		w.pass(t, time.Second)
	}
	require.LessOrEqual(t, w.beaten-written, 3*(60+maxTokens))
}

// TestLongSessionsYieldToOthers: a node with all sessions gives parts back as its sessions end; others do not starve.
func TestLongSessionsYieldToOthers(t *testing.T) {
	w := fleetOf(t, 3, 0, 100)
	w.nodes[0].demand[serverKey] = 200
	w.pass(t, 5*time.Second)
	require.GreaterOrEqual(t, w.inUse()[0], 90)
	w.nodes[1].demand[serverKey], w.nodes[2].demand[serverKey] = 200, 200
	w.pass(t, 3*time.Second)
	require.NotZero(t, w.inUse()[1])
	require.NotZero(t, w.inUse()[2])
	w.pass(t, 3*time.Minute)
	require.ElementsMatch(t, []int{34, 33, 33}, w.inUse())
}

// TestTinyLimitPassesRound: with fewer units than nodes that need one, none starves.
func TestTinyLimitPassesRound(t *testing.T) {
	w := fleetOf(t, 3, 0, 1)
	served := map[int]bool{}
	for _, s := range w.nodes {
		s.demand[serverKey] = 1
	}
	for range 240 {
		for i, s := range w.nodes {
			if s.sessions[serverKey] > 0 {
				served[i] = true
				s.sessions[serverKey] = 0
			}
		}
		w.pass(t, 250*time.Millisecond)
	}
	require.Len(t, served, 3)
}

// TestLimitChangesAtDifferentTimes: the lowest limit that a node knows applies while they differ.
func TestLimitChangesAtDifferentTimes(t *testing.T) {
	w := fleetOf(t, 3, 0, 100)
	for _, s := range w.nodes {
		s.demand[serverKey] = 200
	}
	w.pass(t, 5*time.Second)
	w.nodes[0].setLimit(serverKey, 200)
	w.nodes[1].setLimit(serverKey, 200)
	w.pass(t, 5*time.Second)
	require.Equal(t, 100, held(w.held(serverKey)))
	w.nodes[2].setLimit(serverKey, 200)
	w.pass(t, 5*time.Second)
	require.Equal(t, 200, held(w.held(serverKey)))
	w.nodes[1].setLimit(serverKey, 50)
	w.pass(t, 5*time.Minute)
	require.Equal(t, 50, held(w.held(serverKey)))
	w.nodes[0].setLimit(serverKey, 0)
	w.pass(t, 5*time.Second)
	require.NotContains(t, w.held(serverKey), "n0")
}

func TestPartOfDeadNodeReturnsAfterReserve(t *testing.T) {
	w := fleetOf(t, 3, 20*time.Second, 100)
	w.nodes[0].kill()
	w.nodes[1].demand[serverKey] = 100
	w.pass(t, 18*time.Second)
	require.Equal(t, 34, w.held(serverKey)["n0"].Held)
	w.pass(t, 6*time.Second)
	require.NotContains(t, w.held(serverKey), "n0")
	require.GreaterOrEqual(t, w.inUse()[1], 90)
	w.nodes[0].start()
	w.nodes[0].demand[serverKey] = 100
	w.pass(t, 2*time.Minute)
	require.GreaterOrEqual(t, w.inUse()[0], 40)
}

func TestPartOfDeadNodeReturnsWhenForgotten(t *testing.T) {
	w := fleetOf(t, 3, 0, 100)
	w.nodes[0].kill()
	w.pass(t, 20*time.Minute)
	require.Equal(t, 34, w.held(serverKey)["n0"].Held)
	txn, ok := w.nodes[1].node.Forget("n0")
	require.True(t, ok)
	_, err := w.nodes[1].client.Commit(context.Background(), txn)
	require.NoError(t, err)
	w.pass(t, 3*time.Second)
	require.NotContains(t, w.held(serverKey), "n0")
	require.Equal(t, 100, held(w.held(serverKey)))
	w.pass(t, 3*time.Second)
	require.NotContains(t, w.nodes[1].node.view.nodes, "n0")
}

// TestRestartKeepsPart: a process that starts again has the part of the one before.
func TestRestartKeepsPart(t *testing.T) {
	w := fleetOf(t, 3, 20*time.Second, 100)
	w.nodes[0].demand[serverKey] = 80
	w.pass(t, 3*time.Second)
	w.nodes[0].kill()
	w.pass(t, 5*time.Second)
	w.nodes[0].start()
	w.pass(t, time.Second)
	require.GreaterOrEqual(t, w.inUse()[0], 80)
}

// TestNodeWithoutStore uses its part until shortly before its reserve has passed. Then it ends its sessions.
func TestNodeWithoutStore(t *testing.T) {
	w := fleetOf(t, 3, 20*time.Second, 100)
	for _, s := range w.nodes {
		s.demand[serverKey] = 100
	}
	w.pass(t, 5*time.Second)
	w.nodes[0].client.Cut(true)
	w.nodes[0].cut = true
	w.pass(t, 16*time.Second)
	require.Equal(t, 34, w.inUse()[0])
	w.pass(t, 2500*time.Millisecond)
	require.Equal(t, 0, w.inUse()[0])
	w.pass(t, 5*time.Second)
	require.Equal(t, []int{0, 50, 50}, w.inUse())
	w.nodes[0].client.Cut(false)
	w.nodes[0].cut = false
	w.pass(t, 3*time.Minute)
	require.ElementsMatch(t, []int{34, 33, 33}, w.inUse())
}

// TestStoreAway: without the store and without a reserve everything continues.
func TestStoreAway(t *testing.T) {
	w := fleetOf(t, 3, 0, 100)
	for _, s := range w.nodes {
		s.demand[serverKey] = 100
		s.client.Cut(true)
	}
	w.pass(t, 20*time.Minute)
	require.Equal(t, []int{34, 33, 33}, w.inUse())
}

// TestStoreWipedIsFilledAgain: the records return, and no session notices; a node that starts meanwhile gets nothing that is
// in use.
func TestStoreWipedIsFilledAgain(t *testing.T) {
	w := fleetOf(t, 3, 20*time.Second, 100)
	for _, s := range w.nodes {
		s.demand[serverKey] = 100
	}
	w.pass(t, 5*time.Second)
	w.nodes[0].kill()
	w.store.Wipe()
	w.add("n3", 20*time.Second, 100)
	w.run(10*time.Second, func() {
		sum := 0
		for _, s := range w.nodes {
			if s.alive {
				sum += max(s.sessions[serverKey], s.may(serverKey))
			}
		}
		require.LessOrEqual(t, sum, 66)
		require.GreaterOrEqual(t, sum, 60)
	})
	require.Equal(t, 34, w.held(serverKey)["n0"].Held)
	w.pass(t, 40*time.Second)
	require.NotContains(t, w.held(serverKey), "n0")
}

// TestGarbageIsReplaced: a value that cannot be used is reported and written again.
func TestGarbageIsReplaced(t *testing.T) {
	w := fleetOf(t, 3, 20*time.Second, 100)
	good := w.held(serverKey)
	w.store.Write(partsKey(serverKey), `{"v":1,"limits":{"server/c/s":{"n1":{"h":-5,"l":100}}}}`)
	w.store.Write(nodeKey("n1"), `garbage`)
	w.run(3*time.Second, func() { require.Equal(t, []int{34, 33, 33}, w.allowedTo()) })
	require.Equal(t, good, w.held(serverKey))
	problems, _ := w.nodes[0].node.view.problems.List()
	require.Empty(t, problems)
}

// TestLimitReturnsWhileItsRemovalIsDelayed: a part whose removal may still arrive is not used.
func TestLimitReturnsWhileItsRemovalIsDelayed(t *testing.T) {
	w := fleetOf(t, 1, 0, 1)
	s := w.nodes[0]
	s.client.Cut(true)
	s.stick = true
	s.setLimit(serverKey, 0)
	w.pass(t, time.Second)
	require.Len(t, w.stuck, 1)
	s.setLimit(serverKey, 1)
	w.pass(t, time.Second)
	require.Zero(t, s.may(serverKey))
	w.ghost.Commit(context.Background(), w.stuck[0])
	w.pass(t, time.Second)
	s.client.Cut(false)
	w.pass(t, 3*time.Second)
	require.Equal(t, 1, s.may(serverKey))
}

// TestPartOfNodeThatDoesNotExist: a part whose node has no record passes to the others after the reserve, or when an operator forgets
// the node, and stops no node from using what it has.
func TestPartOfNodeThatDoesNotExist(t *testing.T) {
	forged := `{"v":1,"limits":{"server/c/s":{"ghost":{"h":100,"l":100}}}}`
	w := fleetOf(t, 3, 20*time.Second, 100)
	for _, s := range w.nodes {
		s.demand[serverKey] = 30
	}
	w.run(2*time.Second, func() {})
	w.store.Write(partsKey(serverKey), forged)
	w.run(15*time.Second, func() { require.Equal(t, []int{30, 30, 30}, w.inUse()) })
	require.Contains(t, w.held(serverKey), "ghost")
	w.run(15*time.Second, func() { require.Equal(t, []int{30, 30, 30}, w.inUse()) })
	require.NotContains(t, w.held(serverKey), "ghost")
	w.pass(t, 5*time.Second)
	require.Equal(t, []int{34, 33, 33}, w.allowedTo())

	w.store.Write(partsKey(serverKey), forged)
	w.run(2*time.Second, func() {})
	txn, ok := w.nodes[0].node.Forget("ghost")
	require.True(t, ok)
	_, err := w.nodes[0].client.Commit(context.Background(), txn)
	require.NoError(t, err)
	w.run(3*time.Second, func() {})
	require.NotContains(t, w.held(serverKey), "ghost")
	require.Equal(t, []int{34, 33, 33}, w.allowedTo())
}

// TestPartTakenByProgramThatIsNoNode: neither a part that is set to nothing nor one that is removed ends sessions.
func TestPartTakenByProgramThatIsNoNode(t *testing.T) {
	for _, forged := range []string{
		`{"v":1,"limits":{"server/c/s":{"n0":{"h":0,"l":100},"n1":{"h":33,"l":100},"n2":{"h":33,"l":100}}}}`,
		`{"v":1,"limits":{"server/c/s":{"n1":{"h":33,"l":100}}}}`,
		`{"v":1,"limits":{}}`,
	} {
		w := fleetOf(t, 3, 20*time.Second, 100)
		for _, s := range w.nodes {
			s.demand[serverKey] = 30
		}
		w.pass(t, 2*time.Second)
		w.store.Write(partsKey(serverKey), forged)
		w.run(5*time.Second, func() { require.Equal(t, []int{30, 30, 30}, w.inUse()) })
		w.pass(t, 5*time.Second)
		require.Equal(t, []int{34, 33, 33}, []int{w.held(serverKey)["n0"].Held, w.held(serverKey)["n1"].Held, w.held(serverKey)["n2"].Held})
	}
}
