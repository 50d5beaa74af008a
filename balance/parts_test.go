package balance

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newDivided(queue bool, limits ...int) *Cluster {
	spec := Spec{Divided: true, Queue: queue, Levels: []LevelSpec{newLevelSpec(10, 10)}}
	for i, limit := range limits {
		spec.Levels[0].Servers[i].MaxSessions = limit
	}
	return New(spec, 0, nil)
}

// pickUntilFull returns the leases that a cluster gives.
func pickUntilFull(c *Cluster, now time.Duration) (leases []Lease) {
	for range 1000 {
		lease, err := c.Pick(now, &Attempts{})
		if err != nil {
			return leases
		}
		leases = append(leases, lease)
	}
	return leases
}

func TestPartLimitsSessions(t *testing.T) {
	c := newDivided(false, 100, 50)
	require.Empty(t, pickUntilFull(c, 0), "nothing at first")
	c.SetParts(map[string]int{"A": 7, "B": 80}, 0, 0)
	leases := pickUntilFull(c, 0)
	require.Len(t, leases, 57, "a part never raises a limit")
	s := c.Snapshot(0).Levels[0].Servers
	require.Equal(t, []int{100, 7}, []int{s[0].MaxSessions, s[0].Part})
	require.Equal(t, []int{50, 50}, []int{s[1].MaxSessions, s[1].Part})
	c.SetParts(map[string]int{"A": 3}, 0, 0)
	require.Equal(t, 7, c.Server("A").Sessions(), "sessions above the part continue")
	for _, l := range leases {
		l.Done(0)
	}
	require.Len(t, pickUntilFull(c, 0), 3)
}

func TestPartEndsInTime(t *testing.T) {
	c := newDivided(false, 100, 100)
	c.SetParts(map[string]int{"A": 5, "B": 5}, 10*sec, 0)
	require.Len(t, pickUntilFull(c, 10*sec-1), 10)
	c.SetParts(map[string]int{"A": 10, "B": 10}, 20*sec, 11*sec)
	_, err := c.Pick(20*sec, &Attempts{})
	require.Equal(t, ErrFull, err, "the time is checked where a server is selected")
	c.SetParts(map[string]int{"A": 11, "B": 10}, 0, 21*sec)
	require.Len(t, pickUntilFull(c, 100*sec), 11)
}

func TestPartOfUnlimitedServerIsIgnored(t *testing.T) {
	c := newDivided(false, 0, 100)
	require.Len(t, pickUntilFull(c, 0), 1000)
	c.SetOverride("A", Override{MaxSessions: pointerTo(2000)}, 0)
	require.Empty(t, pickUntilFull(c, 0), "the limit is new, and divided")
}

func TestSlowStartAppliesToPart(t *testing.T) {
	spec := newSlowStartSpec()
	spec.Divided = true
	c := New(spec, 0, nil)
	c.SetParts(map[string]int{"A": 10}, 0, 0)
	c.SetCheck("A", "tcp", false, "", 10*sec)
	c.SetCheck("A", "tcp", true, "", 20*sec)
	s := c.Snapshot(20 * sec).Levels[0].Servers[0]
	require.Equal(t, []int{2, 1}, []int{s.MaxSessions, s.Part})
}

func TestWaitingSessionUsesPartThatGrows(t *testing.T) {
	c := newDivided(true, 100, 100)
	var w Waiter
	woken := 0
	attempts := &Attempts{}
	_, err := c.Pick(0, attempts)
	require.Equal(t, ErrFull, err)
	c.Wait(0, attempts, &w, func() { woken++ })
	c.TakeUses()
	require.True(t, c.TakeUses()[0].Refused, "it still waits")
	c.SetParts(map[string]int{"B": 1}, 0, 0)
	require.Equal(t, 1, woken)
	require.Equal(t, "B", w.Lease.Server().Name())
}

func TestTakeUses(t *testing.T) {
	c := newDivided(false, 100, 0)
	uses := func() []Use {
		list := c.TakeUses()
		slices.SortFunc(list, func(a, b Use) int { return cmp.Compare(a.Server, b.Server) })
		return list
	}
	c.SetParts(map[string]int{"A": 2}, 0, 0)
	only := &Attempts{}
	require.Equal(t, []Use{{Server: "A", Limit: 100}}, uses())
	var ofA []Lease
	for range 4 {
		lease, err := c.Pick(0, only)
		require.NoError(t, err)
		if lease.Server().Name() == "A" {
			ofA = append(ofA, lease)
		}
		only = &Attempts{}
	}
	require.Len(t, ofA, 2)
	for _, l := range ofA {
		l.Done(0)
	}
	require.Equal(t, []Use{{Server: "A", Limit: 100, Peak: 2}}, uses())
	require.Equal(t, []Use{{Server: "A", Limit: 100}}, uses())
	lease, err := c.Pick(0, &Attempts{})
	if lease.Server().Name() != "A" {
		lease, err = c.Pick(0, &Attempts{})
	}
	require.NoError(t, err)
	require.Equal(t, "A", lease.Server().Name())
	c.Commit(c.Prepare(Spec{Divided: true, Levels: []LevelSpec{{Servers: []ServerSpec{{Name: "B", Address: "b", Weight: 1}}}}}), 0)
	require.Equal(t, []Use{{Server: "A", Sessions: 1}}, uses(), "the server has left")
	lease.Done(0)
	require.Empty(t, uses())
}
