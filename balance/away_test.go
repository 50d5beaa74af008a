package balance

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// foundSpec is a cluster whose servers a provider has found.
func foundSpec(names ...string) Spec {
	spec := Spec{Name: "c", KeepAway: 30 * time.Second, Levels: []LevelSpec{{MinUp: 1}}}
	for _, name := range names {
		spec.Levels[0].Servers = append(spec.Levels[0].Servers, ServerSpec{
			Name: name, Address: name + ":1", Weight: 1, MaxFails: 1, FailTimeout: time.Minute, Found: true, Monitors: []MonitorSpec{{ID: "tcp"}},
		})
	}
	return spec
}

// stateAt returns the state of a server.
func (c *Cluster) stateAt(server string, now time.Duration) ServerState {
	for _, l := range c.Snapshot(now).Levels {
		for _, s := range l.Servers {
			if s.Name == server {
				return s
			}
		}
	}
	return ServerState{}
}

// A found server that returns in time has its verdict and its override; later only its override; at another address too.
func TestFoundServerReturns(t *testing.T) {
	weight := 7
	for _, x := range []struct {
		name    string
		back    time.Duration
		address string
		want    State
	}{
		{"in time", 10 * time.Second, "a:1", Down},
		{"too late", 40 * time.Second, "a:1", Up},
		{"elsewhere", 10 * time.Second, "a:2", Up},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := New(foundSpec("a", "b"), 1, nil)
			c.SetCheck("a", "tcp", false, "refused", time.Second)
			c.SetOverride("a", Override{Weight: &weight}, time.Second)
			require.Equal(t, Down, c.stateAt("a", time.Second).State)
			c.Commit(c.Prepare(foundSpec("b")), time.Second)
			saved := c.Save(2 * time.Second)
			require.Equal(t, 7, *saved.Servers[0].Override.Weight, "the override survives a restart meanwhile")
			spec := foundSpec("a", "b")
			spec.Levels[0].Servers[0].Address = x.address
			c.Commit(c.Prepare(spec), x.back)
			s := c.stateAt("a", x.back)
			require.Equal(t, x.want, s.State)
			require.Equal(t, 7, s.Weight)
			require.Empty(t, c.away)
		})
	}
}

// A restart restores the override of a server that is away.
func TestOverrideOfAbsentServerRestored(t *testing.T) {
	weight := 7
	c := New(foundSpec("b"), 1, nil)
	c.Restore(SavedState{Servers: []SavedServer{{Name: "a", Address: "a:1", Override: Override{Weight: &weight}}}}, time.Second)
	c.Commit(c.Prepare(foundSpec("a", "b")), time.Hour)
	require.Equal(t, 7, c.stateAt("a", time.Hour).Weight)
}

// A server of the file that returns is new. The state of found servers is bounded.
func TestAwayBounded(t *testing.T) {
	c := New(foundSpec("b"), 1, nil)
	for i := range maxAway + 10 {
		c.away.add(SavedServer{Name: fmt.Sprint(i), Passive: PassiveRecord{Fails: 1}}, time.Hour, time.Second)
	}
	require.Len(t, c.away, maxAway)
	c.away.add(SavedServer{Name: "late", Passive: PassiveRecord{Fails: 1}}, 3*time.Hour, 2*time.Hour)
	require.Len(t, c.away, 1)
	spec := foundSpec("late", "b")
	spec.Levels[0].Servers[0].Found = false
	c.Commit(c.Prepare(spec), 2*time.Hour)
	require.Equal(t, Up, c.stateAt("late", 2*time.Hour).State)
}
