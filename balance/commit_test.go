package balance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func commit(c *Cluster, spec Spec) { c.Commit(c.Prepare(spec), 0) }

func TestCommitKeepsServerState(t *testing.T) {
	spec := newLevelsSpec("AB", "C")
	c := newFailingCluster(spec, 1, nil)
	c.SetCheck("C", "tcp", false, "refused", 0)
	c.SetOverride("B", Override{State: pointerTo(Drain), Weight: pointerTo(7)}, 0)
	a := pick(t, c, 0)
	server := a.Server()
	c.Feedback("A", true, 0)

	moved := newLevelsSpec("C", "BA") // C moved up one level, A moved down one
	for i := range moved.Levels {
		for j := range moved.Levels[i].Servers {
			moved.Levels[i].Servers[j].MaxFails, moved.Levels[i].Servers[j].FailTimeout = 1, 2*sec
			moved.Levels[i].Servers[j].Handle = "new"
		}
	}
	commit(c, moved)
	require.Same(t, server, c.Server("A"))
	require.Equal(t, "new", server.Handle())
	require.Equal(t, 1, server.Sessions())
	state := c.Snapshot(0)
	require.Equal(t, "C", state.Levels[0].Servers[0].Name)
	require.Equal(t, Down, state.Levels[0].Servers[0].State)
	require.Equal(t, Draining, state.Levels[1].Servers[0].State)
	require.Equal(t, 7, state.Levels[1].Servers[0].Weight)
	require.Equal(t, Unstable, state.Levels[1].Servers[1].State, "tripped, and the last one")
	a.Done(0)
	require.Zero(t, server.Sessions())
}

func TestCommitWithNewAddressClearsVerdict(t *testing.T) {
	spec := newLevelsSpec("AB")
	c := newFailingCluster(spec, 1, nil)
	held := pick(t, c, 0)
	c.SetCheck("A", "tcp", false, "refused", 0)
	c.SetOverride("A", Override{Weight: pointerTo(9)}, 0)
	c.SetAgent("A", AgentAdvice{Down: true, Percent: pointerTo(50)}, 0)
	c.Feedback("A", true, 0)
	spec = spec.clone()
	spec.Levels[0].Servers[0].Address = "elsewhere"
	commit(c, spec)
	a := c.Snapshot(0).Levels[0].Servers[0]
	require.Equal(t, Up, a.State)
	require.Equal(t, 9, a.Weight)
	require.Equal(t, 50, *a.Layers.Agent.Percent)
	require.Equal(t, 1, a.Sessions)
	require.Equal(t, uint64(1), a.Picks)
	require.Equal(t, "elsewhere", held.Server().Address())
}

func TestRemovedServerLosesStateButItsLeasesCount(t *testing.T) {
	spec := newLevelsSpec("AB")
	c := New(spec, 0, nil)
	c.SetOverride("B", Override{State: pointerTo(Drain)}, 0)
	a := pick(t, c, 0)
	commit(c, newLevelsSpec("B"))
	require.Nil(t, c.Server("A"))
	require.Equal(t, 1, a.Server().Sessions())
	require.Equal(t, 1, c.Snapshot(0).Leases)
	a.Established(0, 1)
	a.Fail(0, "refused")
	require.Zero(t, a.Server().Sessions())
	require.Zero(t, c.Snapshot(0).Leases)
	commit(c, spec)
	require.NotSame(t, a.Server(), c.Server("A"), "it left without sessions")
	require.Equal(t, "A", runSession(t, c, "", Attempts{}))
	commit(c, newLevelsSpec("A"))
	commit(c, spec)
	require.Equal(t, Up, stateOf(c, "B"), "removed and added again, it starts clean")
}

func TestServerThatReturnsKeepsItsSessions(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Levels[0].Servers[0].MaxSessions = 1
	c := New(spec, 0, nil)
	c.SetOverride("A", Override{Weight: pointerTo(9)}, 0)
	a := pick(t, c, 0)
	left := c.Commit(c.Prepare(newLevelsSpec("B")), 0)
	require.Len(t, left, 1)
	require.Same(t, a.Server(), left[0].Server)
	require.Equal(t, a.Address(), left[0].Address)
	require.True(t, left[0].Lasts())
	require.Nil(t, c.Server("A"))
	require.Same(t, a.Server(), c.Find("A"))

	require.Empty(t, c.Commit(c.Prepare(spec), 0))
	require.False(t, left[0].Lasts())
	require.Same(t, a.Server(), c.Server("A"))
	require.Equal(t, 1, c.Server("A").Sessions())
	require.Equal(t, "BB", pickSequence(t, c, 2), "its session counts towards max_sessions")
	require.Equal(t, Override{}, c.Override("A"), "the rest starts afresh")

	again := c.Commit(c.Prepare(newLevelsSpec("B")), 0)
	require.False(t, left[0].Lasts(), "the first departure is over")
	require.True(t, again[0].Lasts())
	a.Done(0)
	require.Nil(t, c.Find("A"))
}

