package balance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A slow start and a measured connect time continue in another process.
func TestRestoreHandover(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.SlowStart, spec.Method = 90*sec, LeastTime
	for i := range spec.Levels[0].Servers {
		spec.Levels[0].Servers[i].Weight = 100
	}
	old := New(spec, 1, nil)
	old.SetCheck("A", "tcp", false, "", 10*sec)
	old.SetCheck("A", "tcp", true, "", 20*sec)
	lease := pick(t, old, 20*sec)
	lease.Established(20*sec, 7)
	lease.Done(20 * sec)
	now := 20*sec + 45*sec
	weight := func(c *Cluster, server int) float64 { return c.Snapshot(now).Levels[0].Servers[server].EffectiveWeight }
	require.InDelta(t, 55, weight(old, 0), 1)

	next := New(spec, 1, nil)
	require.Equal(t, 100.0, weight(next, 0))
	next.RestoreHandover(append(old.HandoverStates(now), HandoverState{Server: "Z", Growing: true}), now)
	require.Equal(t, weight(old, 0), weight(next, 0))
	require.Equal(t, 100.0, weight(next, 1))
	require.ElementsMatch(t, old.HandoverStates(now), next.HandoverStates(now))
	for i := range old.Snapshot(now).Levels[0].Servers {
		require.Equal(t, old.Snapshot(now).Levels[0].Servers[i].ConnectTime, next.Snapshot(now).Levels[0].Servers[i].ConnectTime)
	}
	now = 20*sec + 90*sec
	next.Tick(now)
	require.Equal(t, 100.0, weight(next, 0))

	spec.SlowStart = 0 // removed from the configuration
	last := New(spec, 1, nil)
	last.RestoreHandover(old.HandoverStates(30*sec), 30*sec)
	require.Equal(t, 100.0, weight(last, 0))
}
