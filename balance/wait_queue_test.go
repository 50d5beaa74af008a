package balance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// newQueuedCluster returns a cluster with a queue whose servers take one session each.
func newQueuedCluster(words ...string) (*Cluster, Spec) {
	spec := newLevelsSpec(words...)
	spec.Queue, spec.Protected = true, false
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			spec.Levels[i].Servers[j].MaxSessions = 1
		}
	}
	return New(spec, 0, nil), spec
}

// waitingLine queues sessions and records their wake-ups.
type waitingLine struct {
	c       *Cluster
	waiters map[string]*Waiter
	story   string
}

func (l *waitingLine) wait(name string, attempts *Attempts) {
	w := &Waiter{}
	if l.waiters == nil {
		l.waiters = map[string]*Waiter{}
	}
	l.waiters[name] = w
	l.c.Wait(0, attempts, w, func() {
		if s := w.Lease.Server(); s != nil {
			l.story += fmt.Sprintf("%s:%s ", name, s.Name())
		} else {
			l.story += name + ":– "
		}
	})
}

func TestQueueIsServedInOrderOfArrival(t *testing.T) {
	c, _ := newQueuedCluster("AB")
	a, b := pick(t, c, 0), pick(t, c, 0)
	l := &waitingLine{c: c}
	for _, name := range []string{"1", "2", "3"} {
		_, err := c.Pick(0, &Attempts{})
		require.ErrorIs(t, err, ErrFull)
		l.wait(name, &Attempts{})
	}
	require.Equal(t, 3, c.Snapshot(0).Waiting)
	b.Done(0)
	require.Equal(t, "1:B ", l.story)
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull, "a new session does not overtake")
	a.Fail(0, "refused")
	require.Equal(t, "1:B 2:A ", l.story)
	require.Equal(t, 2, c.Snapshot(0).Leases)
	l.waiters["1"].Lease.Done(0)
	require.Equal(t, "1:B 2:A 3:B ", l.story)
}

// A session whose server refuses it after the wait returns to its position in the queue.
func TestQueueKeepsPositionOfReturningSession(t *testing.T) {
	c, _ := newQueuedCluster("AB")
	a, b := pick(t, c, 0), pick(t, c, 0)
	l := &waitingLine{c: c}
	trials := map[string]*Attempts{}
	for _, name := range []string{"1", "2", "3"} {
		trials[name] = &Attempts{}
		l.wait(name, trials[name])
	}
	a.Fail(0, "refused") // and so do the leases that follow
	l.waiters["1"].Lease.Fail(0, "refused")
	l.waiters["2"].Lease.Fail(0, "refused")
	require.Equal(t, "1:A 2:A 3:A ", l.story)
	l.wait("2", trials["2"])
	l.wait("4", &Attempts{})
	l.wait("1", trials["1"])
	b.Done(0)
	l.waiters["1"].Lease.Done(0)
	require.Equal(t, "1:A 2:A 3:A 1:B 2:B ", l.story)
	l.waiters["3"].Lease.Fail(0, "refused")
	l.wait("3", trials["3"])
	l.waiters["2"].Lease.Done(0)
	require.Contains(t, l.story, "4:A 3:B")
	require.Zero(t, c.Snapshot(0).Waiting)
}

func TestWaitReturnsAtOnceIfSlotIsOpen(t *testing.T) {
	c, _ := newQueuedCluster("A")
	a := pick(t, c, 0)
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull)
	a.Done(0) // between the pick and the wait
	l := &waitingLine{c: c}
	l.wait("1", &Attempts{})
	require.Equal(t, "1:A ", l.story)
}

func TestCancelWait(t *testing.T) {
	c, _ := newQueuedCluster("A")
	a := pick(t, c, 0)
	l := &waitingLine{c: c}
	for _, name := range []string{"1", "2", "3"} {
		l.wait(name, &Attempts{})
	}
	c.CancelWait(l.waiters["2"], 0)
	a.Done(0)
	require.Equal(t, "1:A ", l.story)
	c.CancelWait(l.waiters["1"], 0) // the lease was granted before the cancellation
	require.Equal(t, "1:A 3:A ", l.story)
	l.waiters["3"].Lease.Done(0)
	c.CancelWait(l.waiters["3"], 0)
	require.Zero(t, c.Snapshot(0).Leases)
	require.Zero(t, c.Snapshot(0).Waiting)
}

func TestRaisedLimitServesWaitingSessions(t *testing.T) {
	c, spec := newQueuedCluster("A")
	pick(t, c, 0)
	l := &waitingLine{c: c}
	for _, name := range []string{"1", "2", "3"} {
		l.wait(name, &Attempts{})
	}
	c.SetOverride("A", Override{MaxSessions: pointerTo(2)}, 0)
	require.Equal(t, "1:A ", l.story)
	c.SetOverride("A", Override{}, 0)
	spec.Levels[0].Servers[0].MaxSessions = 0
	c.Commit(c.Prepare(spec), 0)
	require.Equal(t, "1:A 2:A 3:A ", l.story)
}

func TestWaitersMoveToOtherServersOrFail(t *testing.T) {
	c, _ := newQueuedCluster("A", "B")
	pick(t, c, 0)
	l := &waitingLine{c: c}
	l.wait("1", &Attempts{})
	l.wait("2", &Attempts{})
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, "1:B ", l.story, "the level gave way")
	c.SetCheck("B", "tcp", false, "", 0)
	require.Equal(t, "1:B 2:– ", l.story)
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrNoServer)
}

func TestFreeSlotGoesToFirstSessionThatMayUseIt(t *testing.T) {
	c, _ := newQueuedCluster("A", "B")
	a, err := c.Pick(0, &Attempts{Levels: []int{0}})
	require.NoError(t, err)
	b, err := c.Pick(0, &Attempts{Levels: []int{1}})
	require.NoError(t, err)
	l := &waitingLine{c: c}
	l.wait("1", &Attempts{Levels: []int{0}})
	l.wait("2", &Attempts{Levels: []int{1}})
	b.Done(0)
	require.Equal(t, "2:B ", l.story)
	a.Done(0)
	require.Equal(t, "2:B 1:A ", l.story)
}
