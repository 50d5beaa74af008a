package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func protectedServer(c *Cluster) string {
	names := ""
	for _, l := range c.Snapshot(0).Levels {
		for _, s := range l.Servers {
			if s.State == Unstable {
				names += s.Name
			}
		}
	}
	return names
}

func TestAllDownInOneRoundProtectsFirst(t *testing.T) {
	for _, order := range []string{"ABCD", "DCBA", "BADC", "CADB"} {
		c := New(newLevelsSpec("AB", "CD"), 0, nil)
		for i, r := range order {
			require.Empty(t, protectedServer(c))
			c.SetCheck(string(r), "tcp", false, "", time.Duration(i)*sec)
		}
		require.Equal(t, "A", protectedServer(c), order)
		require.Equal(t, "AAA", pickSequence(t, c, 3))
		require.Equal(t, "1", c.Snapshot(0).Level)
		c.SetCheck("D", "tcp", true, "", 0)
		require.Empty(t, protectedServer(c), "it loses the privilege as soon as any server is up")
		require.Equal(t, "DD", pickSequence(t, c, 2))
	}
}

func TestLastServerToGoDownIsProtected(t *testing.T) {
	c := New(newLevelsSpec("ABC"), 0, nil)
	c.SetCheck("A", "tcp", false, "", 0)
	c.SetCheck("C", "tcp", false, "", 3600*sec)
	c.SetCheck("B", "tcp", false, "", 3601*sec)
	require.Equal(t, "B", protectedServer(c), "B and C went down in the last round, A an hour before")
	c.SetOverride("B", Override{State: pointerTo(Maint)}, 3700*sec)
	require.Equal(t, "C", protectedServer(c), "maint is never overruled")
	c.SetOverride("C", Override{State: pointerTo(Drain)}, 3700*sec)
	require.Equal(t, "A", protectedServer(c))
	c.SetResolved("A", false, 3700*sec)
	require.Empty(t, protectedServer(c))
	_, err := c.Pick(3700*sec, &Attempts{})
	require.ErrorIs(t, err, ErrNoServer)
}

// A server that passed a check after the first one had begun to fail does not belong to
// the same round, however close the two go down.
func TestServerThatPassedMeanwhileIsOfLaterRound(t *testing.T) {
	const up, doubt, down = "up", "doubt", "down"
	type result struct {
		at              time.Duration
		server, verdict string
	}
	for _, c := range []struct {
		levels  []string
		results []result
		want    string
	}{
		{[]string{"AB"}, []result{{1, "A", up}, {1, "B", up}, {2, "A", doubt}, {2, "B", doubt}, {3, "A", down}, {3, "B", down}, {4, "A", down}}, "A"},
		{[]string{"AB"}, []result{{1, "B", up}, {2, "A", doubt}, {3, "B", up}, {4, "A", down}, {4, "B", doubt}, {5, "A", down}, {5, "B", down}, {6, "A", down}}, "B"},
		{[]string{"AB", "C"}, []result{{1, "C", up}, {2, "A", down}, {2, "B", down}, {3, "C", up}, {4, "C", down}}, "C"},
		{[]string{"AB", "C"}, []result{{1, "A", up}, {2, "A", doubt}, {3, "C", up}, {4, "A", down}, {4, "B", down}, {5, "C", down}}, "B"},
	} {
		results, want := c.results, c.want
		c := New(newLevelsSpec(c.levels...), 0, nil)
		for _, r := range results {
			at := r.at * sec / 10
			c.SetCheck(r.server, "other", true, "", at) // other checks do not matter
			switch r.verdict {
			case up:
				c.SetCheck(r.server, "tcp", true, "", at)
			case doubt:
				c.SetCheckFailing(r.server, "tcp", "", at)
			case down:
				c.SetCheck(r.server, "tcp", false, "", at)
			}
		}
		require.Equal(t, want, protectedServer(c))
	}

	c := New(newLevelsSpec("AB"), 0, nil)
	c.SetAgent("B", AgentAdvice{}, sec)
	c.SetAgent("A", AgentAdvice{Down: true}, sec)
	c.SetAgent("B", AgentAdvice{}, 2*sec)
	c.SetAgent("B", AgentAdvice{Down: true}, 2*sec)
	c.SetAgent("A", AgentAdvice{Down: true}, 3*sec)
	require.Equal(t, "B", protectedServer(c))
}

func TestUnprotectedClusterHasNoServer(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Protected = false
	c := newFailingCluster(spec, 1, nil)
	c.SetCheck("A", "tcp", false, "", 0)
	lease := pick(t, c, 0)
	require.Equal(t, "B", lease.Server().Name())
	lease.Fail(0, "refused")
	require.Empty(t, protectedServer(c))
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrNoServer)
}

