package balance

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// newLevelsSpec returns a specification with one level for each word; its letters are the servers.
func newLevelsSpec(words ...string) Spec {
	spec := Spec{Name: "c", Protected: true}
	for _, w := range words {
		var l LevelSpec
		for _, r := range w {
			l.Servers = append(l.Servers, ServerSpec{Name: string(r), Address: string(r), Weight: 1})
		}
		spec.Levels = append(spec.Levels, l)
	}
	return spec
}

// runSession runs one session to its end. Servers in dead refuse. The result lists the attempts, refused ones with a
// cross, and the error if no server served.
func runSession(t require.TestingT, c *Cluster, dead string, attempts Attempts) string {
	var story strings.Builder
	for {
		lease, err := c.Pick(0, &attempts)
		if err != nil {
			story.WriteString(" " + err.Error())
			return story.String()
		}
		name := lease.Server().Name()
		story.WriteString(name)
		if !strings.Contains(dead, name) {
			lease.Established(0, 1)
			lease.Done(0)
			return story.String()
		}
		story.WriteString("✗")
		lease.Fail(0, "refused")
		require.Less(t, attempts.Count(), 100)
	}
}

func TestFailoverSequences(t *testing.T) {
	with := func(s Spec, change func(*Spec)) Spec { change(&s); return s }
	for _, test := range []struct {
		name string
		spec Spec
		dead string
		want []string
	}{
		{"first level dead", newLevelsSpec("AB", "C"), "AB", []string{"A✗B✗C", "B✗A✗C", "A✗B✗C", "B✗A✗C"}},
		{"try 2 ends before the next level", with(newLevelsSpec("AB", "C"), func(s *Spec) { s.Try = 2 }), "AB", []string{"A✗B✗ no attempts left", "B✗A✗ no attempts left"}},
		{"try 2 of three", with(newLevelsSpec("ABC", "D"), func(s *Spec) { s.Try = 2 }), "ABC", []string{"A✗B✗ no attempts left", "C✗B✗ no attempts left"}},
		{"try 1", with(newLevelsSpec("AB"), func(s *Spec) { s.Try = 1 }), "A", []string{"A✗ no attempts left", "B"}},
		{"second level never used", newLevelsSpec("ABC", "D"), "D", []string{"A", "B", "C", "A", "B", "C"}},
		{"every server once", newLevelsSpec("ABC"), "ABC", []string{"A✗B✗C✗ no attempts left"}},
		{"a level's own try", with(newLevelsSpec("ABC", "D"), func(s *Spec) { s.Levels[0].Try = 1 }), "ABC", []string{"A✗D", "B✗D", "C✗D"}},
		{"the same server again in another level", newLevelsSpec("AB", "AC"), "AB", []string{"A✗B✗A✗C"}},
		{"one live server of many is enough", newLevelsSpec("ABCDEFGHIJ", "K"), "ABCDEFGHI", []string{"A✗B✗C✗D✗E✗F✗G✗H✗I✗J"}},
		{"min_up counts those tried as ineligible", with(newLevelsSpec("ABC", "D"), func(s *Spec) { s.Levels[0].MinUp = 3 }), "AD", []string{"A✗D✗B"}},
		{"nothing there", newLevelsSpec("", ""), "", []string{" no server"}},
	} {
		c := New(test.spec, 0, nil)
		for i, want := range test.want {
			require.Equal(t, want, runSession(t, c, test.dead, Attempts{}), "%s, session %d", test.name, i)
		}
	}
}

func TestListenerLevelsLimitPick(t *testing.T) {
	c := New(newLevelsSpec("A", "B", "C"), 0, nil)
	require.Equal(t, "C", runSession(t, c, "", Attempts{Levels: []int{2, 0}}))
	require.Equal(t, "C✗A", runSession(t, c, "C", Attempts{Levels: []int{2, 0}}))
	require.Equal(t, "C✗A✗ no attempts left", runSession(t, c, "AC", Attempts{Levels: []int{2, 0}}), "try defaults to the servers of the levels chosen")
	require.Equal(t, "B", runSession(t, c, "", Attempts{Levels: []int{7, -1, 1}}), "levels that are not there are passed over")
	require.Equal(t, "A", runSession(t, c, "", Attempts{Levels: []int{}}))
}

func TestMinUp(t *testing.T) {
	spec := newLevelsSpec("ABC", "DE")
	spec.Levels[0].MinUp, spec.Levels[1].MinUp = 2, 2
	c := New(spec, 0, nil)
	down := func(names string) string {
		for _, r := range "ABCDE" {
			c.SetCheck(string(r), "tcp", !strings.ContainsRune(names, r), "", 0)
		}
		return c.Snapshot(0).Level
	}
	require.Equal(t, "1", down(""))
	require.Equal(t, "1", down("A"))
	require.Equal(t, "2", down("AB"))
	require.Equal(t, "D", runSession(t, c, "", Attempts{}))
	require.Equal(t, "1", down("ABD"), "no level reaches its min_up: the first with anybody")
	require.Equal(t, "C", runSession(t, c, "", Attempts{}))
	require.Equal(t, "2", down("ABCD"))
	require.Equal(t, "E", runSession(t, c, "", Attempts{}))
}

