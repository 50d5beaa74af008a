package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A cluster that restores the saved state of another one shows every server in the same state and emits
// no events, some time later and on another timeline.
func TestRestoreGivesSavedState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		spec.SlowStart = 0 // not saved
		spec.Method = Wrr
		spec.ManualFailback = rapid.Bool().Draw(t, "manual")
		for i := range spec.Levels {
			for j := range spec.Levels[i].Servers {
				s := &spec.Levels[i].Servers[j]
				s.MaxFails, s.FailTimeout = 2, 20*sec
			}
		}
		old := New(spec, 1, nil)
		now := 100 * sec
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(1, 3).Draw(t, "wait")) * sec
			name := rapid.SampledFrom(names).Draw(t, "server")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				o := Override{Weight: rapid.Ptr(rapid.IntRange(0, 9), true).Draw(t, "weight"), Note: "why"}
				if a := rapid.SampledFrom([]AdminState{Ready, Drain, Maint}).Draw(t, "admin"); rapid.Bool().Draw(t, "state") {
					o.State = &a
				}
				old.SetOverride(name, o, now)
			case 1:
				old.SetAgent(name, AgentAdvice{Down: rapid.Bool().Draw(t, "down"), Percent: rapid.Ptr(rapid.IntRange(0, 200), true).Draw(t, "percent")}, now)
			case 2:
				old.SetCheck(name, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id"), rapid.Bool().Draw(t, "up"), "reason", now)
			default:
				old.Feedback(name, rapid.IntRange(0, 3).Draw(t, "failed") > 0, now)
			}
		}
		now += time.Duration(rapid.IntRange(1, 30).Draw(t, "off")) * sec
		m := old.Save(now)
		was := old.Snapshot(now)

		shift := 10 * sec // the new timeline began 10 s ago
		move := func(d *time.Duration) {
			if *d != 0 {
				*d -= now - shift
			}
		}
		for i := range m.Servers {
			s := &m.Servers[i]
			for _, d := range []*time.Duration{&s.OverrideAt, &s.AgentAt, &s.Passive.First, &s.Passive.Until, &s.Passive.At, &s.Since} {
				move(d)
			}
			list := append([]Verdict(nil), s.Checks...)
			for j := range list {
				move(&list[j].At)
			}
			s.Checks = list
		}
		fresh := New(spec, 1, func(e Event) { t.Fatalf("event: %+v", e) })
		fresh.Restore(m, shift)
		is := fresh.Snapshot(shift)
		require.Equal(t, was.Level, is.Level)
		require.Equal(t, was.Held, is.Held)
		if old.up > 0 || old.serving == 0 { // otherwise it depends on earlier states
			require.Equal(t, was.Empty, is.Empty)
		}
		for i := range was.Levels {
			require.Equal(t, was.Levels[i].Eligible, is.Levels[i].Eligible)
			for j := range was.Levels[i].Servers {
				a, b := &was.Levels[i].Servers[j], &is.Levels[i].Servers[j]
				require.Equal(t, a.State.String(), b.State.String(), a.Name)
				require.Equal(t, a.Reason, b.Reason)
				require.Equal(t, a.Weight, b.Weight)
				require.Equal(t, a.Layers.Override, b.Layers.Override)
				require.Equal(t, a.Layers.Agent, b.Layers.Agent)
				if a.State != Up {
					require.Equal(t, old.Server(a.Name).mergedSince-now+shift, fresh.Server(a.Name).mergedSince, "%s %s", a.Name, a.State)
				}
			}
		}
		later := rapid.IntRange(0, 30).Draw(t, "later")
		fresh.observe = nil
		old.Tick(now + time.Duration(later)*sec)
		fresh.Tick(shift + time.Duration(later)*sec)
		for _, name := range names {
			if old.Server(name) != nil {
				require.Equal(t, stateOf(old, name).String(), stateOf(fresh, name).String(), "trips end when they would have")
			}
		}
	})
}

func TestRestoreWithChangedAddress(t *testing.T) {
	spec := newLevelsSpec("A")
	c := newFailingCluster(spec, 1, nil)
	c.SetCheck("A", "tcp", false, "refused", sec)
	c.SetOverride("A", Override{Weight: pointerTo(9)}, sec)
	c.SetAgent("A", AgentAdvice{Down: true, Percent: pointerTo(50), Reason: "down"}, sec)
	c.Feedback("A", true, sec)
	m := c.Save(sec)
	require.Len(t, m.Servers, 1)
	spec.Levels[0].Servers[0].Address = "elsewhere"
	c = newFailingCluster(spec, 1, nil)
	c.Restore(m, sec)
	a := c.Snapshot(sec).Levels[0].Servers[0]
	require.Equal(t, Up, a.State)
	require.Equal(t, 9, a.Weight)
	require.Equal(t, 50, *a.Layers.Agent.Percent)
	require.Empty(t, a.Layers.Checks)
}

// A table is built for the restored weights.
func TestRestoreWeights(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Method = Hash
	c := New(spec, 1, nil)
	c.SetOverride("A", Override{Weight: pointerTo(9)}, sec)
	again := New(spec, 1, nil)
	again.Restore(c.Save(sec), sec)
	require.Equal(t, c.levels[0].table.weights, again.levels[0].table.weights)
	require.Equal(t, c.levels[0].table.weights[0], tableWeight(1, 9))
}

// A passive record is restored within the current settings.
func TestRestoreWithChangedSettings(t *testing.T) {
	c := newFailingCluster(newLevelsSpec("A"), 3, nil)
	c.Feedback("A", true, sec)
	c.Feedback("A", true, sec)
	m := c.Save(sec)
	strict := newFailingCluster(newLevelsSpec("AB"), 1, nil)
	strict.Restore(m, sec)
	require.Equal(t, Up, stateOf(strict, "A"), "no failure, no trip")
	strict.Feedback("A", true, sec)
	require.Equal(t, Failing, stateOf(strict, "A"))
	off := newFailingCluster(newLevelsSpec("AB"), 0, nil)
	off.Restore(strict.Save(sec), sec)
	require.Equal(t, Up, stateOf(off, "A"))
	require.Empty(t, newFailingCluster(newLevelsSpec("AB"), 1, nil).Save(sec).Servers, "nothing to say")
}
