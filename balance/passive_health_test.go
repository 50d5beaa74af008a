package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sec = time.Second

func TestPassiveHealthTransitions(t *testing.T) {
	type step struct {
		at   time.Duration
		do   string // f failure, s success, t only time
		want PassiveState
	}
	for name, steps := range map[string][]step{
		"the third failure trips":           {{0, "f", PassiveUp}, {1 * sec, "f", PassiveUp}, {2 * sec, "f", PassiveFailing}},
		"failures too far apart do not":     {{0, "f", PassiveUp}, {6 * sec, "f", PassiveUp}, {11 * sec, "f", PassiveUp}, {12 * sec, "f", PassiveUp}, {13 * sec, "f", PassiveFailing}},
		"at the edge they still do":         {{0, "f", PassiveUp}, {10 * sec, "f", PassiveUp}, {10 * sec, "f", PassiveFailing}},
		"successes do not clear the count":  {{0, "f", PassiveUp}, {1 * sec, "f", PassiveUp}, {1 * sec, "s", PassiveUp}, {2 * sec, "f", PassiveFailing}},
		"a full fail_timeout from the trip": {{0, "f", 0}, {0, "f", 0}, {5 * sec, "f", PassiveFailing}, {8 * sec, "f", PassiveFailing}, {15*sec - 1, "t", PassiveFailing}, {15 * sec, "t", PassiveProbation}},
		"a success during a trip is late":   {{0, "f", 0}, {0, "f", 0}, {0, "f", PassiveFailing}, {1 * sec, "s", PassiveFailing}},
		"a failure on probation trips":      {{0, "f", 0}, {0, "f", 0}, {0, "f", PassiveFailing}, {10 * sec, "t", PassiveProbation}, {11 * sec, "f", PassiveFailing}, {21*sec - 1, "t", PassiveFailing}, {21 * sec, "t", PassiveProbation}},
		"a success on probation clears":     {{0, "f", 0}, {0, "f", 0}, {0, "f", PassiveFailing}, {10 * sec, "t", PassiveProbation}, {11 * sec, "s", PassiveUp}, {12 * sec, "f", PassiveUp}, {12 * sec, "f", PassiveUp}, {12 * sec, "f", PassiveFailing}},
	} {
		p := passiveHealth{maxFails: 3, timeout: 10 * sec}
		for i, s := range steps {
			p.expire(s.at)
			switch s.do {
			case "f":
				p.fail(s.at)
			case "s":
				p.success()
			}
			require.Equal(t, s.want, p.state, "%s, step %d", name, i)
		}
	}
	off := passiveHealth{timeout: sec}
	for range 100 {
		off.fail(0)
	}
	require.Equal(t, PassiveUp, off.state, "max_fails = 0 switches it off")
	off = passiveHealth{maxFails: 1, timeout: sec}
	off.fail(0)
	off.set(0, sec)
	require.Equal(t, PassiveUp, off.state, "and ends a trip")
}

// newFailingCluster returns a cluster whose servers are failing after the n-th failure, for two seconds.
func newFailingCluster(spec Spec, n int, observe func(Event)) *Cluster {
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			spec.Levels[i].Servers[j].MaxFails, spec.Levels[i].Servers[j].FailTimeout = n, 2*sec
		}
	}
	return New(spec, 0, observe)
}

// pick picks for a new session.
func pick(t require.TestingT, c *Cluster, now time.Duration) Lease {
	lease, err := c.Pick(now, &Attempts{})
	require.NoError(t, err)
	return lease
}

func stateOf(c *Cluster, name string) State {
	for _, l := range c.Snapshot(0).Levels {
		for _, s := range l.Servers {
			if s.Name == name {
				return s.State
			}
		}
	}
	return 99
}

