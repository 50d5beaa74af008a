package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

// heldLine holds sessions and records their wake-ups.
type heldLine struct {
	t       require.TestingT
	c       *Cluster
	now     time.Duration
	waiters map[string]*Waiter
	trials  map[string]*Attempts
	story   string
}

func newHeldLine(t require.TestingT, c *Cluster) *heldLine {
	return &heldLine{t: t, c: c, waiters: map[string]*Waiter{}, trials: map[string]*Attempts{}}
}

// hold picks for a session, which must not get a server, and holds it.
func (l *heldLine) hold(name string, levels ...int) {
	l.trials[name] = &Attempts{Levels: levels, Hold: true}
	_, err := l.c.Pick(l.now, l.trials[name])
	require.ErrorIs(l.t, err, ErrHold)
	require.True(l.t, l.again(name))
}

func (l *heldLine) again(name string) bool {
	w := &Waiter{}
	l.waiters[name] = w
	return l.c.Hold(l.now, l.now, l.trials[name], w, func() {
		if s := w.Lease.Server(); s != nil {
			l.story += name + ":" + s.Name() + " "
		} else {
			l.story += name + ":– "
		}
	})
}

// at sets the time and applies the timers.
func (l *heldLine) at(now time.Duration) {
	l.now = now
	l.c.Tick(now)
}

func (l *heldLine) fail(name string) {
	l.waiters[name].Lease.Fail(l.now, "refused")
}

// wakes checks what was woken since the last call.
func (l *heldLine) wakes(story string) {
	require.Equal(l.t, story, l.story)
	l.story = ""
}

// newHeldCluster returns a protected cluster whose servers are all down.
func newHeldCluster(words ...string) (*Cluster, Spec) {
	spec := newLevelsSpec(words...)
	spec.Protected = true
	c := New(spec, 0, nil)
	for _, word := range words {
		for _, name := range word {
			c.SetCheck(string(name), "tcp", false, "", 0)
		}
	}
	return c, spec
}

func TestHeldSessionsAreReleasedInOrderOfArrival(t *testing.T) {
	c, _ := newHeldCluster("AB")
	l := newHeldLine(t, c)
	for i := range 5 {
		l.now = time.Duration(i) * ms
		l.hold(fmt.Sprint(i))
	}
	require.Equal(t, 5, c.Snapshot(l.now).Hold.Now)
	l.wakes("")
	c.SetCheck("B", "tcp", true, "", 10*ms)
	l.wakes("0:B 1:B 2:B 3:B 4:B ")
	require.Equal(t, HoldCounts{Total: 5}, c.HoldCounts())
}

// Protection keeps A in service as the last server; a session that may be held does not get it.
func TestProtectionWaitsForTheEndOfTheHold(t *testing.T) {
	c, _ := newHeldCluster("AB")
	require.Equal(t, Unstable, c.Server("A").State())
	l := newHeldLine(t, c)
	l.hold("1")
	lease, paced := c.StopHold(time.Second, l.waiters["1"])
	require.Nil(t, lease.Server())
	require.False(t, paced)
	l.trials["1"].Hold = false
	lease, err := c.Pick(time.Second, l.trials["1"])
	require.NoError(t, err)
	require.Equal(t, "A", lease.Server().Name())
	c.EndHold(l.trials["1"], HoldConnected)
	require.Zero(t, c.hold.places)
}

// Servers that are out because of failed dials are not picked as a last resort either.
func TestLastResortWaitsForTheEndOfTheHold(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Protected = true
	for i := range spec.Levels[0].Servers {
		spec.Levels[0].Servers[i].MaxFails, spec.Levels[0].Servers[i].FailTimeout = 1, time.Minute
	}
	c := New(spec, 0, nil)
	tried := &Attempts{Hold: true}
	for range 2 {
		lease, err := c.Pick(0, tried)
		require.NoError(t, err)
		lease.Fail(0, "refused")
	}
	_, err := c.Pick(0, tried)
	require.ErrorIs(t, err, ErrHold)
	tried.Hold = false
	_, err = c.Pick(0, tried)
	require.ErrorIs(t, err, ErrNoAttemptsLeft)
}

func TestServerInMaintHoldsSessions(t *testing.T) {
	c := New(newLevelsSpec("A"), 0, nil)
	l := newHeldLine(t, c)
	for _, state := range []AdminState{Maint, Drain} {
		c.SetOverride("A", Override{State: &state}, 0)
		l.hold("1")
		c.SetOverride("A", Override{}, 0)
		l.wakes("1:A ")
	}
}

func TestClusterWithoutServersHoldsUntilOneIsAdded(t *testing.T) {
	spec := newLevelsSpec("")
	c := New(spec, 0, nil)
	l := newHeldLine(t, c)
	l.hold("1")
	l.hold("2")
	c.Commit(c.Prepare(newLevelsSpec("A")), time.Second)
	l.wakes("1:A 2:A ")
}

