package checks

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunnerStartsAtOnceThenWithinJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		began := time.Now()
		r.Update([]Job{w.job("a")})
		synctest.Wait()
		require.Equal(t, []time.Time{began}, w.times("a"))
		time.Sleep(10 * time.Minute)
		times := w.times("a")
		require.Greater(t, len(times), 295)
		var distinct = map[time.Duration]bool{}
		for i := 1; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			require.GreaterOrEqual(t, gap, 1750*time.Millisecond)
			require.LessOrEqual(t, gap, 2*time.Second)
			distinct[gap] = true
		}
		require.Greater(t, len(distinct), 100)
	})
}

func TestRunnerIntervalFollowsVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.FastInterval, job.Spec.DownInterval = 100*time.Millisecond, 10*time.Second
		w.set("a", errSick)
		r.Update([]Job{job})
		time.Sleep(time.Second)
		results := w.recorded()
		require.Len(t, results, 3, "two fast ones after the first, then down")
		for i, res := range results {
			require.Equal(t, i < 2, res.State == Passed)
			require.Equal(t, i == 2, res.Changed)
			require.Equal(t, i+1, res.Streak)
			require.ErrorIs(t, res.Err, errSick)
			require.Equal(t, "sick", res.Detail)
		}
		w.set("a", nil)
		time.Sleep(12 * time.Second)
		results = w.recorded()[3:]
		require.GreaterOrEqual(t, len(results), 2)
		require.Equal(t, Failed, results[0].State)
		require.Equal(t, Passed, results[1].State)
		require.True(t, results[1].Changed)
		require.Equal(t, "well", results[1].Detail)
		times := w.times("a")
		require.LessOrEqual(t, times[2].Sub(times[0]), 200*time.Millisecond)
		require.GreaterOrEqual(t, times[3].Sub(times[2]), 9*time.Second-maxSlack)
		require.LessOrEqual(t, times[4].Sub(times[3]), 100*time.Millisecond)
	})
}

func TestRunnerDetectsDownWithinFallIntervals(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newTestServers()
			r := NewRunner(Options{Result: w.result})
			defer r.Close()
			job := w.job("a")
			r.Update([]Job{job})
			time.Sleep(7 * time.Second)
			w.mu.Lock()
			w.duration = time.Hour // no reply from now on
			w.mu.Unlock()
			died := time.Now()
			time.Sleep(10 * time.Second)
			for _, res := range w.recorded() {
				if res.Changed {
					require.LessOrEqual(t, res.At.Sub(died), 3*job.Spec.Interval+job.Spec.Timeout)
					return
				}
			}
			t.Fatal("never found down")
		})
	}
}

func TestRunnerNeverOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.duration = 5 * time.Second
		r := NewRunner(Options{Result: w.result})
		job := w.job("a")
		job.Spec.Timeout = 10 * time.Second
		r.Update([]Job{job})
		time.Sleep(time.Minute)
		r.Recheck("c", "a")
		job.Spec.Fall = 9
		r.Update([]Job{job})
		time.Sleep(time.Minute)
		r.Close()
		require.False(t, w.overlap)
		require.InDelta(t, 24, len(w.times("a")), 3, "the next run follows the last one at once")
	})
}

func TestRunnerWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		var mu sync.Mutex
		states := map[string]State{}
		set := func(server string, s State) {
			mu.Lock()
			defer mu.Unlock()
			states[server] = s
		}
		r := NewRunner(Options{Result: w.result, State: func(_, server string) State {
			mu.Lock()
			defer mu.Unlock()
			return states[server]
		}})
		defer r.Close()
		ran := func(server string) int {
			before := len(w.times(server))
			time.Sleep(10 * time.Second)
			return len(w.times(server)) - before
		}
		up, down, list, agent := w.job("up"), w.job("down"), w.job("list"), w.job("agent")
		up.Spec.Servers, down.Spec.Servers = "up", "down"
		list.Spec.Servers, list.Spec.ServerNames = "list", []string{"x", "list"}
		other := w.job("other")
		other.Spec.Servers, other.Spec.ServerNames = "list", []string{"x"}
		agent.RunInMaint = true
		r.Update([]Job{up, down, list, other, agent})
		require.Positive(t, ran("up"))
		require.Zero(t, ran("down"))
		require.Positive(t, ran("list"))
		require.Zero(t, ran("other"))
		for _, server := range []string{"up", "down", "list"} {
			set(server, StateDown)
		}
		synctest.Wait()
		require.LessOrEqual(t, ran("up"), 1)
		require.Positive(t, ran("down"))
		for _, server := range []string{"up", "down", "list", "agent"} {
			set(server, StateMaint)
		}
		require.LessOrEqual(t, ran("list"), 1, "no checks in maintenance")
		require.Positive(t, ran("agent"), "but agents")

		// A check of servers that are up continues on a server that it has found down itself.
		set("up", StateUp)
		w.set("up", errSick)
		time.Sleep(10 * time.Second)
		v, _ := r.Verdict(key("up"))
		require.Equal(t, Failed, v.State)
		set("up", StateDown)
		w.set("up", nil)
		time.Sleep(10 * time.Second)
		v, _ = r.Verdict(key("up"))
		require.Equal(t, Passed, v.State)
	})
}

func TestRunnerRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.Interval = time.Minute
		r.Update([]Job{job})
		time.Sleep(10 * time.Second)
		r.Recheck("c", "a")
		r.Recheck("c", "unknown")
		synctest.Wait()
		require.Len(t, w.times("a"), 2)
		for range 100 {
			r.Recheck("c", "a")
			time.Sleep(50 * time.Millisecond)
		}
		require.Len(t, w.times("a"), 2, "doubts are not an attack on the server")
		time.Sleep(1100 * time.Millisecond)
		require.Len(t, w.times("a"), 3)
	})
}

// A recheck during a run causes another run, because the current one may have begun before the reason.
func TestRunnerRecheckDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		r := NewRunner(Options{})
		defer r.Close()
		job := newTestServers().job("a")
		job.Spec.Interval = time.Minute
		job.Monitor = func(context.Context, Target) (Report, error) {
			runs.Add(1)
			time.Sleep(500 * time.Millisecond)
			return Report{}, nil
		}
		r.Update([]Job{job})
		time.Sleep(100 * time.Millisecond)
		r.Recheck("c", "a")
		time.Sleep(7 * time.Second)
		require.EqualValues(t, 2, runs.Load())
		time.Sleep(40 * time.Second)
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestRunnerAdvisoryJobsMakeNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.set("a", errSick)
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Advisory = true
		r.Update([]Job{job})
		time.Sleep(20 * time.Second)
		require.NotEmpty(t, w.recorded())
		for _, res := range w.recorded() {
			require.Equal(t, Passed, res.State)
			require.False(t, res.Changed)
			require.ErrorIs(t, res.Err, errSick)
		}
	})
}
