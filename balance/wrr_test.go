package balance

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// pickSequence picks n times, ends each session at once, and returns the concatenated server names.
func pickSequence(t require.TestingT, c *Cluster, n int) string {
	var names strings.Builder
	for range n {
		lease, err := c.Pick(0, &Attempts{})
		require.NoError(t, err)
		names.WriteString(lease.Server().Name())
		lease.Done(0)
	}
	return names.String()
}

// newLevelSpec returns a level of servers named A, B, C … with the given weights.
func newLevelSpec(weights ...int) LevelSpec {
	var l LevelSpec
	for i, w := range weights {
		name := string(rune('A' + i))
		l.Servers = append(l.Servers, ServerSpec{Name: name, Address: "10.0.0." + name + ":6379", Weight: w})
	}
	return l
}

// newOneLevelCluster returns a cluster of one level.
func newOneLevelCluster(m Method, weights ...int) *Cluster {
	return New(Spec{Name: "c", Method: m, Levels: []LevelSpec{newLevelSpec(weights...)}}, 1, nil)
}

// pointerTo returns a pointer to a value.
func pointerTo[T any](v T) *T { return &v }

func TestWrrSequences(t *testing.T) {
	for _, test := range []struct {
		method  Method
		weights []int
		n       int
		want    string
	}{
		{Wrr, []int{1, 4}, 15, "BBABBBBABBBBABB"},
		{Wrr, []int{5, 1, 1}, 14, "AABACAAAABACAA"},
		{Wrr, []int{3, 2, 1}, 12, "ABACBAABACBA"},
		{Wrr, []int{1, 4, 3, 0, 6}, 28, "EBCEBEACEBECBEEBCEBEACEBECBE"},
		{Wrr, []int{1, 1, 1}, 6, "ABCABC"},
		{Wrr, []int{0, 0, 0}, 6, "ABCABC"},
		{Wrr, []int{0, 1, 0}, 3, "BBB"},
		{Wrr, []int{256}, 3, "AAA"},
		{Rr, []int{5, 1, 1}, 6, "ABCABC"},
		{Rr, []int{5, 0, 1}, 4, "ACAC"},
		{First, []int{1, 9, 9}, 3, "AAA"},
		{LeastSessions, []int{1, 2}, 6, "BABBAB"},
		{Hash, []int{1, 4}, 5, "BBABB"},   // no key
		{Maglev, []int{1, 4}, 5, "BBABB"}, // no key
	} {
		require.Equal(t, test.want, pickSequence(t, newOneLevelCluster(test.method, test.weights...), test.n), "%v %v", test.method, test.weights)
	}
}

func TestWrrHeavyServerDown(t *testing.T) {
	for _, test := range []struct {
		weights []int
		want    string
	}{{[]int{3, 1}, "BBBBBB"}, {[]int{10, 1, 1}, "BCBCBC"}, {[]int{9999, 1}, "BBBBBB"}} {
		c := newOneLevelCluster(Wrr, test.weights...)
		c.SetCheck("A", "tcp", false, "refused", 0)
		require.Equal(t, test.want, pickSequence(t, c, 6))
	}
}

func TestWrrCounterOfIneligibleServerIsFrozen(t *testing.T) {
	c := newOneLevelCluster(Wrr, 1, 4)
	require.Equal(t, "BB", pickSequence(t, c, 2))
	c.SetOverride("B", Override{State: pointerTo(Drain)}, 0)
	require.Equal(t, "AAA", pickSequence(t, c, 3))
	c.SetOverride("B", Override{}, 0)
	require.Equal(t, "ABBBBABB", pickSequence(t, c, 8), "it goes on where it was")
}

func TestWrrWeightZeroServesOnlyAlone(t *testing.T) {
	c := newOneLevelCluster(Wrr, 0, 2, 0)
	require.Equal(t, "BBBB", pickSequence(t, c, 4))
	c.SetCheck("B", "tcp", false, "", 0)
	require.Equal(t, "ACAC", pickSequence(t, c, 4))
	c.SetCheck("B", "tcp", true, "", 0)
	require.Equal(t, "BB", pickSequence(t, c, 2))
}

func TestWrrFailureHalvesAndRegainsOnePerPick(t *testing.T) {
	c := newOneLevelCluster(Wrr, 10, 10)
	weight := func() float64 { return c.Snapshot(0).Levels[0].Servers[0].EffectiveWeight }
	a, _ := c.Pick(0, &Attempts{})
	require.Equal(t, "A", a.Server().Name())
	a.Fail(0, "refused")
	require.Equal(t, 5.0, weight())
	for want := 6.0; want <= 10; want++ {
		pickSequence(t, c, 1)
		require.Equal(t, want, weight())
	}
	pickSequence(t, c, 3)
	require.Equal(t, 10.0, weight())
	// 10 → 5 → 3 → 2 → 1 → 1, rounded up.
	for _, want := range []float64{5, 3, 2, 1, 1} {
		c.levels[0].backOff(0)
		require.Equal(t, want, weight())
	}
	// While it is ineligible it regains nothing.
	c.SetOverride("A", Override{State: pointerTo(Drain)}, 0)
	pickSequence(t, c, 5)
	c.SetOverride("A", Override{}, 0)
	require.Equal(t, 1.0, weight())
}

