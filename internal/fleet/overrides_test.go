package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"weir/internal/fleet"
	"weir/internal/fleet/fleettest"
)

// node is a node of a simulated fleet.
type node struct {
	name    string
	store   *fleettest.Client
	o       *fleet.Overrides
	watch   <-chan fleet.Change
	cancel  func()
	applied map[string]string // what is in force, by key
	out     []fleet.Outcome
}

func newNode(s *fleettest.Server, name string) *node {
	return &node{name: name, store: s.Client(), o: fleet.NewOverrides(name), applied: map[string]string{}}
}

var clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// say sets an override at a node; "" resets it.
func (n *node) say(key, value string) {
	clock = clock.Add(time.Millisecond)
	said := fleet.Override{By: "test", At: clock}
	if value != "" {
		said.Value, _ = json.Marshal(map[string]string{"state": value})
	}
	applies, err := n.o.Say(key, said)
	if err != nil {
		panic(err)
	}
	if applies {
		n.applied[key] = value
	}
}

func valueOf(o *fleet.Override) string {
	if o == nil || o.Value == nil {
		return ""
	}
	var v struct {
		State string `json:"state"`
	}
	if json.Unmarshal(o.Value, &v) != nil {
		return "?"
	}
	return v.State
}

func (n *node) handle(out fleet.Outcome) {
	n.out = append(n.out, out)
	for _, e := range out.Effects {
		n.applied[e.Key] = valueOf(e.Override)
	}
}

// step does what a node can do at once: load or read changes, and write one transaction. It reports whether it did anything.
func (n *node) step() bool {
	if n.watch == nil {
		snapshot, err := n.store.Load(context.Background())
		if err != nil {
			return false
		}
		n.handle(n.o.Load(snapshot))
		ctx, cancel := context.WithCancel(context.Background())
		if n.watch, err = n.store.Watch(ctx, snapshot.Revision); err != nil {
			cancel()
			return false
		}
		n.cancel = cancel
		return true
	}
	select {
	case c := <-n.watch:
		ok := c.Err == nil && c.Revision > 0
		if ok {
			var out fleet.Outcome
			out, ok = n.o.Apply(c)
			n.handle(out)
		}
		if !ok {
			n.cancel()
			n.watch = nil
		}
		return true
	default:
	}
	t, written := n.o.Next(fmt.Sprintf("%s-%d", n.name, clock.UnixNano()), clock)
	if len(t.Put) == 0 {
		return false
	}
	clock = clock.Add(time.Millisecond)
	revision, err := n.store.Commit(context.Background(), t)
	if err != nil || written == nil {
		n.cancel()
		n.watch = nil
		return true
	}
	n.handle(n.o.Committed(written, revision))
	return true
}

// restart continues in a new process, with the state file or without.
func (n *node) restart(saved bool) {
	text := n.o.Save("/p")
	n.o = fleet.NewOverrides(n.name)
	if saved {
		if err := n.o.Restore("/p", text); err != nil {
			panic(err)
		}
	} else {
		n.applied = map[string]string{}
	}
	if n.watch != nil {
		n.cancel()
		n.watch = nil
	}
}

func settle(t require.TestingT, nodes []*node) {
	for range 10000 {
		busy := false
		for _, n := range nodes {
			busy = n.step() || busy
		}
		if !busy {
			return
		}
	}
	require.Fail(t, "the nodes do not settle")
}

func TestOverridesReachAllNodes(t *testing.T) {
	s := fleettest.New()
	a, b := newNode(s, "a"), newNode(s, "b")
	key := fleet.ServerKey("redis", "10.0.0.1:6379")
	a.say(key, "drain")
	require.True(t, a.o.Pending(key))
	settle(t, []*node{a, b})
	require.False(t, a.o.Pending(key))
	require.Equal(t, "drain", b.applied[key])
	require.Equal(t, "a", b.o.Current(key).Node)
	b.say(key, "")
	settle(t, []*node{a, b})
	require.Empty(t, a.applied[key])

	b.o.SetLocal(key, true)
	b.applied[key] = "maint"
	a.say(key, "drain")
	settle(t, []*node{a, b})
	require.Equal(t, "maint", b.applied[key], "local")
	require.Equal(t, "drain", valueOf(b.o.SetLocal(key, false).Override))
}

func TestPendingOverrideLosesAgainstUnseenRevision(t *testing.T) {
	s := fleettest.New()
	a, b := newNode(s, "a"), newNode(s, "b")
	key, other := fleet.ServerKey("c", "s"), fleet.ServerKey("c", "t")
	settle(t, []*node{a, b})
	b.store.Cut(true)
	settle(t, []*node{b})
	b.say(key, "drain")
	b.say(other, "drain")
	a.say(key, "maint")
	settle(t, []*node{a, b})
	b.store.Cut(false)
	settle(t, []*node{a, b})
	for _, n := range []*node{a, b} {
		require.Equal(t, "maint", n.applied[key])
		require.Equal(t, "drain", n.applied[other])
	}
	var conflicts []fleet.Conflict
	for _, out := range b.out {
		conflicts = append(conflicts, out.Conflicts...)
	}
	require.Len(t, conflicts, 1)
	require.Equal(t, "drain", valueOf(&conflicts[0].Lost))
	require.Equal(t, "a", conflicts[0].Winner.Node)
}

