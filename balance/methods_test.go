package balance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// countShares picks n times and returns each server's share, in percent.
func countShares(t require.TestingT, c *Cluster, n int) map[string]float64 {
	got := map[string]float64{}
	for i := range n {
		lease, err := c.Pick(0, &Attempts{Key: splitMix64(uint64(i)), Keyed: true})
		require.NoError(t, err)
		got[lease.Server().Name()] += 100 / float64(n)
		lease.Done(0)
	}
	return got
}

func TestEveryMethodHasAName(t *testing.T) {
	for m := range methods {
		got, ok := ParseMethod(m.String())
		require.True(t, ok)
		require.Equal(t, m, got)
		require.NotPanics(t, func() { pickSequence(t, newOneLevelCluster(m, 1, 2, 3), 10) })
	}
	_, ok := ParseMethod("unknown")
	require.False(t, ok)
}

func TestEveryMethodReturnsNoneWhenEveryServerIsAvoided(t *testing.T) {
	for m := range methods {
		c := newOneLevelCluster(m, 1, 2, 0)
		attempts := Attempts{Key: 7, Keyed: true}
		for range 3 {
			_, err := c.Pick(0, &attempts)
			require.NoError(t, err)
		}
		_, err := c.Pick(0, &attempts)
		require.ErrorIs(t, err, ErrNoAttemptsLeft, "%v", m)
		for _, name := range []string{"A", "B", "C"} {
			c.SetOverride(name, Override{State: pointerTo(Maint)}, 0)
		}
		_, err = c.Pick(0, &Attempts{Key: 7, Keyed: true})
		require.ErrorIs(t, err, ErrNoServer, "%v", m)
	}
}

func TestLeastSessionsSharesIdleServersAndAvoidsBusyOnes(t *testing.T) {
	c := newOneLevelCluster(LeastSessions, 1, 1)
	require.Equal(t, "ABABABABAB", pickSequence(t, c, 10))
	held, err := c.Pick(0, &Attempts{})
	require.NoError(t, err)
	require.Equal(t, "A", held.Server().Name())
	require.Equal(t, "BBBBBBBBBB", pickSequence(t, c, 10))
}

func TestLeastSessionsFillsByWeight(t *testing.T) {
	c := newOneLevelCluster(LeastSessions, 1, 2, 5)
	for range 800 {
		_, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
	}
	for i, want := range []int{100, 200, 500} {
		require.Equal(t, want, c.Snapshot(0).Levels[0].Servers[i].Sessions)
	}
}

func TestRandomSharesByWeight(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1, 1, 0}, {1, 2, 5, 0, 8}} {
		c := newOneLevelCluster(Random, weights...)
		c.SetCheck("D", "tcp", false, "", 0)
		sum := 0
		for i, w := range weights {
			if i != 3 {
				sum += w
			}
		}
		got := countShares(t, c, 100000)
		require.Zero(t, got["D"], "a server that is down is never picked")
		for i, w := range weights {
			if name := string(rune('A' + i)); name != "D" {
				require.InDelta(t, 100*float64(w)/float64(sum), got[name], 0.7)
			}
		}
	}
}

func TestRandomAvoidsTheBusierOfTwo(t *testing.T) {
	c := newOneLevelCluster(Random, 1, 1)
	for range 1000 {
		_, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
	}
	require.Equal(t, 500, c.Server("A").Sessions())
}

func TestFirstFillsOneServerAfterAnother(t *testing.T) {
	spec := Spec{Method: First, Levels: []LevelSpec{newLevelSpec(1, 1, 1)}}
	for i := range 3 {
		spec.Levels[0].Servers[i].MaxSessions = 2
	}
	c := New(spec, 0, nil)
	names := ""
	for range 5 {
		lease, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
		names += lease.Server().Name()
	}
	require.Equal(t, "AABBC", names)
}

