package balance

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFairShares(t *testing.T) {
	for _, c := range []struct {
		sessions      int
		steps         []int64
		limits, share []int
	}{
		{0, []int64{1, 1}, []int{0, 0}, []int{0, 0}},
		{10, []int64{1, 1}, []int{0, 0}, []int{5, 5}},
		{10, []int64{1, 1, 1}, []int{0, 0, 0}, []int{4, 3, 3}},
		{10, []int64{1, 4}, []int{0, 0}, []int{2, 8}},
		{11, []int64{1, 2, 1}, []int{0, 0, 0}, []int{3, 5, 3}},
		{10, []int64{1, 0}, []int{0, 0}, []int{10, 0}},
		{10, []int64{0, 0}, []int{0, 0}, []int{5, 5}},
		{10, []int64{1, 1, 1}, []int{0, 2, 0}, []int{4, 2, 4}},
		{10, []int64{1, 1}, []int{3, 4}, []int{5, 5}}, // the limits leave no room
		{10, []int64{1, 1, 2}, []int{1, 1, 0}, []int{1, 1, 8}},
	} {
		require.Equal(t, c.share, fairShares(c.sessions, c.steps, c.limits), "%v", c)
	}
	require.Empty(t, fairShares(5, nil, nil))
}

// Shares sum up to all sessions, differ from the exact share by less than one where there is no limit, and keep limits.
func TestFairSharesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "servers")
		steps := rapid.SliceOfN(rapid.Int64Range(0, 25600), n, n).Draw(t, "steps")
		limits := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 5, 100}), n, n).Draw(t, "limits")
		sessions := rapid.IntRange(0, 100_000).Draw(t, "sessions")
		shares := fairShares(sessions, steps, limits)
		total, weights, room, unlimited := 0, int64(0), 0, false
		for i := range n {
			total += shares[i]
			weights += steps[i]
			room += limits[i]
			unlimited = unlimited || limits[i] == 0
		}
		require.Equal(t, sessions, total)
		for i := range n {
			if weights > 0 && steps[i] == 0 {
				require.Zero(t, shares[i])
			}
			if !slices.ContainsFunc(limits, func(l int) bool { return l > 0 }) && weights > 0 {
				require.InDelta(t, float64(sessions)*float64(steps[i])/float64(weights), shares[i], 1)
			}
			if unlimited && weights == 0 && limits[i] > 0 {
				require.LessOrEqual(t, shares[i], limits[i])
			}
		}
	})
}

// pool is a set of clients that keep sessions open.
type pool struct {
	t      require.TestingT
	c      *Cluster
	now    time.Duration
	leases []Lease
}

func (p *pool) open(n int) {
	for range n {
		lease, err := p.c.Pick(p.now, &Attempts{})
		require.NoError(p.t, err)
		p.leases = append(p.leases, lease)
	}
}

// close closes a session if a rebalance allows it.
func (p *pool) close(i int) bool {
	above := p.c.AboveShare(&p.leases[i])
	require.Equal(p.t, above, p.c.ReleaseSurplus(&p.leases[i], p.now))
	if above {
		p.leases = slices.Delete(p.leases, i, i+1)
	}
	return above
}

// closeSurplus closes all that a rebalance allows, in random order, and returns the number.
func (p *pool) closeSurplus() (closed int) {
	rand.Shuffle(len(p.leases), func(i, j int) { p.leases[i], p.leases[j] = p.leases[j], p.leases[i] })
	for i := len(p.leases) - 1; i >= 0; i-- {
		closed += count(p.close(i))
	}
	return closed
}

func (p *pool) sessions() map[string]int {
	m := map[string]int{}
	for _, l := range p.c.Snapshot(p.now).Levels {
		for _, s := range l.Servers {
			m[s.Name] = s.Sessions
		}
	}
	return m
}

func (p *pool) active() bool {
	_, active := p.c.Rebalance(p.now)
	return active
}

