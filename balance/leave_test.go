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
