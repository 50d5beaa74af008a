package checks

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunnerUpdateKeepsUnchangedJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		w.set("a", errSick)
		r.Update([]Job{w.job("a"), w.job("b")})
		time.Sleep(3 * time.Second)
		v, ok := r.Verdict(key("a"))
		require.True(t, ok)
		require.Equal(t, Verdict{Streak: 2}, v)
		before := len(w.times("a"))

		r.Update([]Job{w.job("b"), w.job("a"), w.job("d")})
		synctest.Wait()
		require.Len(t, w.times("a"), before, "an unchanged job keeps its phase")
		require.Len(t, w.times("d"), 1)
		v, _ = r.Verdict(key("a"))
		require.Equal(t, Verdict{Streak: 2}, v, "and its counters")
		time.Sleep(2 * time.Second)
		v, _ = r.Verdict(key("a"))
		require.Equal(t, Failed, v.State)

		changed := w.job("a")
		changed.Spec.Interval = time.Minute
		before = len(w.times("a"))
		r.Update([]Job{changed})
		synctest.Wait()
		require.Len(t, w.times("a"), before+1, "a changed one starts again at once")
		v, _ = r.Verdict(key("a"))
		require.Equal(t, Failed, v.State, "but keeps its verdict")
		_, ok = r.Verdict(key("b"))
		require.False(t, ok)
		b := len(w.times("b"))
		time.Sleep(time.Minute)
		require.Len(t, w.times("b"), b, "a removed one ends")

		elsewhere := changed
		elsewhere.Target.Address, elsewhere.Identity = "a2", "a2"
		w.set("a", nil)
		r.Update([]Job{elsewhere})
		v, _ = r.Verdict(key("a"))
		require.Equal(t, Passed, v.State, "a server with another address starts with a new verdict")
	})
}

func TestRunnerResolvedAddressKeepsTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{})
		defer r.Close()
		w.set("a", errSick)
		job := w.job("a")
		job.InitialVerdict.State = Failed
		r.Update([]Job{job})
		job.Target.Address, job.InitialVerdict.State = "10.0.0.9:1", Passed
		r.Update([]Job{job})
		v, _ := r.Verdict(key("a"))
		require.Equal(t, Failed, v.State)
	})
}

func TestRunnerCancelsRunsOfChangedJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.duration = 500 * time.Millisecond
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		r.Update([]Job{w.job("a"), w.job("b")})
		time.Sleep(10 * time.Millisecond)
		b := w.job("b")
		b.Target.Address = "elsewhere"
		r.Update([]Job{b})
		synctest.Wait()
		require.Empty(t, w.recorded(), "neither a's result nor that of b's old address counts")
		time.Sleep(time.Second)
		require.Len(t, w.recorded(), 1)
		require.Equal(t, "elsewhere", w.recorded()[0].Target.Address)
		require.Equal(t, uint64(2), r.Counters().Discarded)
		require.False(t, w.overlap)
	})
}

func TestRunnerReaddedJobDoesNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		stubborn := func(_ context.Context, target Target) (Report, error) { // ignores its context
			return w.monitor(context.Background(), target)
		}
		w.duration = 10 * time.Second
		r := NewRunner(Options{Result: w.result})
		t.Cleanup(r.Close)
		job := w.job("a")
		job.Monitor, job.InitialVerdict.State = stubborn, Failed
		r.Update([]Job{job})
		synctest.Wait()
		for range 3 {
			r.Update(nil)
			r.Update([]Job{job})
			time.Sleep(time.Second)
		}
		require.Len(t, w.times("a"), 1)
		time.Sleep(8 * time.Second)
		require.Len(t, w.times("a"), 2)
		r.Update(nil)
		time.Sleep(20 * time.Second)
		require.Len(t, w.times("a"), 2)
		require.Empty(t, w.recorded())
		require.False(t, w.overlap)
		r.mu.Lock()
		defer r.mu.Unlock()
		require.Empty(t, r.removed)
	})
}

func TestRunnerCloseWaitsForRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.duration = time.Hour
		r := NewRunner(Options{Result: w.result})
		job := w.job("a")
		job.Spec.Timeout = time.Hour
		r.Update([]Job{job})
		synctest.Wait()
		require.Equal(t, 1, r.Counters().Running)
		began := time.Now()
		r.Close()
		r.Close()
		require.Zero(t, time.Since(began), "a run is called off")
		require.Zero(t, w.running["a"])
		require.Empty(t, w.recorded())
		r.Update([]Job{job})
		synctest.Wait()
		require.Len(t, w.times("a"), 1, "a closed runner stays closed")
	})
}

func TestRunnerConcurrentUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.duration = 3 * time.Millisecond
		var r *Runner
		r = NewRunner(Options{Parallel: 5, Result: func(res Result) {
			w.result(res)
			r.Recheck(res.Cluster, res.Server)
		}})
		for round := range 200 {
			var jobs []Job
			for i := range 30 {
				if (i+round)%7 == 0 {
					continue
				}
				job := w.job(fmt.Sprint(i))
				job.Spec.Interval = 10 * time.Millisecond
				job.Spec.Fall = 1 + (round+i)%3
				jobs = append(jobs, job)
			}
			r.Update(jobs)
			time.Sleep(7 * time.Millisecond)
		}
		r.Close()
		require.NotEmpty(t, w.recorded())
	})
}