// Sessions that every eligible server has refused are held. The one that has waited longest tries again after a second,
// and the others follow once it is connected.
func TestRefusedSessionsTryAgainOnceASecond(t *testing.T) {
	c := New(newLevelsSpec("A"), 0, nil)
	l := newHeldLine(t, c)
	for _, name := range []string{"1", "2", "3"} {
		l.trials[name] = &Attempts{Hold: true}
	}
	refused := func(name string) {
		lease, err := c.Pick(l.now, l.trials[name])
		require.NoError(t, err)
		lease.Fail(l.now, "refused")
	}
	for _, name := range []string{"1", "2", "3"} { // together
		refused(name)
	}
	for _, name := range []string{"1", "2", "3"} {
		_, err := c.Pick(l.now, l.trials[name])
		require.ErrorIs(t, err, ErrHold)
		require.True(t, l.again(name))
	}
	l.wakes("")
	l.at(999 * ms)
	l.wakes("")
	l.at(1000 * ms)
	l.wakes("1:A ")
	l.fail("1")
	_, err := c.Pick(l.now, l.trials["1"])
	require.ErrorIs(t, err, ErrHold)
	require.True(t, l.again("1"))
	l.at(1500 * ms)
	l.wakes("")
	l.at(2000 * ms)
	l.wakes("1:A ")
	l.waiters["1"].Lease.Established(l.now, ms)
	l.wakes("2:A 3:A ")
}

// A new session does not overtake held ones that wait for a server which has just refused them: the first of these tries it
// in its place.
func TestNewSessionDoesNotOvertakeRefusedOnes(t *testing.T) {
	c := New(newLevelsSpec("A", "B"), 0, nil)
	c.SetCheck("B", "tcp", false, "", 0)
	l := newHeldLine(t, c)
	for _, name := range []string{"1", "2"} {
		l.trials[name] = &Attempts{Hold: true}
		lease, err := c.Pick(0, l.trials[name])
		require.NoError(t, err)
		defer lease.Done(0)
	}
	for _, name := range []string{"1", "2"} {
		require.True(t, l.again(name))
	}
	l.at(100 * ms)
	l.hold("3")
	l.wakes("1:A ")
	l.waiters["1"].Lease.Established(l.now, ms)
	l.wakes("2:A 3:A ")
	_, err := c.Pick(l.now, &Attempts{Hold: true})
	require.NoError(t, err)
}

// Held sessions of one level do not delay new sessions of another.
func TestHeldSessionsOfAnotherLevelDelayNoOne(t *testing.T) {
	spec := newLevelsSpec("A", "B")
	spec.ReleaseRate = 1
	c := New(spec, 0, nil)
	c.SetCheck("A", "tcp", false, "", 0)
	l := newHeldLine(t, c)
	for _, name := range []string{"1", "2"} {
		l.hold(name, 0)
	}
	pickB := func() {
		lease, err := c.Pick(l.now, &Attempts{Hold: true, Levels: []int{1}})
		require.NoError(t, err)
		require.Equal(t, "B", lease.Server().Name())
	}
	pickB()
	c.SetCheck("A", "tcp", true, "", 0)
	l.wakes("1:A ")
	pickB()
	_, err := c.Pick(l.now, &Attempts{Hold: true})
	require.ErrorIs(t, err, ErrHold)
}

// With a release rate, sessions leave evenly spaced, and new ones queue behind.
func TestReleaseRateSpacesSessionsEvenly(t *testing.T) {
	c, spec := newHeldCluster("A")
	spec.ReleaseRate = 10
	c.Commit(c.Prepare(spec), 0)
	paced := 0
	c.OnPace(func() { paced++ })
	l := newHeldLine(t, c)
	for i := range 4 {
		l.hold(fmt.Sprint(i))
	}
	_, ok := c.NextRelease()
	require.False(t, ok)
	c.SetCheck("A", "tcp", true, "", 10*time.Second)
	l.now = 10 * time.Second
	l.wakes("0:A ")
	require.Equal(t, 1, paced)
	l.hold("new")
	for i, late := range []time.Duration{0, 3 * ms, 0, 50 * ms} {
		next, ok := c.NextRelease()
		require.True(t, ok)
		require.GreaterOrEqual(t, next-l.now, 95*ms)
		l.at(next - ms)
		l.wakes("")
		l.at(next + late)
		l.wakes([]string{"1:A ", "2:A ", "3:A ", "new:A "}[i])
	}
	_, ok = c.NextRelease()
	require.False(t, ok)
	require.Equal(t, 1, paced)
	_, err := c.Pick(l.now, &Attempts{Hold: true})
	require.NoError(t, err, "no session is held any more")
}

