package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A session leaves a draining server, and a lower level once a better one has been back, after the same time.
func TestLeaveAt(t *testing.T) {
	spec := Spec{Name: "c", Levels: []LevelSpec{
		{MinUp: 1, Servers: []ServerSpec{{Name: "a", Address: "a", Weight: 1}}},
		{MinUp: 1, Servers: []ServerSpec{{Name: "b", Address: "b", Weight: 1}}},
	}}
	for _, manual := range []bool{false, true} {
		spec.ManualFailback = manual
		c := New(spec, 1, nil)
		const wait = 30 * time.Second
		leaveAt := func(l *Lease, levels ...int) time.Duration {
			at, leave := c.LeaveAt(l, levels, wait)
			if !leave {
				return 0
			}
			return at
		}
		first, err := c.Pick(time.Second, &Attempts{})
		require.NoError(t, err)
		require.Zero(t, leaveAt(&first))
		moves := c.Moves()
		c.SetOverride("a", Override{State: new(Drain)}, 2*time.Second)
		require.NotEqual(t, moves, c.Moves())
		require.Equal(t, 2*time.Second+wait, leaveAt(&first))
		second, err := c.Pick(3*time.Second, &Attempts{})
		require.NoError(t, err)
		require.Equal(t, "b", second.Server().Name())
		require.Zero(t, leaveAt(&second))
		moves = c.Moves()
		c.SetOverride("a", Override{}, 5*time.Second)
		if manual {
			require.Zero(t, leaveAt(&second), "manual failback holds the lower level")
			c.Failback(7 * time.Second)
			require.Equal(t, 7*time.Second+wait, leaveAt(&second))
			continue
		}
		require.NotEqual(t, moves, c.Moves())
		require.Equal(t, 5*time.Second+wait, leaveAt(&second))
		require.Zero(t, leaveAt(&second, 1), "a listener that uses only the lower level")
		require.Zero(t, leaveAt(&second, 1, 0))
		require.Zero(t, leaveAt(&first))
		// A reload keeps the time.
		c.Commit(c.Prepare(spec), 9*time.Second)
		require.Equal(t, 5*time.Second+wait, leaveAt(&second))
	}
}

// A session is behind if it began in a lower level before a better one of its levels could be used again.
func TestBehind(t *testing.T) {
	spec := newLevelsSpec("a", "b", "c")
	for _, manual := range []bool{false, true} {
		spec.ManualFailback = manual
		c := New(spec, 1, nil)
		servers, before, leaves := c.Behind()
		require.Len(t, servers, 2)
		require.True(t, leaves(1, nil, before))
		require.False(t, leaves(1, nil, before+1), "it began later, because the better server failed it")
		require.False(t, leaves(0, nil, before))
		require.False(t, leaves(1, []int{1, 2}, before), "its listener has no better level")
		require.True(t, leaves(2, []int{1, 2}, before))

		c.SetOverride("a", Override{State: new(Drain)}, 2*sec)
		servers, _, leaves = c.Behind()
		require.Len(t, servers, 1)
		require.False(t, leaves(1, nil, sec))
		c.SetOverride("a", Override{}, 4*sec)
		_, since, leaves := c.Behind()
		if manual {
			require.False(t, leaves(1, nil, 3*sec), "manual failback holds the lower level")
			require.NoError(t, c.Failback(5*sec))
			_, since, leaves = c.Behind()
			require.Equal(t, 5*sec, since)
		} else {
			require.Equal(t, 4*sec, since)
		}
		require.True(t, leaves(1, nil, 3*sec))
	}
}
