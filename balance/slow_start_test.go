package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSlowStartIsLinearFromTenPercent(t *testing.T) {
	for _, test := range []struct {
		at   time.Duration
		want int
	}{{-5, 10}, {0, 10}, {50 * sec, 55}, {99 * sec, 99}, {100*sec - 1, 99}, {100 * sec, 100}, {200 * sec, 100}} {
		got, _ := slowStartPercent(0, test.at, 100*sec)
		require.InDelta(t, test.want, got, 1, "%v", test.at)
	}
	got, _ := slowStartPercent(5, 5, 0)
	require.Equal(t, fullPercent, got)
	rapid.Check(t, func(t *rapid.T) {
		over := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "over"))
		at, last := time.Duration(0), 0
		for steps := 0; at != never; steps++ {
			require.Less(t, steps, 100)
			percent, next := slowStartPercent(0, at, over)
			require.Greater(t, percent, last)
			require.Greater(t, next, at)
			at, last = next, percent
		}
		require.Equal(t, fullPercent, last)
	})
}

func newSlowStartSpec() Spec {
	spec := Spec{SlowStart: 90 * sec, Levels: []LevelSpec{newLevelSpec(10, 10)}}
	spec.Levels[0].Servers[0].MaxSessions = 20
	return spec
}

func TestSlowStartAfterDown(t *testing.T) {
	c := New(newSlowStartSpec(), 0, nil)
	a := func(now time.Duration) ServerState { return c.Snapshot(now).Levels[0].Servers[0] }
	require.Equal(t, 10.0, a(0).EffectiveWeight, "not at process start")
	c.SetCheck("A", "tcp", false, "", 10*sec)
	c.SetCheck("A", "tcp", true, "", 20*sec)
	require.Equal(t, 1.0, a(20*sec).EffectiveWeight)
	require.Equal(t, 2, a(20*sec).MaxSessions)
	require.Equal(t, 10, a(20*sec).Weight)
	require.Equal(t, 5.5, a(65*sec).EffectiveWeight)
	require.Equal(t, 11, a(65*sec).MaxSessions)
	require.Equal(t, 10.0, a(110*sec).EffectiveWeight)
	require.Equal(t, 20, a(110*sec).MaxSessions)
	require.Equal(t, never, c.nextTimer)
}

func TestSlowStartSharesFollowPercent(t *testing.T) {
	c := New(newSlowStartSpec(), 0, nil)
	c.SetOverride("A", Override{State: pointerTo(Maint)}, 0)
	c.SetOverride("A", Override{State: pointerTo(Drain)}, 0)
	c.SetOverride("A", Override{}, 0)
	got := countShares(t, c, 1100)
	require.InDelta(t, 100.0/11, got["A"], 0.2)
}

func TestSlowStartAppliesToReturningAndAddedServers(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(c *Cluster)
		want int
	}{
		{"drain", func(c *Cluster) {
			c.SetOverride("A", Override{State: pointerTo(Drain)}, 0)
			c.SetOverride("A", Override{}, 0)
		}, 100},
		{"unresolved", func(c *Cluster) { c.SetResolved("A", false, 0); c.SetResolved("A", true, 0) }, 100},
		{"maint", func(c *Cluster) {
			c.SetOverride("A", Override{State: pointerTo(Maint)}, 0)
			c.SetOverride("A", Override{}, 0)
		}, 10},
		{"agent's down", func(c *Cluster) {
			c.SetAgent("A", AgentAdvice{Down: true}, 0)
			c.SetAgent("A", AgentAdvice{}, 0)
		}, 10},
		{"reload", func(c *Cluster) { c.Commit(c.Prepare(newSlowStartSpec()), 0) }, 100},
	} {
		c := New(newSlowStartSpec(), 0, nil)
		test.do(c)
		require.Equal(t, test.want, c.Server("A").percent, test.name)
	}
	c := New(newSlowStartSpec(), 0, nil)
	more := newSlowStartSpec()
	more.Levels[0] = newLevelSpec(10, 10, 10)
	c.Commit(c.Prepare(more), 0)
	require.Equal(t, 10, c.Server("C").percent)
	require.Equal(t, 100, c.Server("B").percent)
	configured := newSlowStartSpec()
	configured.Levels[0].Servers[0].State = Maint
	c = New(configured, 0, nil)
	c.Commit(c.Prepare(newSlowStartSpec()), 0)
	require.Equal(t, 10, c.Server("A").percent, "out of a configured maint")
}

func TestProtectedServerThatRecoversHasNoSlowStart(t *testing.T) {
	spec := newSlowStartSpec()
	spec.Protected = true
	c := New(spec, 0, nil)
	c.SetCheck("B", "tcp", false, "", 0)
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, Unstable, stateOf(c, "A"))
	c.SetCheck("A", "tcp", true, "", sec)
	require.Equal(t, 100, c.Server("A").percent, "it never stopped serving")
	c.SetCheck("B", "tcp", true, "", sec)
	require.Equal(t, 10, c.Server("B").percent)
}

// A shorter slow_start applies at once to a server in slow start.
func TestCommitShortensSlowStart(t *testing.T) {
	spec := newSlowStartSpec()
	c := New(spec, 0, nil)
	c.SetCheck("A", "tcp", false, "", 10*sec)
	c.SetCheck("A", "tcp", true, "", 20*sec)
	weight := func(over, now time.Duration) float64 {
		spec.SlowStart = over
		c.Commit(c.Prepare(spec), now)
		return c.Snapshot(now).Levels[0].Servers[0].EffectiveWeight
	}
	require.Equal(t, 1.0, weight(900*sec, 25*sec))
	require.Equal(t, 5.5, weight(90*sec, 65*sec))
	require.Equal(t, 10.0, weight(0, 66*sec))
	require.Equal(t, never, c.nextTimer)
}