// A held session whose time is over while it waits only for its turn is told so: protection has nothing to do with it.
func TestStopHoldReportsPacing(t *testing.T) {
	c, spec := newHeldCluster("A")
	spec.ReleaseRate = 1
	c.Commit(c.Prepare(spec), 0)
	l := newHeldLine(t, c)
	l.hold("1")
	l.hold("2")
	c.SetCheck("A", "tcp", true, "", 2*sec)
	lease, paced := c.StopHold(2*sec, l.waiters["2"])
	require.Nil(t, lease.Server())
	require.True(t, paced)
	lease, _ = c.StopHold(2*sec, l.waiters["1"])
	require.Equal(t, "A", lease.Server().Name(), "granted and not taken yet")
}

func TestMaxHeldCountsSessionsUntilTheyAreConnected(t *testing.T) {
	c, spec := newHeldCluster("A")
	spec.MaxHeld = 2
	c.Commit(c.Prepare(spec), 0)
	l := newHeldLine(t, c)
	l.hold("1")
	l.hold("2")
	l.trials["3"] = &Attempts{Hold: true}
	require.False(t, l.again("3"))
	c.CancelWait(l.waiters["2"], 0)
	c.EndHold(l.trials["2"], HoldClientReset)
	require.True(t, l.again("3"))
	c.SetCheck("A", "tcp", true, "", 2*sec)
	l.wakes("1:A 3:A ")
	c.SetCheck("A", "tcp", false, "", 4*sec)
	l.trials["4"] = &Attempts{Hold: true}
	require.False(t, l.again("4"), "the released ones are not connected yet")
	l.fail("1")
	require.True(t, l.again("1"), "keeps its place")
	c.EndHold(l.trials["3"], HoldConnected)
	require.True(t, l.again("4"))
	require.Equal(t, HoldCounts{Now: 2, Total: 4, Ended: [holdOutcomes]uint64{HoldConnected: 1, HoldClientReset: 1}}, c.HoldCounts())
}

// Servers that are only full are for the queue.
func TestFullServerHoldsNoSession(t *testing.T) {
	for _, queue := range []bool{false, true} {
		spec := newLevelsSpec("A")
		spec.Protected = false
		spec.Queue, spec.Levels[0].Servers[0].MaxSessions = queue, 1
		c := New(spec, 0, nil)
		c.SetCheck("A", "tcp", false, "", 0)
		l := newHeldLine(t, c)
		l.hold("1")
		l.hold("2")
		c.SetCheck("A", "tcp", true, "", 0)
		l.wakes("1:A 2:– ")
		_, err := c.Pick(0, l.trials["2"])
		require.ErrorIs(t, err, ErrFull)
		_, err = c.Pick(0, &Attempts{Hold: true})
		require.ErrorIs(t, err, ErrFull)
	}
}

// A limit on attempts ends a session although another server could serve it.
func TestTryLimitEndsSessionInsteadOfHold(t *testing.T) {
	for levelTry, want := range map[int]error{0: ErrNoAttemptsLeft, 1: ErrNoServer} {
		spec := newLevelsSpec("AB")
		spec.Try, spec.Levels[0].Try = 1-levelTry, levelTry
		c := New(spec, 0, nil)
		attempts := &Attempts{Hold: true}
		lease, err := c.Pick(0, attempts)
		require.NoError(t, err)
		lease.Fail(0, "refused")
		_, err = c.Pick(0, attempts)
		require.ErrorIs(t, err, want)
		c.SetCheck("B", "tcp", false, "", 0)
		_, err = c.Pick(0, attempts)
		require.ErrorIs(t, err, ErrHold, "the other one is down")
	}
}

// One session at a time tries a server on probation; the others are held until it is connected.
func TestProbationHoldsOtherSessions(t *testing.T) {
	spec := newLevelsSpec("A")
	spec.Protected = false
	spec.Levels[0].Servers[0].MaxFails, spec.Levels[0].Servers[0].FailTimeout = 1, 10*time.Second
	c := New(spec, 0, nil)
	l := newHeldLine(t, c)
	l.trials["1"] = &Attempts{Hold: true}
	lease, err := c.Pick(0, l.trials["1"])
	require.NoError(t, err)
	lease.Fail(0, "refused")
	require.True(t, l.again("1"))
	l.hold("2")
	l.at(9 * time.Second)
	l.wakes("")
	l.at(10 * time.Second)
	l.wakes("1:A ")
	l.hold("3")
	l.waiters["1"].Lease.Established(l.now, ms)
	l.wakes("2:A 3:A ")
}

