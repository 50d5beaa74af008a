package checks

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

func TestRunnerContainsPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.Fall = 1
		job.Monitor = func(context.Context, Target) (Report, error) { panic("what now") }
		r.Update([]Job{job})
		time.Sleep(5 * time.Second)
		results := w.recorded()
		require.Len(t, results, 3)
		var p *PanicError
		require.ErrorAs(t, results[0].Err, &p)
		require.Contains(t, string(p.Stack), "TestRunnerContainsPanics")
		require.Equal(t, "monitor panicked: what now", results[0].Detail)
		require.Equal(t, Failed, results[0].State)
		require.Equal(t, uint64(3), r.Counters().Panics)
	})
}

func TestRunnerShortageIsNoVerdict(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, ErrShortage} {
		synctest.Test(t, func(t *testing.T) {
			w := newTestServers()
			r := NewRunner(Options{Result: w.result})
			defer r.Close()
			w.set("a", fmt.Errorf("connect: %w", err))
			job := w.job("a")
			job.Spec.Fall = 1
			r.Update([]Job{job})
			time.Sleep(time.Minute)
			require.Empty(t, w.recorded())
			c := r.Counters()
			require.Zero(t, c.Runs)
			require.Greater(t, c.Shortages, uint64(25))
			require.Less(t, c.Shortages, uint64(60), "it does not spin")
			times := w.times("a")
			require.LessOrEqual(t, times[1].Sub(times[0]), 100*time.Millisecond, "it is tried again soon")
			w.set("a", nil)
			time.Sleep(3 * time.Second)
			require.NotEmpty(t, w.recorded())
			require.Equal(t, Passed, w.recorded()[0].State)
		})
	}
}

func TestRunnerLimitsItsParallelChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestServers()
		w.duration = 300 * time.Millisecond
		r := NewRunner(Options{Result: w.result, Parallel: 7})
		var jobs []Job
		for i := range 40 {
			jobs = append(jobs, w.job(fmt.Sprint(i)))
		}
		r.Update(jobs)
		time.Sleep(200 * time.Millisecond)
		c := r.Counters()
		require.Equal(t, 7, c.Running)
		require.Equal(t, 33, c.Waiting)
		time.Sleep(10 * time.Second)
		for i := range 40 {
			require.Greater(t, len(w.times(fmt.Sprint(i))), 3, "every job has its turn")
		}
		r.Close()
		require.Equal(t, 7, w.maxRunning)
		require.False(t, w.overlap)
	})
}

func TestRunnerSpreadsManyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const servers, seconds = 500, 60
		var buckets [seconds * 100]atomic.Int32
		began := time.Now()
		monitor := func(context.Context, Target) (Report, error) {
			if i := int(time.Since(began) / (10 * time.Millisecond)); i < len(buckets) {
				buckets[i].Add(1)
			}
			return Report{}, nil
		}
		r := NewRunner(Options{})
		var jobs []Job
		for i := range servers {
			jobs = append(jobs, Job{
				Monitor: monitor,
				Target:  Target{Cluster: "c", Server: fmt.Sprint(i)},
				Spec:    conf.Check{ID: "tcp", Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
			})
		}
		r.Update(jobs)
		time.Sleep(seconds * time.Second)
		r.Close()
		sum, busiest := 0, 0
		for i := range buckets {
			sum += int(buckets[i].Load())
			busiest = max(busiest, int(buckets[i].Load()))
		}
		mean := float64(sum) / float64(len(buckets))
		t.Logf("busiest 10 ms: %d, mean %.1f", busiest, mean)
		require.LessOrEqual(t, float64(busiest), 5*mean)
	})
}