func TestWrrRecoveredServerTakesItsShare(t *testing.T) {
	c := New(Spec{Levels: []LevelSpec{{Servers: []ServerSpec{
		{Name: "A", Weight: 1, MaxFails: 3, FailTimeout: 10 * time.Second},
		{Name: "B", Weight: 1, MaxFails: 3, FailTimeout: 10 * time.Second},
	}}}}, 0, nil)
	dial := func(now time.Duration, dead string) string {
		var attempts Attempts
		for {
			lease, err := c.Pick(now, &attempts)
			require.NoError(t, err)
			if name := lease.Server().Name(); name != dead {
				lease.Established(now, time.Millisecond)
				lease.Done(now)
				return name
			}
			lease.Fail(now, "refused")
		}
	}
	for i := range 30 {
		require.Equal(t, "B", dial(time.Duration(i), "A"))
	}
	served := map[string]int{}
	for i := range 30 {
		served[dial(11*time.Second+time.Duration(i), "")]++
	}
	require.Equal(t, map[string]int{"A": 15, "B": 15}, served)
}

func TestWrrReweighingDoesNotBurst(t *testing.T) {
	c := newOneLevelCluster(Wrr, 100, 100, 1, 1)
	pickSequence(t, c, 150)
	c.SetOverride("A", Override{Weight: pointerTo(1)}, 0)
	c.SetOverride("B", Override{Weight: pointerTo(1)}, 0)
	names := pickSequence(t, c, 40)
	for _, burst := range []string{"AAA", "BBB", "CCC", "DDD"} {
		require.NotContains(t, names, burst)
	}
	c.SetOverride("A", Override{Weight: pointerTo(3)}, 0)
	names = pickSequence(t, c, 6000)
	require.InDelta(t, 3000, strings.Count(names, "A"), 2)
	require.InDelta(t, 1000, strings.Count(names, "D"), 2)
}

// walkingWrr is the reference implementation of smooth weighted round robin among the slots with the least load per step.
type walkingWrr struct{ now, step, load []int64 }

func (w *walkingWrr) next() int {
	first := -1
	for i, s := range w.step {
		if s > 0 && (first < 0 || w.load[i]*w.step[first] < w.load[first]*s) {
			first = i
		}
	}
	best, total := -1, int64(0)
	for i, s := range w.step {
		if s == 0 || w.load[i]*w.step[first] != w.load[first]*s {
			continue
		}
		w.now[i] += s
		total += s
		if best < 0 || w.now[i] > w.now[best] {
			best = i
		}
	}
	w.now[best] -= total
	return best
}

// While slots open, close and change step and load, the heaps pick the same slot as a walk over all counters.
func TestWrrHeapPicksSameAsWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "slots")
		loads := rapid.Int64Range(0, 5).Draw(t, "loads")
		heaps, walk := newWrrState(n), &walkingWrr{make([]int64, n), make([]int64, n), make([]int64, n)}
		open := 0
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "slot")
				step := rapid.SampledFrom([]int64{0, 0, 1, 2, 3, 100, 256}).Draw(t, "step")
				load := rapid.Int64Range(0, loads).Draw(t, "load")
				open += count(step > 0) - count(walk.step[i] > 0)
				heaps.set(i, step, load)
				walk.step[i], walk.load[i] = step, load
			},
			"next": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "picks") {
					if open > 0 {
						require.Equal(t, walk.next(), heaps.next())
					}
				}
			},
			"pick and hold": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "picks") {
					if open > 0 && loads > 0 {
						i := walk.next()
						require.Equal(t, i, heaps.next())
						walk.load[i]++
						heaps.set(i, walk.step[i], walk.load[i])
					}
				}
			},
			"rebase": func(t *rapid.T) {
				by := rapid.SampledFrom([]float64{1, 0.3, 4}).Draw(t, "by")
				heaps.rebase(by)
				for i := range walk.now {
					walk.now[i] = int64(float64(walk.now[i]) * by)
				}
			},
			"": func(t *rapid.T) {
				members, keys := 0, map[wrrKey]bool{}
				for i, s := range walk.step {
					require.Equal(t, walk.now[i], heaps.count(i))
					if s > 0 {
						keys[wrrKey{s, walk.load[i]}] = true
					}
				}
				for _, g := range heaps.groups {
					members += len(g.members.list)
				}
				require.Equal(t, open, members)
				require.Len(t, heaps.byKey, len(keys))
				require.Len(t, heaps.least.list, len(keys))
				require.Len(t, heaps.free, len(heaps.groups)-len(keys))
			},
		})
	})
}

// After any sequence of changes, every open server of a level is picked within a bounded number of picks.
func TestWrrStarvesNoServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 8).Draw(t, "weights")
		m := rapid.SampledFrom([]Method{Wrr, Rr, LeastSessions}).Draw(t, "method")
		c := newOneLevelCluster(m, weights...)
		for range rapid.IntRange(0, 30).Draw(t, "disturbances") {
			i := rapid.IntRange(0, len(weights)-1).Draw(t, "server")
			name := string(rune('A' + i))
			c.SetOverride(name, Override{State: pointerTo(AdminState(rapid.IntRange(0, 1).Draw(t, "state"))), Weight: pointerTo(rapid.IntRange(1, 20).Draw(t, "weight"))}, 0)
			for range rapid.IntRange(0, 30).Draw(t, "picks") {
				if lease, err := c.Pick(0, &Attempts{}); err == nil {
					lease.Done(0)
				}
			}
		}
		sum := 0
		for i, weight := range weights {
			c.SetOverride(string(rune('A'+i)), Override{}, 0)
			sum += weight
		}
		pickSequence(t, c, 50*sum) // use up credits
		got := map[string]int{}
		for range 10 * sum {
			lease := pick(t, c, 0)
			got[lease.Server().Name()]++
			lease.Done(0)
		}
		for i, weight := range weights {
			want := 10 * weight
			if m == Rr {
				want = 10 * sum / len(weights)
			}
			require.InDelta(t, want, got[string(rune('A'+i))], 1, "%v", weights)
		}
	})
}