// A rebalance of any cluster closes exactly the sessions above the fair shares, not one more whatever the clients do, and
// when they have come back, every server has its share.
func TestRebalanceClosesOnlySurplus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Name: "c", Method: rapid.SampledFrom([]Method{Wrr, LeastSessions, Random, LeastTime}).Draw(t, "method"), Levels: []LevelSpec{{}}}
		for _, name := range names[:rapid.IntRange(2, 5).Draw(t, "servers")] {
			spec.Levels[0].Servers = append(spec.Levels[0].Servers, ServerSpec{Name: name, Address: name, Weight: rapid.IntRange(1, 5).Draw(t, name)})
		}
		c := New(spec, 1, nil)
		p := &pool{t: t, c: c}
		for _, s := range spec.Levels[0].Servers {
			for range rapid.IntRange(0, 60).Draw(t, "sessions") {
				lease, ok := c.Adopt(s.Name, s.Address, 0, 0)
				require.True(t, ok)
				p.leases = append(p.leases, lease)
			}
		}
		all := len(p.leases)
		plan, err := c.PlanRebalance(0)
		require.NoError(t, err)
		surplus, share := 0, map[string]int{}
		for _, s := range plan {
			surplus += s.Surplus
			share[s.Server] = s.Share
		}
		_, err = c.StartRebalance(0)
		require.NoError(t, err)
		require.Equal(t, surplus > 0, p.active())
		closed := 0
		for p.active() {
			if rapid.Bool().Draw(t, "close") && len(p.leases) > 0 {
				closed += count(p.close(rapid.IntRange(0, len(p.leases)-1).Draw(t, "session")))
			} else if state, _ := c.Rebalance(0); state.Left == 0 || len(p.leases) < all && rapid.Bool().Draw(t, "reopen") {
				if len(p.leases) == all {
					break
				}
				p.open(1)
			} else if len(p.leases) > 0 {
				closed += p.closeSurplus()
			}
		}
		require.Equal(t, surplus, closed)
		if surplus > 0 {
			require.Equal(t, all, len(p.leases))
			require.Equal(t, share, p.sessions())
		}
	})
}

// newPool returns a pool at a cluster of one level, with events.
func newPool(t *testing.T, change func(*Spec), servers string) (*pool, *[]string) {
	spec := newLevelsSpec(servers)
	if change != nil {
		change(&spec)
	}
	events := &[]string{}
	c := New(spec, 1, func(e Event) {
		if strings.HasPrefix(string(e.Kind), "rebalance") {
			*events = append(*events, string(e.Kind)+": "+e.Reason)
		}
	})
	return &pool{t: t, c: c, now: sec}, events
}

func auto(s *Spec) { s.AutoRebalance, s.Settle = true, 10*sec }

func TestAutoRebalanceBeginsWhenServerJoins(t *testing.T) {
	p, events := newPool(t, auto, "AB")
	p.open(200)
	require.False(t, p.active())
	more := newLevelsSpec("ABC")
	auto(&more)
	commit(p.c, more)
	require.Equal(t, []string{"rebalance_begin: server C has joined: 54 sessions above the fair shares"}, *events)
	require.Equal(t, 54, p.closeSurplus(), "two servers with a fair share of 67 and 66 keep 9 % more")
	require.True(t, p.active(), "sessions come back")
	p.open(54)
	require.False(t, p.active())
	require.Equal(t, 54, p.sessions()["C"])
	require.Equal(t, "rebalance_end: done: 54 of 54 sessions closed", (*events)[1])

	// A server that was away gets its share back; one that is full of sessions is not touched.
	p.c.SetCheck("C", "tcp", false, "refused", p.now)
	for i := len(p.leases) - 1; i >= 0; i-- {
		if p.leases[i].Server().Name() == "C" {
			p.leases[i].Done(p.now)
			p.leases = slices.Delete(p.leases, i, i+1)
		}
	}
	p.open(54)
	p.c.SetCheck("C", "tcp", true, "", p.now)
	require.True(t, p.active())
	require.Equal(t, 54, p.closeSurplus())
}

func TestAutoRebalanceNeedsImbalance(t *testing.T) {
	p, events := newPool(t, auto, "ABC")
	p.open(30)
	for range 3 {
		p.c.SetOverride("C", Override{State: pointerTo(Drain)}, p.now)
		p.c.SetOverride("C", Override{}, p.now) // its sessions are still there
	}
	require.Empty(t, *events)
	p, events = newPool(t, nil, "AB") // rebalance = "off"
	p.open(30)
	commit(p.c, newLevelsSpec("ABC"))
	require.Empty(t, *events)
}

// While a server grows in slow start, sessions are closed only as fast as its share grows.
func TestRebalanceFollowsSlowStart(t *testing.T) {
	grow := func(s *Spec) { auto(s); s.SlowStart = 100 * sec }
	p, _ := newPool(t, grow, "AB")
	p.open(200)
	more := newLevelsSpec("ABC")
	grow(&more)
	p.c.Commit(p.c.Prepare(more), p.now)
	require.True(t, p.active())
	require.Zero(t, p.closeSurplus(), "a tenth of a share is within the margin")
	closed := 0
	for range 120 {
		p.now += sec
		p.c.Tick(p.now)
		if !p.active() {
			break
		}
		n := p.closeSurplus()
		require.Less(t, n, 12)
		closed += n
		p.open(n)
	}
	require.False(t, p.active())
	require.InDelta(t, 54, closed, 3)
}