func TestServerThatReturnsElsewhereKeepsTheDepartureOfItsAddress(t *testing.T) {
	at := func(address string) Spec {
		spec := newLevelsSpec("A")
		spec.Levels[0].Servers[0].Address = address
		return spec
	}
	c := New(at("1"), 0, nil)
	held := pick(t, c, 0)
	left := c.Commit(c.Prepare(at("2")), 0)
	require.Len(t, left, 1)
	require.Equal(t, held.Address(), left[0].Address)
	require.True(t, left[0].Lasts())
	second := pick(t, c, 0)
	require.NotEqual(t, held.Address(), second.Address())

	back := c.Commit(c.Prepare(at("1")), 0)
	require.False(t, left[0].Lasts())
	require.Equal(t, second.Address(), back[0].Address)

	gone := c.Commit(c.Prepare(newLevelsSpec("B")), 0)
	require.Equal(t, held.Address(), gone[0].Address)
	require.Len(t, c.Commit(c.Prepare(at("3")), 0), 1, "of B: that of the address lasts already")
	require.True(t, gone[0].Lasts())
	require.Equal(t, 2, c.Server("A").Sessions())
}

func TestClusterThatReturnsKeepsItsSessions(t *testing.T) {
	var events []Event
	c := New(newLevelsSpec("AB"), 0, func(e Event) { events = append(events, e) })
	a := pick(t, c, 0)
	left := c.Retire(0)
	require.Len(t, left, 2)
	require.True(t, left[0].Lasts())
	c.SetCheck("A", "tcp", false, "refused", 0)
	events = nil
	require.Empty(t, c.Commit(c.Prepare(newLevelsSpec("A")), 0))
	require.Same(t, a.Server(), c.Server("A"))
	require.Equal(t, Up, stateOf(c, "A"))
	require.Equal(t, 1, c.Server("A").Sessions())
	require.Empty(t, events)
	lasting := 0
	for _, d := range left {
		lasting += count(d.Lasts())
	}
	require.Equal(t, 1, lasting, "B has not returned")
}

func TestExpectedServerReturnsWithItsSessions(t *testing.T) {
	c := New(newLevelsSpec("B"), 0, nil)
	address := newLevelsSpec("A").Levels[0].Servers[0].Address
	left, ok := c.Expect("A", address, nil, 0)
	require.True(t, ok)
	_, ok = c.Expect("A", address, nil, 0)
	require.False(t, ok)
	lease, ok := c.Adopt("A", address, 0, 0)
	require.True(t, ok)
	require.Equal(t, left.Address, lease.Address())
	require.Empty(t, c.Commit(c.Prepare(newLevelsSpec("AB")), 0))
	require.False(t, left.Lasts())
	require.Equal(t, 1, c.Server("A").Sessions())
	lease.Done(0)
	require.Zero(t, c.Server("A").Sessions())
}

// Sessions of another process at an address that the server had count for it, and drain until it has the address again.
func TestExpectedAddressOfServerThatMoved(t *testing.T) {
	at := func(address string) Spec {
		spec := newLevelsSpec("A")
		spec.Levels[0].Servers[0].Address = address
		return spec
	}
	c := New(at("new"), 0, nil)
	_, ok := c.Expect("A", "new", nil, 0)
	require.False(t, ok, "it has not left")
	left, ok := c.Expect("A", "old", nil, 0)
	require.True(t, ok)
	require.True(t, left.Lasts())
	require.True(t, left.Moved())
	_, ok = c.Expect("A", "old", nil, 0)
	require.False(t, ok, "it drains already")
	old, ok := c.Adopt("A", "old", 0, 0)
	require.True(t, ok)
	require.Equal(t, left.Address, old.Address())
	require.Equal(t, "old", old.AddressText())
	current, ok := c.Adopt("A", "new", 0, 0)
	require.True(t, ok)
	require.NotEqual(t, left.Address, current.Address())
	require.Equal(t, 2, c.Server("A").Sessions())
	c.Commit(c.Prepare(at("old")), 0)
	require.False(t, left.Lasts())
}

func TestRemovingFirstOfTwoKeepsSecondServing(t *testing.T) {
	c := New(newLevelsSpec("AB"), 0, nil)
	commit(c, newLevelsSpec("B"))
	require.Equal(t, "BBB", pickSequence(t, c, 3))
}

