package balance

import (
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// checkInvariants checks conditions that always hold.
func (w *model) checkInvariants(t *rapid.T) {
	state := w.c.Snapshot(w.now)
	w.collectWoken(t)
	out := 0
	for s, n := range w.leases {
		require.GreaterOrEqual(t, n, 0)
		require.Equal(t, n, s.Sessions())
		out += n
	}
	require.Equal(t, out, state.Leases)
	require.Equal(t, len(w.waiters), state.Waiting)
	w.checkStates(t, state)
	w.checkSlots(t)
}

// checkStates compares the states with the layers that were set, and protection with the states.
func (w *model) checkStates(t *rapid.T, state ClusterState) {
	seen, up, protected, out, probation := map[string]State{}, 0, 0, 0, 0
	for _, l := range state.Levels {
		for _, s := range l.Servers {
			if was, ok := seen[s.Name]; ok {
				require.Equal(t, was, s.State, "one server, one state")
				continue
			}
			seen[s.Name] = s.State
			up += count(s.State == Up)
			protected += count(s.State == Unstable)
			probation += count(s.State == Probation)
			out += count(s.State.out())
			switch {
			case w.admin[s.Name] == Maint:
				require.Equal(t, InMaint, s.State)
			case w.admin[s.Name] == Drain:
				require.Equal(t, Draining, s.State)
			case w.c.servers[s.Name].delayed:
				require.Contains(t, []State{Up, Probation, Down, Failing, Unstable}, s.State)
			case w.verdicts[s.Name]:
				require.Contains(t, []State{Down, Unstable}, s.State)
			default:
				require.Contains(t, []State{Up, Failing, Probation, Unstable}, s.State)
			}
		}
	}
	switch {
	case !w.spec.Protected || up > 0:
		require.Zero(t, protected)
	case probation > 0:
		require.LessOrEqual(t, protected, 1)
	default:
		require.Equal(t, count(protected+out > 0), protected)
	}
}

// checkSlots compares every maintained counter with the value that it counts.
func (w *model) checkSlots(t *rapid.T) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	for _, l := range w.c.levels {
		eligible, full, busy, probation, running, idle, total := 0, 0, 0, 0, 0, 0, int64(0)
		for i := range l.slots {
			s := l.slots[i].server
			e := s.published.State.Eligible()
			eligible += count(e)
			full += count(e && s.full())
			busy += count(s.busy())
			probation += count(s.published.State == Probation)
			open := e && !s.full() && !s.busy()
			running += count(open && l.slots[i].weight > 0)
			idle += count(open && l.slots[i].weight == 0)
			require.Equal(t, int64(s.sessions), l.load[i])
			require.False(t, l.slots[i].barred)
			require.GreaterOrEqual(t, l.slots[i].backOffLoss, 0)
			require.Equal(t, open && l.slots[i].weight > 0, l.steps[i] > 0)
			total += l.steps[i]
			if l.wrr != nil {
				require.Equal(t, l.steps[i], l.wrr.slots[i].step)
			}
		}
		require.Equal(t, []int{eligible, full, busy, probation, running, idle},
			[]int{l.eligible, l.full, l.busy, l.probation, l.running.n, l.idle.n})
		require.Equal(t, total, l.total)
	}
}
