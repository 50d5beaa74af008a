package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

const ttl = 10 * time.Second

// testNode is a member with a client of a model store.
type testNode struct {
	*fleet.Member
	store  *fleettest.Client
	stop   func()
	mu     sync.Mutex
	found  map[string][]string // servers that are down, by cluster; guarded by mu
	events []string
	voted  int
}

// join starts a node. saved is what an earlier process has saved.
func join(t *testing.T, s *fleettest.Server, name string, saved json.RawMessage) *testNode {
	n := &testNode{store: s.Client(), found: map[string][]string{"c": nil}}
	n.Member = fleet.NewMember(fleet.MemberOptions{
		Node: name, Prefix: "/f", Store: n.store, Share: []string{fleet.ShareOverrides}, TTL: ttl, Saved: saved, Log: slog.New(slog.DiscardHandler),
		Apply: func([]string) {}, Changed: func() {}, Jitter: func(d time.Duration) time.Duration { return d },
		Info: func() fleet.NodeInfo { return fleet.NodeInfo{Clusters: []string{"c"}} },
		Event: func(e fleet.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, e.Kind)
		},
		Verdicts: func() map[string]fleet.Verdicts {
			n.mu.Lock()
			defer n.mu.Unlock()
			found := map[string]fleet.Verdicts{}
			for cluster, down := range n.found {
				found[cluster] = fleet.NewVerdicts(slices.Clone(down))
			}
			return found
		},
		Voted: func([]string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.voted++
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	n.stop = func() { cancel(); <-done }
	t.Cleanup(n.stop)
	return n
}

// find sets the servers of cluster c that the node finds down.
func (n *testNode) find(down ...string) {
	n.mu.Lock()
	n.found["c"] = down
	n.mu.Unlock()
	n.VerdictsChanged()
}

// say sets the override of a server of cluster c to a state.
func (n *testNode) say(t *testing.T, server, state string) {
	t.Helper()
	_, err := n.Say(fleet.ServerKey("c", server), fleet.Override{By: "op", At: time.Now(), Value: json.RawMessage(`{"state":"` + state + `"}`)})
	require.NoError(t, err)
}

// said returns the state of the override of a server.
func (n *testNode) said(server string) string {
	o, _ := n.Current(fleet.ServerKey("c", server))
	if o == nil {
		return ""
	}
	return string(o.Value)
}

// votes formats what the others find about a server: those that find it down, and how many there are.
func (n *testNode) votes(server string) string {
	v, _ := n.Votes("c")
	nodes, down := v.Of(server)
	return fmt.Sprintf("%v of %d", down, nodes)
}

// pass lets time pass for the nodes and for the store.
func pass(s *fleettest.Server, d time.Duration) {
	for ; d > 0; d -= 500 * time.Millisecond {
		time.Sleep(min(d, 500*time.Millisecond))
		s.Advance(min(d, 500*time.Millisecond))
		synctest.Wait()
	}
}

func trio(t *testing.T, s *fleettest.Server) (nodes []*testNode) {
	for _, name := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, join(t, s, name, nil))
	}
	pass(s, 2*time.Second)
	return nodes
}

// waitFor returns what became of the override of a server.
func (n *testNode) waitFor(server string) fleet.Written {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return n.Wait(ctx, fleet.ServerKey("c", server))
}

func (n *testNode) hasEvent(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.events, kind)
}

func TestOverrideReachesAllMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		n[0].say(t, "a", "drain")
		require.Equal(t, fleet.IsWritten, n[0].waitFor("a"))
		synctest.Wait()
		for _, x := range n {
			require.Equal(t, `{"state":"drain"}`, x.said("a"))
			require.Equal(t, []string{fleet.ServerKey("c", "a")}, x.Applied())
			require.Equal(t, 3, x.NodeCount())
		}
		n[2].SetLocal(fleet.ServerKey("c", "a"), true)
		require.Empty(t, n[2].Applied())
		require.NoError(t, n[1].Reset(t.Context(), "op"))
		synctest.Wait()
		require.Empty(t, n[0].said("a"))
	})
}

func TestOverrideWaitsForStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		n[0].store.Cut(true)
		synctest.Wait()
		n[0].say(t, "a", "drain")
		require.Equal(t, fleet.IsPending, n[0].waitFor("a"))
		require.ErrorContains(t, n[0].Reset(t.Context(), "op"), "the store cannot be used")
		saved := n[0].Save()
		n[0].stop()
		n[0] = join(t, s, "n1", saved) // a restart
		pass(s, 5*time.Second)
		require.Equal(t, `{"state":"drain"}`, n[1].said("a"))
		require.Zero(t, n[0].Status().Pending)

		n[0].store.Cut(true)
		synctest.Wait()
		n[0].say(t, "a", "maint")
		n[1].say(t, "a", "ready") // the later revision wins
		pass(s, time.Second)
		n[0].store.Cut(false)
		pass(s, 10*time.Second)
		require.Equal(t, `{"state":"ready"}`, n[0].said("a"))
		require.True(t, n[0].hasEvent(fleet.EventConflict))
		require.True(t, n[0].hasEvent(fleet.EventUnconnected))
	})
}

func TestOverrideOfFullAndWipedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		n := trio(t, s)
		s.SetFull(true)
		n[0].say(t, "a", "drain")
		require.Equal(t, fleet.IsPending, n[0].waitFor("a"))
		require.Equal(t, fleet.IsPending, n[0].waitFor("a"), "it is known already")
		s.SetFull(false)
		pass(s, 10*time.Second)
		require.Equal(t, `{"state":"drain"}`, n[2].said("a"))
		s.Wipe()
		pass(s, 2*ttl)
		require.Equal(t, `{"state":"drain"}`, n[2].said("a"))
		require.True(t, n[0].hasEvent(fleet.EventRestored) || n[1].hasEvent(fleet.EventRestored) || n[2].hasEvent(fleet.EventRestored))
		require.Contains(t, fmt.Sprint(s.Records()), "overrides/server/c/a")
		require.Equal(t, 3, n[1].NodeCount())
	})
}

func TestNameInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		first := join(t, s, "n1", nil)
		pass(s, time.Second)
		second := join(t, s, "n1", nil)
		pass(s, 2*ttl)
		require.Contains(t, second.Status().LastError, "in use by another weir")
		require.True(t, first.Status().Connected)
		first.stop()
		pass(s, 2*ttl)
		require.True(t, second.Status().Connected)
	})
}

// A program that is no node can take a node's name for a moment only: by a record without a lease, also for a node that starts, or
// by overwriting that of a node.
func TestRecordOfNodeIsForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fleettest.New()
		const forged = `{"v":1,"instance":"forged","version":"1","config":"","clusters":[]}`
		s.Write("nodes/n1", forged)
		n := join(t, s, "n1", nil)
		pass(s, 2*time.Second)
		require.True(t, n.Status().Connected)
		for range 3 {
			s.Write("nodes/n1", forged)
			pass(s, 2*time.Second)
			require.True(t, n.Status().Connected)
			s.WriteLeased("nodes/n1", forged)
			pass(s, 2*time.Second)
			require.True(t, n.Status().Connected)
		}
		require.False(t, n.hasEvent(fleet.EventUnconnected))
		for _, r := range s.Records() {
			if r.Key == "nodes/n1" {
				require.True(t, r.Leased)
				require.NotContains(t, string(r.Value), "forged")
			}
		}
		s.Write("nodes/n9", forged)
		pass(s, time.Second)
		require.NotContains(t, n.Status().Nodes, "n9")
	})
}
