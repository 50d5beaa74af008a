package balance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var keyedMethods = []Method{Hash, Maglev}

// pickOwners returns the server of each of n keys.
func pickOwners(t require.TestingT, c *Cluster, n int) []string {
	list := make([]string, n)
	for i := range list {
		lease, err := c.Pick(0, &Attempts{Key: HashKey(fmt.Append(nil, "key", i)), Keyed: true})
		require.NoError(t, err)
		list[i] = lease.Server().Address()
		lease.Done(0)
	}
	return list
}

// countMoved counts the keys whose server changed, and those of them that moved between other servers than the given one.
func countMoved(before, after []string, server string) (moves, others int) {
	for i := range before {
		if before[i] != after[i] {
			moves++
			if before[i] != server && after[i] != server {
				others++
			}
		}
	}
	return moves, others
}

func TestHashSharesFollowWeights(t *testing.T) {
	const keys = 100000
	for _, m := range keyedMethods {
		for _, weights := range [][]int{{1, 1}, {1, 2, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {10, 20, 256, 100}, {5, 0, 5}} {
			sum := 0
			for _, w := range weights {
				sum += w
			}
			c := newOneLevelCluster(m, weights...)
			got := countShares(t, c, keys)
			for i, w := range weights {
				want := 100 * float64(w) / float64(sum)
				require.InDelta(t, want, got[string(rune('A'+i))], 0.03*want, "%v %v server %d", m, weights, i)
			}
		}
	}
}

func TestHashShareOfLoweredWeightIsExact(t *testing.T) {
	for _, m := range keyedMethods {
		c := newOneLevelCluster(m, 10, 10, 10)
		before := pickOwners(t, c, 20000)
		c.SetAgent("A", AgentAdvice{Percent: pointerTo(50)}, 0)
		got := countShares(t, c, 100000)
		require.InDelta(t, 20, got["A"], 0.6)
		require.InDelta(t, 40, got["B"], 1.2)
		_, others := countMoved(before, pickOwners(t, c, 20000), c.Server("A").Address())
		require.Zero(t, others, "keys only leave the server that lost weight")
		c.SetOverride("A", Override{Weight: pointerTo(40)}, 0) // requires a new table
		got = countShares(t, c, 100000)
		require.InDelta(t, 66.7, got["A"], 1.3)
		c.SetOverride("A", Override{}, 0)
		c.SetAgent("A", AgentAdvice{}, 0)
		require.Equal(t, before, pickOwners(t, c, 20000), "and all come back")
	}
}

func TestHashServerLossMovesOnlyItsKeysAndBack(t *testing.T) {
	for _, m := range keyedMethods {
		c := newOneLevelCluster(m, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
		before := pickOwners(t, c, 10000)
		c.SetCheck("D", "tcp", false, "", 0)
		d := c.Server("D").Address()
		moves, others := countMoved(before, pickOwners(t, c, 10000), d)
		require.Zero(t, others)
		require.LessOrEqual(t, moves, 1200)
		c.SetCheck("D", "tcp", true, "", 0)
		require.Equal(t, before, pickOwners(t, c, 10000))
	}
}

func TestHashRemovingAndAddingServer(t *testing.T) {
	for _, m := range keyedMethods {
		spec := Spec{Method: m, Levels: []LevelSpec{newLevelSpec(1, 2, 1, 3, 1, 1, 2, 1, 1, 1)}}
		c := New(spec, 0, nil)
		before := pickOwners(t, c, 10000)
		gone := spec.Levels[0].Servers[4]
		less := spec.clone()
		less.Levels[0].Servers = append(less.Levels[0].Servers[:4], less.Levels[0].Servers[5:]...)
		c.Commit(c.Prepare(less), 0)
		without := pickOwners(t, c, 10000)
		_, others := countMoved(before, without, gone.Address)
		if m == Hash {
			require.Zero(t, others)
		} else {
			require.Less(t, others, 500, "nearly")
		}
		c.Commit(c.Prepare(spec), 0)
		require.Equal(t, before, pickOwners(t, c, 10000), "the same servers, the same table")
	}
}

func TestHashIgnoresOrderAndNames(t *testing.T) {
	for _, m := range keyedMethods {
		level := newLevelSpec(1, 2, 3, 4, 5)
		a := New(Spec{Method: m, Levels: []LevelSpec{level}}, 1, nil)
		shuffled := Spec{Method: m, Levels: []LevelSpec{level}}.clone()
		servers := shuffled.Levels[0].Servers
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
		for i := range servers {
			servers[i].Name = fmt.Sprint("renamed ", i)
		}
		b := New(shuffled, 2, nil)
		require.Equal(t, pickOwners(t, a, 5000), pickOwners(t, b, 5000))
		a.SetCheck(level.Servers[2].Name, "x", false, "", 0)
		for _, s := range servers {
			if s.Address == level.Servers[2].Address {
				b.SetCheck(s.Name, "x", false, "", 0)
			}
		}
		require.Equal(t, pickOwners(t, a, 5000), pickOwners(t, b, 5000))
	}
}

// These values must never change: other instances, of other builds on other machines, depend on them.
func TestHashIsSameOnEveryMachine(t *testing.T) {
	require.Equal(t, uint64(0x44bc2cf5ad770999), HashKey([]byte("abc")), "XXH64's published test value")
	for m, want := range map[Method]string{
		Hash:   "ECAEAECDCDCEBEEECBCEBDECDDECEEEEEBBCEEED",
		Maglev: "DDCBECEBECDEADCEECEADDADDDDEBBADEEEDADEE",
	} {
		c := newOneLevelCluster(m, 1, 2, 3, 4, 5)
		got := ""
		for i := range 40 {
			lease, err := c.Pick(0, &Attempts{Key: HashKey([]byte{192, 0, 2, byte(i)}), Keyed: true})
			require.NoError(t, err)
			got += lease.Server().Name()
		}
		require.Equal(t, want, got, "%v", m)
	}
}

func TestHashFullOwnerSpillsAndReturns(t *testing.T) {
	for _, m := range keyedMethods {
		spec := Spec{Method: m, Levels: []LevelSpec{newLevelSpec(1, 1, 1, 1)}}
		for i := range 4 {
			spec.Levels[0].Servers[i].MaxSessions = 1
		}
		c := New(spec, 0, nil)
		pick := func() Lease {
			lease, err := c.Pick(0, &Attempts{Key: 12345, Keyed: true})
			require.NoError(t, err)
			return lease
		}
		first, second := pick(), pick()
		require.NotEqual(t, first.Server(), second.Server())
		second.Done(0)
		again := pick()
		require.Equal(t, second.Server(), again.Server(), "the spill is as stable as the key")
		first.Done(0)
		back := pick()
		require.Equal(t, first.Server(), back.Server())
	}
}

func TestHashWithFewOfManyOpen(t *testing.T) {
	for _, m := range keyedMethods {
		c := newCluster(m, 3000)
		for i, s := range c.levels[0].slots {
			if i != 17 && i != 2000 {
				c.SetOverride(s.server.Name(), Override{State: pointerTo(Maint)}, 0)
			}
		}
		seen := map[string]int{}
		for _, a := range pickOwners(t, c, 2000) {
			seen[a]++
		}
		require.Len(t, seen, 2)
	}
}

func TestHashSlowStartReturnsKeysGradually(t *testing.T) {
	spec := Spec{Method: Hash, SlowStart: 100 * time.Second, Levels: []LevelSpec{newLevelSpec(1, 1)}}
	c := New(spec, 0, nil)
	full := pickOwners(t, c, 5000)
	a := c.Server("A").Address()
	c.SetCheck("A", "x", false, "", 0)
	c.SetCheck("A", "x", true, "", time.Second)
	had := map[int]bool{}
	last := 0
	for at := time.Second; at < 102*time.Second; at += 25 * time.Second {
		c.Tick(at)
		n := 0
		for i, owner := range pickOwners(t, c, 5000) {
			if owner == a {
				n++
				had[i] = true
				require.Equal(t, a, full[i], "only its own keys come to it")
			} else {
				require.False(t, had[i], "a key that came stays")
			}
		}
		require.Greater(t, n, last)
		last = n
	}
	c.Tick(102 * time.Second)
	require.Equal(t, full, pickOwners(t, c, 5000))
}

func TestHashDuplicateAddressIsShared(t *testing.T) {
	for _, m := range keyedMethods {
		spec := Spec{Method: m, Levels: []LevelSpec{newLevelSpec(1, 1)}}
		spec.Levels[0].Servers[1].Address = spec.Levels[0].Servers[0].Address
		got := countShares(t, New(spec, 0, nil), 10000)
		require.InDelta(t, 50, got["A"], 3)
	}
}