func TestCommitRestartsCursorsOnlyIfDistributionChanges(t *testing.T) {
	spec := Spec{Levels: []LevelSpec{newLevelSpec(5, 1, 1)}}
	c := New(spec, 0, nil)
	require.Equal(t, "AAB", pickSequence(t, c, 3))
	other := spec.clone()
	other.Try, other.SlowStart = 2, 3
	other.Levels[0].Servers[1].MaxFails = 9
	commit(c, other)
	require.Equal(t, "ACAAAAB", pickSequence(t, c, 7))
	c.SetOverride("C", Override{MaxSessions: pointerTo(4)}, 0)
	require.Equal(t, "AC", pickSequence(t, c, 2))
	other = other.clone()
	other.Levels[0].Servers[1].Weight = 2
	commit(c, other)
	require.Equal(t, pickSequence(t, New(other, 0, nil), 16), pickSequence(t, c, 16))
}

func TestCommitOfNewWeightsDoesNotBurst(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1, 1)
	pickSequence(t, c, 1001)
	commit(c, Spec{Levels: []LevelSpec{newLevelSpec(1, 3)}})
	names := pickSequence(t, c, 4000)
	require.Equal(t, 1000, strings.Count(names, "A"))
	require.NotContains(t, names, "AA")
}

func TestServerInTwoLevelsIsOne(t *testing.T) {
	spec := newLevelsSpec("AB", "A")
	spec.Levels[0].Servers[0].MaxSessions = 1
	spec.Levels[1].Servers[0].Weight = 5
	c := New(spec, 0, nil)
	pick(t, c, 0)
	require.Equal(t, "B", runSession(t, c, "", Attempts{}))
	_, err := c.Pick(0, &Attempts{Levels: []int{1}})
	require.ErrorIs(t, err, ErrFull, "its one session is in the other level")
	state := c.Snapshot(0)
	require.Equal(t, 1, state.Levels[1].Servers[0].Sessions)
	require.Equal(t, 5, state.Levels[1].Servers[0].Weight)
}

func TestPrepareWithoutCommitHasNoEffect(t *testing.T) {
	c := newOneLevelCluster(Hash, 1, 2)
	before := c.Snapshot(0)
	c.Prepare(newLevelsSpec("XYZ"))
	require.Equal(t, before, c.Snapshot(0))
}

func TestPrepareKeepsTablesThatFit(t *testing.T) {
	c := newOneLevelCluster(Maglev, 1, 2)
	table := c.levels[0].table
	commit(c, Spec{Method: Maglev, Try: 4, Levels: []LevelSpec{newLevelSpec(1, 2)}})
	require.Same(t, table, c.levels[0].table)
	c.SetOverride("A", Override{Weight: pointerTo(3)}, 0)
	require.NotSame(t, table, c.levels[0].table)
	table = c.levels[0].table
	commit(c, Spec{Method: Maglev, Levels: []LevelSpec{newLevelSpec(1, 2)}})
	require.Same(t, table, c.levels[0].table)
}

func TestUnresolvedServerIsNotPicked(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Levels[0].Servers[0].Unresolved = true
	c := New(spec, 0, nil)
	require.Equal(t, "BB", pickSequence(t, c, 2))
	c.SetResolved("A", true, 0)
	require.Equal(t, "AB", pickSequence(t, c, 2))
	commit(c, spec)
	require.Equal(t, Up, stateOf(c, "A"), "the state is kept")
}

func TestAdoptIgnoresServerState(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Levels[0].Servers[0].MaxSessions, spec.Levels[0].Servers[0].State = 1, Maint
	c := New(spec, 1, nil)
	var leases []Lease
	for range 3 {
		lease, ok := c.Adopt("A", c.Server("A").Address(), 0, 0)
		require.True(t, ok)
		leases = append(leases, lease)
	}
	require.Equal(t, 3, c.Server("A").Sessions())
	_, ok := c.Adopt("Z", "", 0, 0)
	require.False(t, ok)
	for i := range leases {
		leases[i].Done(0)
		leases[i].Done(0)
	}
	require.Zero(t, c.Server("A").Sessions())
	require.Zero(t, c.Snapshot(0).Leases)
}

func TestAdoptedSessionsCountTowardsMaxSessions(t *testing.T) {
	spec := newLevelsSpec("A", "B")
	spec.Levels[0].Servers[0].MaxSessions = 1
	c := New(spec, 1, nil)
	lease, _ := c.Adopt("A", c.Server("A").Address(), 0, 0)
	next := pick(t, c, 0)
	require.Equal(t, "B", next.Server().Name())
	lease.Done(0)
	next = pick(t, c, 0)
	require.Equal(t, "A", next.Server().Name())
}