func TestLastFailingServerIsProtectedUntilItsRecordIsOver(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("AB"), 1, nil)
	require.Equal(t, "A✗B✗ no attempts left", runSession(t, c, "AB", Attempts{}))
	require.Equal(t, Failing, stateOf(c, "A"))
	require.Equal(t, Unstable, stateOf(c, "B"))
	require.Equal(t, "B✗A✗ no attempts left", runSession(t, c, "AB", Attempts{}))
	require.Equal(t, "B", runSession(t, c, "A", Attempts{}))
	require.Equal(t, Unstable, stateOf(c, "B"), "one success does not end its record")
	c.Tick(2 * sec)
	require.Equal(t, Probation, stateOf(c, "B"))
	lease := pick(t, c, 2*sec)
	lease.Established(2*sec, 1)
	c.Tick(3 * sec)
	require.Equal(t, Up, stateOf(c, lease.Server().Name()))
}

// The dials of the only server fail half of the time, and its checks pass in between. Its state changes at most once a
// second, and it serves all the time.
func TestFlappingProtectedServerChangesStateOnceASecond(t *testing.T) {
	for _, timeout := range []time.Duration{10 * sec, sec / 50} {
		var events []Event
		spec := newLevelsSpec("A")
		spec.Levels[0].Servers[0].MaxFails, spec.Levels[0].Servers[0].FailTimeout = 1, timeout
		spec.Levels[0].Servers[0].Monitors = []MonitorSpec{{ID: "tcp"}}
		c := New(spec, 1, func(e Event) { events = append(events, e) })
		const end = 8 * sec
		for now := time.Duration(1); now < end; now += sec / 100 {
			lease := pick(t, c, now)
			if now/(sec/100)%2 == 0 {
				lease.Fail(now, "refused")
			} else {
				lease.Established(now, 1)
				lease.Done(now)
			}
			c.CheckPassed("A", "tcp", true, "", now, now)
		}
		last := map[EventKind]time.Duration{}
		for _, e := range events {
			kind := e.Kind
			if e.Server == "A" && e.Kind != EventClusterEmpty {
				kind = "state"
			}
			if at, ok := last[kind]; ok {
				require.GreaterOrEqual(t, e.At-at, sec, "%+v", e)
			}
			last[kind] = e.At
		}
		require.NotEmpty(t, events)
	}
}

func TestFlappingChecksOfProtectedServerChangeStateOnceASecond(t *testing.T) {
	var events []Event
	c := New(newLevelsSpec("AB"), 1, func(e Event) { events = append(events, e) })
	c.SetCheck("B", "tcp", false, "refused", 1)
	changes := 0
	for now := sec; now < 11*sec; now += sec / 10 {
		c.SetCheck("A", "tcp", now/(sec/10)%2 == 0, "", now)
		pick(t, c, now)
	}
	for _, e := range events {
		if e.Server == "A" && e.Kind != EventClusterEmpty {
			changes++
		}
	}
	require.Positive(t, changes)
	require.LessOrEqual(t, changes, 11)
}

func TestStandbyAndFullServersAreNotProtected(t *testing.T) {
	for _, state := range []State{Standby, Full} {
		c := New(newLevelsSpec("AB"), 1, nil)
		c.SetVerdict("A", "redis", state, "", 1)
		require.Equal(t, "BB", pickSequence(t, c, 2))
		c.SetVerdict("B", "redis", state, "", 2)
		_, err := c.Pick(2, &Attempts{})
		require.ErrorIs(t, err, ErrNoServer)
		require.Equal(t, state == Standby, c.Server("A").OutOfService())
		c.SetCheck("B", "redis", false, "refused", 3)
		require.Equal(t, Unstable, stateOf(c, "B"))
		c.SetVerdict("A", "redis", Up, "", 4)
		require.Equal(t, "AA", pickSequence(t, c, 2))
	}
}

func TestServerWithInitialDownIsNotEligibleBeforeItsFirstSuccess(t *testing.T) {
	spec := newLevelsSpec("A")
	spec.Levels[0].Servers[0].Monitors = []MonitorSpec{{ID: "redis", InitialDown: true}}
	c := New(spec, 1, nil)
	none := func() {
		_, err := c.Pick(0, &Attempts{})
		require.ErrorIs(t, err, ErrNoServer)
	}
	none()
	require.Equal(t, Down, stateOf(c, "A"))
	c.SetCheck("A", "redis", false, "refused", 1)
	none()
	c.SetCheck("A", "redis", true, "", 2)
	require.Equal(t, "A", pickSequence(t, c, 1))
	c.SetCheck("A", "redis", false, "refused", 3*sec)
	require.Equal(t, Unstable, stateOf(c, "A"), "later failures are protected")

	spec = spec.clone()
	spec.Levels[0].Servers = append(spec.Levels[0].Servers, ServerSpec{Name: "B", Weight: 1, Monitors: spec.Levels[0].Servers[0].Monitors})
	commit(c, spec)
	require.Equal(t, Unstable, stateOf(c, "A"))
	require.Equal(t, Down, stateOf(c, "B"))
}