func TestLeastTimePrefersFastAndRetriesSlow(t *testing.T) {
	c := newOneLevelCluster(LeastTime, 1, 1)
	now := time.Duration(0)
	serve := func(n int, took map[string]time.Duration) map[string]int {
		got := map[string]int{}
		for range n {
			now += time.Millisecond
			lease, err := c.Pick(now, &Attempts{})
			require.NoError(t, err)
			name := lease.Server().Name()
			got[name]++
			lease.Established(now, took[name])
			lease.Done(now)
		}
		return got
	}
	got := serve(100, map[string]time.Duration{"A": 50 * time.Millisecond, "B": time.Millisecond})
	require.Less(t, got["A"], 3)
	now += 2 * time.Minute
	got = serve(100, map[string]time.Duration{"A": time.Millisecond, "B": 4 * time.Millisecond})
	require.Greater(t, got["A"], 90, "the one that was slow once is asked again")
}

func TestLeastTimeWeighsSessionsAndWeight(t *testing.T) {
	c := newOneLevelCluster(LeastTime, 1, 3)
	for _, s := range c.servers {
		s.times.connect.add(0, time.Millisecond)
		s.publishTimes()
	}
	for range 400 {
		_, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
	}
	require.Equal(t, 100, c.Server("A").Sessions())
}

// The Fenwick tree finds the same slot as a walk over the steps.
func TestTreeFindsSlotByCumulativeSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Int64Range(0, 5), 1, 70).Draw(t, "steps")
		tree := newTree(len(steps))
		for i, s := range steps {
			tree.set(i, 9)
			tree.set(i, s)
		}
		x := int64(0)
		for i, s := range steps {
			for range s {
				require.Equal(t, i, tree.find(x))
				x++
			}
		}
	})
}

// Each part of the set gives one member, and every member has its turn.
func TestSpreadOfMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 400).Draw(t, "size")
		set := newBitset(size)
		var members []int32
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, size-1), 1, size, rapid.ID).Draw(t, "members") {
			set.set(i, true)
		}
		for i := range size {
			if set.has(i) {
				members = append(members, int32(i))
			}
		}
		most := rapid.IntRange(1, 70).Draw(t, "most")
		seen := map[int32]bool{}
		for turn := range (len(members) + most - 1) / most {
			got := set.spread(nil, most, turn)
			require.Len(t, got, min(most, len(members)))
			for k, i := range got {
				from, to := k*len(members)/len(got), (k+1)*len(members)/len(got)
				require.Contains(t, members[from:to], i)
				seen[i] = true
			}
		}
		require.Len(t, seen, len(members))
	})
}

// With more servers than a pick compares, the slow ones still get few sessions, and all fast ones get their share.
func TestLeastTimeAmongManyServers(t *testing.T) {
	const servers, slow = 1000, 300
	c := newCluster(LeastTime, servers)
	now := time.Duration(0)
	type session struct {
		lease Lease
		took  time.Duration
	}
	var running []session
	got := map[string]int{}
	for i := range 60_000 {
		now += 10 * time.Microsecond
		lease, err := c.Pick(now, &Attempts{})
		require.NoError(t, err)
		s := session{lease, time.Millisecond}
		if index := c.levels[0].indexOf(t, lease.Server()); index >= servers-slow {
			s.took = 30 * time.Millisecond
		}
		lease.Established(now, s.took/10)
		if i >= 20_000 {
			got[lease.Server().Name()]++
		}
		running = append(running, s)
		if len(running) > 200 {
			lease := running[0].lease
			lease.Answered(now, running[0].took)
			lease.Done(now)
			running = running[1:]
		}
	}
	toSlow := 0
	for i, s := range c.levels[0].slots {
		n := got[s.server.Name()]
		if i >= servers-slow {
			toSlow += n
		} else {
			require.InDelta(t, 40_000*s.weight/1750, n, float64(40*s.weight), "%d", i)
		}
	}
	require.Less(t, toSlow, 400, "one in a hundred")
}

func (l *level) indexOf(t *testing.T, s *Server) int {
	p := s.placementIn(l)
	require.NotNil(t, p.level)
	return p.slot
}