func TestServerLostDuringRebalance(t *testing.T) {
	p, _ := newPool(t, nil, "ABC")
	p.c.SetOverride("C", Override{State: pointerTo(Drain)}, p.now)
	p.open(90)
	p.c.SetOverride("C", Override{}, p.now)
	_, err := p.c.StartRebalance(p.now)
	require.NoError(t, err)
	for i := 0; i < 10; i++ {
		require.True(t, p.close(slices.IndexFunc(p.leases, func(l Lease) bool { return p.c.AboveShare(&l) })))
	}
	p.c.SetCheck("C", "tcp", false, "refused", p.now)
	require.Zero(t, p.closeSurplus(), "the others have to serve all")
	p.c.SetCheck("C", "tcp", true, "", p.now)
	if p.active() {
		p.open(10)
		require.Equal(t, 10, p.sessions()["C"])
	}
}

func TestReloadDuringRebalance(t *testing.T) {
	p, events := newPool(t, nil, "ABC")
	p.c.SetOverride("C", Override{State: pointerTo(Drain)}, p.now)
	p.open(90)
	p.c.SetOverride("C", Override{}, p.now)
	_, err := p.c.StartRebalance(p.now)
	require.NoError(t, err)
	commit(p.c, newLevelsSpec("ABC"))
	require.True(t, p.active())
	require.Equal(t, 30, p.closeSurplus())
	spec := newLevelsSpec("ABC")
	spec.Method = Hash
	commit(p.c, spec)
	require.False(t, p.active())
	require.Equal(t, "rebalance_end: configuration changed: 30 of 30 sessions closed", (*events)[1])
	_, err = p.c.StartRebalance(p.now)
	require.ErrorContains(t, err, "keys of the sessions decide")
}

// Clients whose sessions were closed come back to the same server if the others refuse them. They are not closed again and again.
func TestRebalanceLeavesSessionsThatFindNoOtherServer(t *testing.T) {
	p, events := newPool(t, func(s *Spec) { s.Settle = 5 * sec }, "AB")
	p.c.SetOverride("B", Override{State: pointerTo(Drain)}, p.now)
	p.open(30)
	p.c.SetOverride("B", Override{}, p.now)
	_, err := p.c.StartRebalance(p.now)
	require.NoError(t, err)
	closed := 0
	for range 100 {
		n := p.closeSurplus()
		for range n { // B refuses
			attempts := Attempts{}
			lease, err := p.c.Pick(p.now, &attempts)
			for ; err == nil && lease.Server().Name() == "B"; lease, err = p.c.Pick(p.now, &attempts) {
				lease.Done(p.now)
			}
			require.NoError(t, err)
			p.leases = append(p.leases, lease)
		}
		closed += n
		p.now += sec / 10
		p.active()
	}
	require.Equal(t, 15, closed)
	require.False(t, p.active())
	require.Contains(t, (*events)[1], "15 of 15 sessions closed")
}

// Sessions that do not come back are waited for, but not for ever.
func TestRebalanceSettles(t *testing.T) {
	p, _ := newPool(t, func(s *Spec) { s.Settle = 5 * sec }, "ABC")
	p.c.SetOverride("C", Override{State: pointerTo(Drain)}, p.now)
	p.open(90)
	p.c.SetOverride("C", Override{}, p.now)
	_, err := p.c.StartRebalance(p.now)
	require.NoError(t, err)
	require.Equal(t, 30, p.closeSurplus())
	require.True(t, p.active())
	p.now += 4 * sec
	require.True(t, p.active())
	p.open(20)
	require.Equal(t, 20, p.sessions()["C"])
	p.now += sec
	require.False(t, p.active())
}

// In an upgrade, sessions arrive later than the rebalance. None is closed too many.
func TestRebalanceContinuesInNewProcess(t *testing.T) {
	p, _ := newPool(t, nil, "ABC")
	p.c.SetOverride("C", Override{State: pointerTo(Drain)}, p.now)
	p.open(90)
	p.c.SetOverride("C", Override{}, p.now)
	_, err := p.c.StartRebalance(p.now)
	require.NoError(t, err)
	for range 10 {
		require.True(t, p.close(slices.IndexFunc(p.leases, func(l Lease) bool { return p.c.AboveShare(&l) })))
	}
	next, _ := newPool(t, nil, "ABC")
	next.c.ResumeRebalance(p.c.HandoverRebalance(), p.now)
	closed := 0
	for _, l := range p.leases {
		lease, ok := next.c.Adopt(l.Server().Name(), l.AddressText(), l.Level(), p.now)
		require.True(t, ok)
		next.leases = append(next.leases, lease)
		closed += next.closeSurplus()
	}
	require.Equal(t, 20, closed)
	state, active := next.c.Rebalance(p.now)
	require.True(t, active)
	require.Equal(t, 30, state.Surplus)
}