// When every eligible server has failed a session, it tries at most two failing servers, those whose
// last attempt is the longest ago. A success makes such a server up at once.
func TestSessionOutOfServersTriesFailingOnes(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("ABCDE"), 1, nil)
	require.Equal(t, "A✗B✗C✗D✗E✗ no attempts left", runSession(t, c, "ABCDE", Attempts{}))
	require.Equal(t, Unstable, stateOf(c, "E"))
	require.Equal(t, "E✗A✗B✗ no server", runSession(t, c, "ABCDE", Attempts{}))
	require.Equal(t, "E✗C✗D✗ no server", runSession(t, c, "ABCDE", Attempts{}))
	require.Equal(t, "E✗A✗B", runSession(t, c, "ACDE", Attempts{}))
	require.Equal(t, Up, stateOf(c, "B"))
	require.Equal(t, Failing, stateOf(c, "A"))
	require.Equal(t, Failing, stateOf(c, "E"), "protection has ended")
	require.Equal(t, "B", runSession(t, c, "ACDE", Attempts{}))
}

func TestLastResortDoesNotOverruleOtherLayers(t *testing.T) {
	dead := func(change func(*Spec)) *Cluster {
		spec := newLevelsSpec("ABC")
		change(&spec)
		c := newFailingCluster(spec, 1, nil)
		runSession(t, c, "ABC", Attempts{})
		runSession(t, c, "ABC", Attempts{})
		return c
	}
	nothing := func(*Spec) {}

	c := dead(nothing)
	c.SetCheck("A", "tcp", false, "", 0)
	c.SetOverride("B", Override{State: pointerTo(Drain)}, 0)
	require.Equal(t, "C✗ no server", runSession(t, c, "ABC", Attempts{}))

	c = dead(func(s *Spec) { s.Protected = false })
	require.Equal(t, " no server", runSession(t, c, "ABC", Attempts{}))

	c = dead(func(s *Spec) { s.Try = 2 })
	require.Regexp(t, "^.✗.✗ no attempts left$", runSession(t, c, "ABC", Attempts{}))

	c = dead(func(s *Spec) { s.Levels[0].Try = 1 })
	require.Regexp(t, "^.✗ no server$", runSession(t, c, "ABC", Attempts{}))
}

func TestUnstableServerStaysUnstableOnFailure(t *testing.T) {
	var events []Event
	c := newFailingCluster(newLevelsSpec("A"), 1, func(e Event) { events = append(events, e) })
	for now := time.Duration(0); now < 20*sec; now += sec / 2 {
		lease := pick(t, c, now)
		lease.Fail(now, "refused")
	}
	require.Equal(t, Unstable, stateOf(c, "A"))
	require.Len(t, events, 2, "up to unstable, and empty: %v", events)
}

func TestLastServerOnProbationServesAllSessions(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("A"), 1, nil)
	lease := pick(t, c, 0)
	lease.Fail(0, "refused")
	c.Tick(10 * sec)
	require.Equal(t, Probation, stateOf(c, "A"))
	first, second := pick(t, c, 10*sec), pick(t, c, 10*sec)
	second.Established(10*sec, 1)
	c.Tick(11 * sec)
	require.Equal(t, Up, stateOf(c, "A"))
	first.Done(10 * sec)
	second.Done(10 * sec)
	require.Zero(t, c.Snapshot(0).Leases)
}

func TestListenerLevelsAreProtected(t *testing.T) {
	c := New(newLevelsSpec("AB", "C"), 0, nil)
	c.SetCheck("B", "tcp", false, "", 0)
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, "C", runSession(t, c, "", Attempts{}))
	require.Empty(t, protectedServer(c))
	require.Equal(t, "A", runSession(t, c, "", Attempts{Levels: []int{0}}))
	require.Equal(t, "A✗ no server", runSession(t, c, "A", Attempts{Levels: []int{0}}))
}

func TestProtectionDoesNotOverruleLimits(t *testing.T) {
	spec := newLevelsSpec("A", "B")
	spec.Levels[0].Servers[0].MaxSessions = 1
	c := newFailingCluster(spec, 1, nil)
	only := []int{0}
	lease := pick(t, c, 0)
	lease.Fail(0, "refused")
	held, err := c.Pick(0, &Attempts{Levels: only})
	require.NoError(t, err)
	_, err = c.Pick(0, &Attempts{Levels: only})
	require.ErrorIs(t, err, ErrFull)
	held.Done(0)
	held, err = c.Pick(2*sec, &Attempts{Levels: only})
	require.NoError(t, err)
	require.Equal(t, Probation, stateOf(c, "A"))
	_, err = c.Pick(2*sec, &Attempts{Levels: only})
	require.ErrorIs(t, err, ErrFull)
}
