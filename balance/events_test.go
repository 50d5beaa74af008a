package balance

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordEvents returns an observer and a function that returns and clears the recorded events.
func recordEvents() (func(Event), func() []string) {
	var events []string
	return func(e Event) {
			text := string(e.Kind)
			if e.Server != "" {
				text += " " + e.Server
			}
			if e.To != "" {
				text += fmt.Sprintf(" %s>%s", e.From, e.To)
			}
			if e.Layer != "" {
				text += " by " + e.Layer
			}
			events = append(events, text)
		}, func() []string {
			got := events
			events = nil
			return got
		}
}

func TestAllDownThenUpEmitsOneEmptyAndOneBack(t *testing.T) {
	for _, protected := range []bool{false, true} {
		observe, events := recordEvents()
		spec := newLevelsSpec("AB")
		spec.Protected = protected
		c := New(spec, 0, observe)
		c.SetCheck("B", "tcp", false, "", 0)
		c.SetCheck("B", "tcp", false, "", 0)
		require.Equal(t, []string{"server_down B up>down by checks"}, events())
		c.SetCheck("A", "tcp", false, "", 0)
		if protected {
			require.Equal(t, []string{"server_down A up>unstable by checks", "cluster_empty A by protection"}, events())
		} else {
			require.Equal(t, []string{"server_down A up>down by checks", "cluster_empty"}, events())
		}
		c.SetCheck("B", "tcp", true, "", 0)
		got := events()
		require.Contains(t, got, "server_up B down>up by checks")
		require.Contains(t, got, "cluster_back")
		if protected {
			require.Equal(t, "server_state A unstable>down by protection", got[1])
			require.Len(t, got, 3)
		} else {
			require.Len(t, got, 2)
		}
		c.SetCheck("A", "tcp", true, "", 0)
		require.Equal(t, []string{"server_up A down>up by checks"}, events())
	}
}

func TestEventsOfEachLayer(t *testing.T) {
	observe, events := recordEvents()
	c := newFailingCluster(newLevelsSpec("AB", "C"), 1, observe)
	expect := func(want ...string) {
		t.Helper()
		require.Equal(t, want, events())
	}
	c.SetOverride("A", Override{State: pointerTo(Maint)}, 0)
	expect("server_state A up>maint by override")
	c.SetCheck("A", "tcp", false, "", 0)
	require.Empty(t, events(), "maint stays maint")
	c.SetOverride("A", Override{}, 0)
	expect("server_down A maint>down by checks")
	c.SetCheck("A", "tcp", true, "", 0)
	expect("server_up A down>up by checks")
	c.SetAgent("A", AgentAdvice{Admin: Drain}, 0)
	expect("server_state A up>drain by agent")
	c.SetAgent("B", AgentAdvice{Down: true}, 0)
	expect("server_down B up>down by agent", "level_change 1>2")
	c.SetAgent("A", AgentAdvice{}, 0)
	expect("server_state A drain>up by agent", "level_change 2>1")
	c.Feedback("A", true, 0)
	expect("server_down A up>failing by passive", "level_change 1>2")
	c.Tick(2 * sec)
	expect("server_state A failing>probation by passive")
	c.Feedback("A", true, 2*sec)
	expect("server_state A probation>failing by passive")
	c.Tick(4 * sec)
	c.Feedback("A", false, 4*sec)
	expect("server_state A failing>probation by passive", "server_up A probation>up by passive", "level_change 2>1")
	c.SetResolved("A", false, 4*sec)
	expect("server_state A up>unresolved by resolver", "level_change 1>2")
	spec := newLevelsSpec("AB", "C")
	spec.Levels[1].Servers[0].State = Drain
	commit(c, spec)
	got := events()
	require.Contains(t, got, "server_state C up>drain by configuration")
	require.Contains(t, got, "cluster_empty B by protection")
}

func TestNewEmitsNoEvents(t *testing.T) {
	observe, events := recordEvents()
	spec := newLevelsSpec("A", "B")
	spec.Levels[0].Servers[0].State = Maint
	New(spec, 0, observe)
	require.Empty(t, events())
}

func TestObserverMayCallTheCluster(t *testing.T) {
	var c *Cluster
	var got []string
	c = New(newLevelsSpec("AB"), 0, func(e Event) {
		got = append(got, string(e.Kind)+e.Server)
		if e.Server == "A" && e.To == "down" {
			c.SetOverride("B", Override{State: pointerTo(Drain)}, 0)
		}
	})
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, []string{"server_downA", "server_stateB", "server_stateA", "cluster_emptyA"}, got)
}

// Callbacks are made one at a time and in order, whichever goroutine makes them.
func TestEventsKeepTheirOrder(t *testing.T) {
	state := map[string]string{}
	c := New(newLevelsSpec("ABCD"), 0, func(e Event) {
		if e.Server != "" && e.To != "" {
			if was, ok := state[e.Server]; ok && was != e.From {
				t.Errorf("%s went from %s, was %s", e.Server, e.From, was)
			}
			state[e.Server] = e.To
		}
	})
	var wg sync.WaitGroup
	for _, name := range []string{"A", "B", "C", "D"} {
		wg.Go(func() {
			for i := range 2000 {
				c.SetCheck(name, "tcp", i%2 == 1, "", 0)
			}
		})
	}
	wg.Wait()
}

// The events of a server from outside the file are unproven until a check has passed or a session has connected, and after that
// they are not.
func TestExternalServerIsUnprovenUntilItWorks(t *testing.T) {
	var of []string
	spec := newLevelsSpec("AB")
	spec.Protected = false
	spec.Levels[0].Servers[0].External = true
	start := func() *Cluster {
		of = nil
		return New(spec, 0, func(e Event) {
			if e.Server != "" {
				of = append(of, fmt.Sprintf("%s %s %v", e.Server, e.Kind, e.Unproven))
			}
		})
	}
	c := start()
	c.SetCheck("B", "tcp", false, "", 0)
	c.SetCheck("A", "tcp", false, "", 0)
	c.SetCheck("A", "tcp", true, "", 0)
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, []string{"B server_down false", "A server_down true", "A server_up false", "A server_down false"}, of)

	c = start()
	c.SetCheck("B", "tcp", false, "", 0)
	l, err := c.Pick(0, &Attempts{})
	require.NoError(t, err)
	l.Established(0, 0)
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, []string{"B server_down false", "A server_down false"}, of, "a session has connected")

	spec.Levels[0].Servers[0].Monitors = []MonitorSpec{{ID: "tcp", InitialDown: true}}
	c = start()
	c.SetCheck("A", "tcp", true, "", 0)
	c.SetCheck("A", "tcp", false, "", 0)
	require.Equal(t, []string{"A server_up true", "A server_down false"}, of, "the first passed check after initial = down")
}