func TestResetOnPurposeReachesNodesThatWereAway(t *testing.T) {
	s := fleettest.New()
	a, b := newNode(s, "a"), newNode(s, "b")
	key, said, unsaid := fleet.ServerKey("c", "s"), fleet.ServerKey("c", "t"), fleet.ServerKey("c", "u")
	a.say(key, "drain")
	a.say(said, "drain")
	settle(t, []*node{a, b})
	b.store.Cut(true)
	settle(t, []*node{b})
	b.say(said, "maint")
	b.say(unsaid, "maint")
	for _, txn := range a.o.Empty("operator", clock) {
		_, err := a.store.Commit(t.Context(), txn)
		require.NoError(t, err)
	}
	b.store.Cut(false)
	settle(t, []*node{a, b})
	for _, n := range []*node{a, b} {
		for _, k := range []string{key, said, unsaid} {
			require.Empty(t, n.applied[k], "%s %s", n.name, k)
		}
	}
	s.Wipe() // what was removed does not come back
	settle(t, []*node{a, b})
	require.Len(t, s.Records(), 1)
}

func TestWipedStoreIsFilledAgain(t *testing.T) {
	s := fleettest.New()
	a, b := newNode(s, "a"), newNode(s, "b")
	key, old := fleet.ServerKey("c", "s"), fleet.ServerKey("c", "old")
	a.say(key, "drain")
	a.say(old, "drain")
	settle(t, []*node{a, b})
	b.store.Cut(true)
	settle(t, []*node{b})
	a.say(key, "maint") // b does not know it
	settle(t, []*node{a})
	b.say(old, "maint") // nor the store this
	s.Wipe()
	b.restart(true)
	b.store.Cut(false)
	settle(t, []*node{b}) // b is first
	settle(t, []*node{a, b})
	for _, n := range []*node{a, b} {
		require.Equal(t, "maint", n.applied[key], n.name)
		require.Equal(t, "maint", n.applied[old], n.name)
	}
	restored := 0
	for _, out := range b.out {
		restored += out.Restored
	}
	require.Equal(t, 2, restored)
}

func TestHostileOverridesAreIgnored(t *testing.T) {
	s := fleettest.New()
	a := newNode(s, "a")
	key := fleet.ServerKey("c", "s")
	a.say(key, "drain")
	settle(t, []*node{a})
	for _, value := range []string{"", "{", `{"v":9}`, `{"v":1}`, `{"v":1,"node":"x","at":"2026-01-01T00:00:00Z","value":3}`, `{"v":1,"node":"x","at":"y"}`} {
		s.Write(key, value)
		s.Write("overrides/other/"+fmt.Sprint(len(value)), value)
		s.Write(fleet.IdentityKey, value)
		settle(t, []*node{a})
		require.Equal(t, "drain", a.applied[key])
	}
	problems := 0
	for _, out := range a.out {
		problems += len(out.Problems)
	}
	require.Positive(t, problems)
	b := newNode(s, "b")
	settle(t, []*node{a, b})
	a.say(key, "maint") // replaces it
	settle(t, []*node{a, b})
	require.Equal(t, "maint", b.applied[key])
}

// TestFleetAgreesAfterAnyHistory lets nodes talk, be cut off, restart and lose the store in any order. In the end all agree, and
// what only one node has said about an object is in force.
func TestFleetAgreesAfterAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := fleettest.New()
		nodes := []*node{newNode(s, "a"), newNode(s, "b"), newNode(s, "c")}
		last := map[string]string{} // said by the only speaker of a key
		conflicted := map[string]bool{}
		wipes, forgotten := 0, false
		node := func() *node { return nodes[rapid.IntRange(0, 2).Draw(t, "node")] }
		value := func() string { return rapid.SampledFrom([]string{"", "drain", "maint", "ready"}).Draw(t, "value") }
		t.Repeat(map[string]func(*rapid.T){
			"say about a common object": func(t *rapid.T) {
				key := fleet.ServerKey("c", rapid.SampledFrom([]string{"s", "t"}).Draw(t, "server"))
				node().say(key, value())
			},
			"say about an own object": func(t *rapid.T) {
				n := node()
				key, v := fleet.ClusterKey("of "+n.name), value()
				n.say(key, v)
				last[key] = v
			},
			"cut": func(t *rapid.T) { node().store.Cut(rapid.Bool().Draw(t, "cut")) },
			"step": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "steps") {
					node().step()
				}
			},
			"lose a reply": func(*rapid.T) { node().store.LoseReply() },
			"delay":        func(t *rapid.T) { node().store.Delay(rapid.Bool().Draw(t, "delayed")) },
			"compact":      func(*rapid.T) { s.Compact() },
			"wipe":         func(*rapid.T) { s.Wipe(); wipes++ },
			"restart":      func(*rapid.T) { node().restart(true) },
			"restart without state": func(t *rapid.T) {
				node().restart(false)
				forgotten = true
			},
			"hostile": func(t *rapid.T) {
				s.Write(rapid.SampledFrom([]string{"overrides/x", fleet.ServerKey("c", "hostile"), "limits/x"}).Draw(t, "key"), "{")
			},
		})
		for _, n := range nodes {
			n.store.Cut(false)
			n.store.Delay(false)
		}
		settle(t, nodes)
		for _, n := range nodes {
			for _, out := range n.out {
				for _, c := range out.Conflicts {
					conflicted[c.Key] = true
				}
			}
			require.Zero(t, n.o.Unwritten())
			for _, key := range []string{fleet.ServerKey("c", "s"), fleet.ServerKey("c", "t"), fleet.ClusterKey("of a"), fleet.ClusterKey("of b"), fleet.ClusterKey("of c")} {
				require.Equal(t, valueOf(nodes[0].o.Current(key)), valueOf(n.o.Current(key)), "%s disagrees about %s", n.name, key)
				require.Equal(t, valueOf(n.o.Current(key)), n.applied[key], "%s has not applied %s", n.name, key)
			}
		}
		if !forgotten {
			for key, want := range last {
				require.False(t, conflicted[key], key)
				require.Equal(t, want, nodes[0].applied[key], "%s after %d wipes", key, wipes)
			}
		}
	})
}
