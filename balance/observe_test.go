package balance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadsCountLeasesOfRemovedServers(t *testing.T) {
	spec := newLevelsSpec("AB")
	spec.Levels[0].Servers[0].Handle = "handle"
	c := New(spec, 1, nil)
	lease, err := c.Pick(0, &Attempts{})
	require.NoError(t, err)
	require.Equal(t, "A", lease.Server().Name())
	list, leases := c.Loads(nil)
	require.Equal(t, 1, leases)
	require.ElementsMatch(t, []ServerLoad{{"A", 1, "handle"}, {"B", 0, nil}}, list)
	commit(c, newLevelsSpec("B"))
	list, leases = c.Loads(list[:0])
	require.Equal(t, 1, leases)
	require.Equal(t, []ServerLoad{{"B", 0, nil}}, list)
	lease.Done(0)
}

// The level in use for sessions with levels of their own is the one that their first attempt uses.
func TestLevelForIsThatOfPick(t *testing.T) {
	spec := newLevelsSpec("AB", "C", "D")
	for i := range spec.Levels {
		spec.Levels[i].Key = i
		spec.Levels[i].Name = []string{"one", "two", "three"}[i]
	}
	spec.Levels[0].MinUp = 2
	for _, down := range []string{"", "A", "AB", "ABC", "ABCD", "C", "AD", "ABD"} {
		c := New(spec, 1, nil)
		for _, s := range down {
			c.SetOverride(string(s), Override{State: new(Maint)}, 0)
		}
		for _, levels := range [][]int{nil, {0}, {1, 0}, {2}, {2, 1, 0}, {1, 7}} {
			want := ""
			lease, err := c.Pick(0, &Attempts{Levels: levels})
			if err == nil {
				want = map[string]string{"A": "one", "B": "one", "C": "two", "D": "three"}[lease.Server().Name()]
				lease.Done(0)
			}
			require.Equal(t, want, c.LevelFor(levels), "down %q, levels %v", down, levels)
		}
	}
}