func TestFailingServerIsSkippedThenProbedByOneSession(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("A", "B"), 3, nil)
	for i := range 3 {
		lease := pick(t, c, time.Duration(i))
		require.Equal(t, "A", lease.Server().Name())
		lease.Fail(time.Duration(i), "refused")
	}
	lease := pick(t, c, 1*sec)
	require.Equal(t, "B", lease.Server().Name())
	require.Equal(t, Failing, stateOf(c, "A"))

	probe := pick(t, c, 2*sec+2)
	require.Equal(t, "A", probe.Server().Name())
	other := pick(t, c, 2*sec+2)
	require.Equal(t, "B", other.Server().Name(), "one session at a time")
	probe.Done(2*sec + 3) // the client left: no result
	probe = pick(t, c, 2*sec+3)
	require.Equal(t, "A", probe.Server().Name())
	probe.Fail(2*sec+4, "refused")
	other = pick(t, c, 4*sec+3)
	require.Equal(t, "B", other.Server().Name(), "tripped again at once, for the whole time")
	probe = pick(t, c, 4*sec+4)
	require.Equal(t, "A", probe.Server().Name())
	probe.Established(4*sec+5, sec)
	require.Equal(t, Up, stateOf(c, "A"))
	other = pick(t, c, 4*sec+5)
	require.Equal(t, "A", other.Server().Name())
}

func TestLocalShortageIsNotCountedAndServerNotRetried(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("AB"), 1, nil)
	var attempts Attempts
	a, err := c.Pick(0, &attempts)
	require.NoError(t, err)
	a.Done(0)
	b, err := c.Pick(0, &attempts)
	require.NoError(t, err)
	require.NotEqual(t, a.Server(), b.Server())
	require.Equal(t, Up, stateOf(c, a.Server().Name()))
}

func TestFeedbackCountsLikeDial(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("AB"), 2, nil)
	c.Feedback("A", true, 0)
	c.Feedback("A", true, 1)
	require.Equal(t, Failing, stateOf(c, "A"))
	c.Feedback("A", false, 1*sec)
	require.Equal(t, Failing, stateOf(c, "A"))
	c.Tick(2*sec + 1)
	require.Equal(t, Probation, stateOf(c, "A"))
	c.Feedback("A", false, 2*sec+2)
	require.Equal(t, Up, stateOf(c, "A"))
}

func TestPassingChecksClearPassiveRecord(t *testing.T) {
	for _, probation := range []bool{false, true} {
		spec := newLevelsSpec("AB")
		spec.Levels[0].Servers[0].Monitors = []MonitorSpec{{ID: "redis"}, {ID: "tcp"}, {ID: "down", OnlyDown: true}}
		c := newFailingCluster(spec, 1, nil)
		c.CheckPassed("A", "tcp", true, "", 1, 1)
		c.Feedback("A", true, sec)
		now := sec + sec/2
		if probation {
			now = 4 * sec
			c.Tick(now)
			require.Equal(t, Probation, stateOf(c, "A"))
		}
		out := stateOf(c, "A")
		c.CheckPassed("A", "tcp", true, "", sec, now)
		require.Equal(t, out, stateOf(c, "A"), "it began before the trip")
		c.CheckPassed("A", "redis", true, "", sec+1, now)
		require.Equal(t, out, stateOf(c, "A"), "the other has not passed since")
		c.CheckPassed("A", "tcp", true, "", sec+1, now)
		require.Equal(t, Up, stateOf(c, "A"))
	}
}

func TestPassiveRecordWithoutChecksStays(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("AB"), 1, nil)
	c.Feedback("A", true, sec)
	c.CheckPassed("A", "tcp", true, "", 2*sec, 2*sec)
	require.Equal(t, Failing, stateOf(c, "A"))
}

func TestFailedDialsReleaseSessionSlots(t *testing.T) {
	spec := newLevelsSpec("A")
	spec.Levels[0].Servers[0].MaxSessions = 10
	c := New(spec, 0, nil)
	for range 1000 {
		lease := pick(t, c, 0)
		lease.Fail(0, "refused")
	}
	for range 10 {
		pick(t, c, 0)
	}
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull)
}

func TestLeaseOfEarlierProbationDoesNotBlock(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("A", "B"), 1, nil)
	lease := pick(t, c, 0)
	lease.Fail(0, "refused")
	probe := pick(t, c, 2*sec)
	require.Equal(t, "A", probe.Server().Name())
	c.Feedback("A", false, 2*sec) // an outside observer reports a success
	c.Feedback("A", true, 3*sec)
	again := pick(t, c, 5*sec)
	require.Equal(t, "A", again.Server().Name(), "a new probation, although the old session is still there")
	probe.Done(5 * sec)
	other := pick(t, c, 5*sec)
	require.Equal(t, "B", other.Server().Name())
}