func TestWakeHeldEndsAllHolds(t *testing.T) {
	c, _ := newHeldCluster("A")
	l := newHeldLine(t, c)
	l.hold("1", 0)
	l.hold("2")
	c.Retire(0)
	c.WakeHeld(0)
	l.wakes("1:– 2:– ")
	lease, err := c.Pick(0, l.trials["1"])
	require.NoError(t, err, "protection")
	require.Equal(t, "A", lease.Server().Name())
}

// Random servers, rates and sessions: none is held while a server could serve, the order is that of arrival, the rate is
// kept, and all places are free in the end.
func TestHoldModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := newLevelsSpec("AB", "C")
		spec.Protected = rapid.Bool().Draw(t, "protected")
		spec.ReleaseRate = rapid.SampledFrom([]int{0, 0, 7, 100}).Draw(t, "rate")
		spec.MaxHeld = rapid.SampledFrom([]int{0, 5}).Draw(t, "max_held")
		c := New(spec, 0, nil)
		type client struct {
			attempts *Attempts
			w        *Waiter
			number   int
		}
		var held, dialing []*client
		var released []time.Duration
		woken := map[*client]bool{}
		now, arrived := time.Duration(0), 0
		hold := func(x *client) {
			x.w = &Waiter{}
			if !c.Hold(now, x.attempts.heldSince+count64(!x.attempts.held)*now, x.attempts, x.w, func() { woken[x] = true }) {
				require.Equal(t, 5, c.hold.places)
				return
			}
			held = append(held, x)
		}
		settle := func() {
			for again := true; again; {
				again = false
				for _, x := range slices.Clone(held) {
					if !woken[x] {
						continue
					}
					delete(woken, x)
					again = true
					held = slices.DeleteFunc(held, func(o *client) bool { return o == x })
					require.NotNil(t, x.w.Lease.Server())
					require.True(t, x.w.Lease.Server().State().Eligible())
					require.NotEqual(t, Unstable, x.w.Lease.Server().State())
					for _, o := range held {
						require.True(t, woken[o] || x.attempts.before(o.attempts), "session %d overtakes %d", x.number, o.number)
					}
					released = append(released, now)
					dialing = append(dialing, x)
				}
			}
		}
		for range 60 {
			switch rapid.SampledFrom([]string{"new", "new", "check", "time", "refuse", "connect", "leave"}).Draw(t, "op") {
			case "new":
				arrived++
				x := &client{attempts: &Attempts{Hold: true}, number: arrived}
				if lease, err := c.Pick(now, x.attempts); err == nil {
					x.w = &Waiter{Lease: lease}
					dialing = append(dialing, x)
				} else {
					require.ErrorIs(t, err, ErrHold)
					hold(x)
				}
			case "check":
				name := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "server")
				c.SetCheck(name, "tcp", rapid.Bool().Draw(t, "up"), "", now)
			case "time":
				now += time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * ms
				c.Tick(now)
			case "refuse":
				if len(dialing) > 0 {
					x := dialing[0]
					dialing = dialing[1:]
					x.w.Lease.Fail(now, "refused")
					if lease, err := c.Pick(now, x.attempts); err == nil {
						x.w = &Waiter{Lease: lease}
						dialing = append(dialing, x)
					} else {
						require.ErrorIs(t, err, ErrHold)
						hold(x)
					}
				}
			case "connect":
				if len(dialing) > 0 {
					x := dialing[0]
					dialing = dialing[1:]
					x.w.Lease.Established(now, ms)
					c.EndHold(x.attempts, HoldConnected)
					x.w.Lease.Done(now)
				}
			case "leave":
				if len(held) > 0 {
					x := held[rapid.IntRange(0, len(held)-1).Draw(t, "who")]
					if woken[x] {
						break
					}
					held = slices.DeleteFunc(held, func(o *client) bool { return o == x })
					c.CancelWait(x.w, now)
					c.EndHold(x.attempts, HoldClientReset)
				}
			}
			settle()
			require.Equal(t, len(held), c.hold.n)
			if len(held) > 0 && !c.hold.pacing {
				require.False(t, c.couldServe(&Attempts{Hold: true, held: true}), "a server could serve")
			}
			if rate := spec.ReleaseRate; rate > 0 && len(released) > 1 {
				gap := released[len(released)-1] - released[len(released)-2]
				require.GreaterOrEqual(t, gap, time.Second/time.Duration(rate)-releaseSlack)
			}
		}
		for _, x := range held {
			c.CancelWait(x.w, now)
			c.EndHold(x.attempts, HoldEnded)
		}
		for _, x := range dialing {
			x.w.Lease.Done(now)
			c.EndHold(x.attempts, HoldEnded)
		}
		require.Zero(t, c.hold.places)
		require.Zero(t, c.hold.n)
		require.Empty(t, c.hold.groups)
		require.Zero(t, c.Snapshot(now).Leases)
	})
}

func count64(b bool) time.Duration { return time.Duration(count(b)) }