func TestFullLevelIsSkipped(t *testing.T) {
	spec := newLevelsSpec("AB", "C")
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			spec.Levels[i].Servers[j].MaxSessions = 1
		}
	}
	c := New(spec, 0, nil)
	var held []Lease
	for _, want := range []string{"A", "B", "C"} {
		lease, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
		require.Equal(t, want, lease.Server().Name())
		held = append(held, lease)
	}
	_, err := c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, "1", c.Snapshot(0).Level, "full is not out")
	held[1].Done(0)
	require.Equal(t, "B", runSession(t, c, "", Attempts{}))

	spec.Queue = true
	c.Commit(c.Prepare(spec), 0)
	lease, err := c.Pick(0, &Attempts{})
	require.NoError(t, err)
	require.Equal(t, "B", lease.Server().Name())
	held[2].Done(0)
	_, err = c.Pick(0, &Attempts{})
	require.ErrorIs(t, err, ErrFull, "with a queue the level keeps its sessions")
}

func TestManualFailback(t *testing.T) {
	for _, manual := range []bool{false, true} {
		spec := newLevelsSpec("A", "B", "C")
		spec.ManualFailback = manual
		c := New(spec, 0, nil)
		c.SetCheck("A", "tcp", false, "", 0)
		require.Equal(t, "B", runSession(t, c, "", Attempts{}))
		c.SetCheck("A", "tcp", true, "", 0)
		if !manual {
			require.Equal(t, "A", runSession(t, c, "", Attempts{}))
			continue
		}
		require.Equal(t, "B", runSession(t, c, "", Attempts{}))
		require.True(t, c.Snapshot(0).Held)
		require.Equal(t, "B✗A", runSession(t, c, "B", Attempts{}), "within a session the order goes on from the top")
		require.Equal(t, "A", runSession(t, c, "", Attempts{Levels: []int{0, 2}}))
		c.Commit(c.Prepare(spec), 0)
		require.Equal(t, "B", runSession(t, c, "", Attempts{}), "a reload is no operator")
		require.NoError(t, c.Failback(0))
		require.NoError(t, c.Failback(0), "the first level is in use")
		require.Equal(t, "A", runSession(t, c, "", Attempts{}))
		require.False(t, c.Snapshot(0).Held)

		c.SetCheck("A", "tcp", false, "", 0)
		c.SetCheck("A", "tcp", true, "", 0)
		require.Equal(t, "B", runSession(t, c, "", Attempts{}))
		c.SetCheck("B", "tcp", false, "", 0)
		require.Equal(t, "A", runSession(t, c, "", Attempts{}), "it failed")
		c.SetCheck("B", "tcp", true, "", 0)
		require.Equal(t, "A", runSession(t, c, "", Attempts{}))
	}
}

// The first level failed under traffic and is on probation, where it gets no session while a lower level is held.
func TestFailbackToServersOnProbation(t *testing.T) {
	spec := newLevelsSpec("AB", "C")
	spec.ManualFailback = true
	c := newFailingCluster(spec, 1, nil)
	require.Equal(t, "A✗B✗C", runSession(t, c, "AB", Attempts{}))
	require.EqualError(t, c.Failback(sec), "level 1 has 0 of 1 servers up or on probation")
	require.Equal(t, "2", c.Snapshot(sec).Level)
	c.Tick(2 * sec)
	require.Equal(t, "CCC", pickSequence(t, c, 3))
	require.NoError(t, c.Failback(2*sec))
	state := c.Snapshot(2 * sec)
	require.Equal(t, "1", state.Level)
	require.False(t, state.Held)
	a, b := pick(t, c, 2*sec), pick(t, c, 2*sec)
	require.NotEqual(t, a.Server(), b.Server())
	require.Equal(t, "C", pickSequence(t, c, 1), "one session at a time")
	a.Established(2*sec, 1)
	b.Established(2*sec, 1)
	require.Equal(t, Up, stateOf(c, "A"))
	require.Equal(t, "1", c.Snapshot(2*sec).Level)

	require.Regexp(t, "^.✗.✗C$", runSession(t, c, "AB", Attempts{}))
	c.Tick(5 * sec)
	require.NoError(t, c.Failback(5*sec))
	require.Regexp(t, "^.✗.✗C$", runSession(t, c, "AB", Attempts{}), "they fail again")
	require.Equal(t, "2", c.Snapshot(5*sec).Level)

	spec.ManualFailback = false
	commit(c, spec)
	require.EqualError(t, c.Failback(5*sec), "failback is automatic")
}

func TestAttemptsOverflowAndReset(t *testing.T) {
	c := New(newLevelsSpec("ABCDEFGH"), 0, nil)
	attempts := Attempts{Levels: []int{0}, Key: 1, Keyed: true}
	seen := map[string]bool{}
	for range 8 {
		lease, err := c.Pick(0, &attempts)
		require.NoError(t, err)
		seen[lease.Server().Name()] = true
		lease.Fail(0, "refused")
	}
	require.Len(t, seen, 8)
	require.Equal(t, 8, attempts.Count())
	attempts.Reset()
	require.Equal(t, 0, attempts.Count())
	require.Equal(t, []int{0}, attempts.Levels)
	require.False(t, attempts.Keyed)
	_, err := c.Pick(0, &attempts)
	require.False(t, errors.Is(err, ErrNoAttemptsLeft))
}
