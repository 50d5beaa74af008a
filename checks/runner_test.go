package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

var errSick = errors.New("sick")

// ward is a set of servers for a runner, with a log of when each was tested and what came of it.
type ward struct {
	mu      sync.Mutex
	errs    map[string]error // by server: what its next checks come to
	took    time.Duration    // how long each check takes
	started map[string][]time.Time
	running map[string]int
	overlap bool
	most    int // most checks running at the same time
	results []Result
}

func newWard() *ward {
	return &ward{errs: map[string]error{}, started: map[string][]time.Time{}, running: map[string]int{}}
}

func (w *ward) monitor(ctx context.Context, t Target) (Report, error) {
	w.mu.Lock()
	w.started[t.Server] = append(w.started[t.Server], time.Now())
	w.running[t.Server]++
	w.overlap = w.overlap || w.running[t.Server] > 1
	all := 0
	for _, n := range w.running {
		all += n
	}
	w.most = max(w.most, all)
	err, took := w.errs[t.Server], w.took
	w.mu.Unlock()
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	w.mu.Lock()
	w.running[t.Server]--
	w.mu.Unlock()
	return Report{Detail: "well"}, err
}

func (w *ward) result(r Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
}

func (w *ward) set(server string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs[server] = err
}

func (w *ward) times(server string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.started[server]...)
}

func (w *ward) seen() []Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Result(nil), w.results...)
}

func (w *ward) job(server string) Job {
	return Job{
		Monitor: w.monitor, Identity: server,
		Target: Target{Cluster: "c", Server: server, Address: server},
		Spec:   conf.Check{ID: "tcp", Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
	}
}

func key(server string) Key { return Key{"c", server, "tcp"} }

func TestRunnerChecksAtOnceAndThenWithinItsJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
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
			require.GreaterOrEqual(t, gap, 1800*time.Millisecond-slack)
			require.LessOrEqual(t, gap, 2*time.Second)
			distinct[gap] = true
		}
		require.Greater(t, len(distinct), 100)
	})
}

func TestRunnerVerdictAndItsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.FastInterval, job.Spec.DownInterval = 100*time.Millisecond, 10*time.Second
		w.set("a", errSick)
		r.Update([]Job{job})
		time.Sleep(time.Second)
		results := w.seen()
		require.Len(t, results, 3, "two fast ones after the first, then down")
		for i, res := range results {
			require.Equal(t, i < 2, res.Up)
			require.Equal(t, i == 2, res.Changed)
			require.Equal(t, i+1, res.Streak)
			require.ErrorIs(t, res.Err, errSick)
			require.Equal(t, "sick", res.Detail)
		}
		w.set("a", nil)
		time.Sleep(12 * time.Second)
		results = w.seen()[3:]
		require.GreaterOrEqual(t, len(results), 2)
		require.False(t, results[0].Up)
		require.True(t, results[1].Up)
		require.True(t, results[1].Changed)
		require.Equal(t, "well", results[1].Detail)
		times := w.times("a")
		require.LessOrEqual(t, times[2].Sub(times[0]), 200*time.Millisecond)
		require.GreaterOrEqual(t, times[3].Sub(times[2]), 9*time.Second-slack)
		require.LessOrEqual(t, times[4].Sub(times[3]), 100*time.Millisecond)
	})
}

func TestRunnerFindsADeadServerInTime(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newWard()
			r := NewRunner(Options{Result: w.result})
			defer r.Close()
			job := w.job("a")
			r.Update([]Job{job})
			time.Sleep(7 * time.Second)
			w.mu.Lock()
			w.took = time.Hour // silent from now on
			w.mu.Unlock()
			died := time.Now()
			time.Sleep(10 * time.Second)
			for _, res := range w.seen() {
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
		w := newWard()
		w.took = 5 * time.Second
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

func TestRunnerUpdateKeepsWhatIsUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
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
		require.True(t, v.Down)

		changed := w.job("a")
		changed.Spec.Interval = time.Minute
		before = len(w.times("a"))
		r.Update([]Job{changed})
		synctest.Wait()
		require.Len(t, w.times("a"), before+1, "a changed one starts again at once")
		v, _ = r.Verdict(key("a"))
		require.True(t, v.Down, "but keeps its verdict")
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
		require.False(t, v.Down, "a server with another address is judged afresh")
	})
}

func TestRunnerResolvedAddressKeepsTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		r := NewRunner(Options{})
		defer r.Close()
		w.set("a", errSick)
		job := w.job("a")
		job.Down = true
		r.Update([]Job{job})
		job.Target.Address, job.Down = "10.0.0.9:1", false
		r.Update([]Job{job})
		v, _ := r.Verdict(key("a"))
		require.True(t, v.Down)
	})
}

func TestRunnerCallsOffWhatIsNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.took = 500 * time.Millisecond
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		r.Update([]Job{w.job("a"), w.job("b")})
		time.Sleep(10 * time.Millisecond)
		b := w.job("b")
		b.Target.Address = "elsewhere"
		r.Update([]Job{b})
		synctest.Wait()
		require.Empty(t, w.seen(), "neither a's result nor that of b's old address counts")
		time.Sleep(time.Second)
		require.Len(t, w.seen(), 1)
		require.Equal(t, "elsewhere", w.seen()[0].Target.Address)
		require.Equal(t, uint64(2), r.Counters().Discarded)
		require.False(t, w.overlap)
	})
}

func TestRunnerContainsPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.Fall = 1
		job.Monitor = func(context.Context, Target) (Report, error) { panic("what now") }
		r.Update([]Job{job})
		time.Sleep(5 * time.Second)
		results := w.seen()
		require.Len(t, results, 3)
		var p *PanicError
		require.ErrorAs(t, results[0].Err, &p)
		require.Contains(t, string(p.Stack), "runner_test.go")
		require.Equal(t, "monitor panicked: what now", results[0].Detail)
		require.False(t, results[0].Up)
		require.Equal(t, uint64(3), r.Counters().Panics)
	})
}

func TestRunnerShortageIsNoVerdict(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, ErrShortage} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard()
			r := NewRunner(Options{Result: w.result})
			defer r.Close()
			w.set("a", fmt.Errorf("connect: %w", err))
			job := w.job("a")
			job.Spec.Fall = 1
			r.Update([]Job{job})
			time.Sleep(time.Minute)
			require.Empty(t, w.seen())
			c := r.Counters()
			require.Zero(t, c.Runs)
			require.Greater(t, c.Shortages, uint64(25))
			require.Less(t, c.Shortages, uint64(60), "it does not spin")
			times := w.times("a")
			require.LessOrEqual(t, times[1].Sub(times[0]), 100*time.Millisecond, "it is tried again soon")
			w.set("a", nil)
			time.Sleep(3 * time.Second)
			require.NotEmpty(t, w.seen())
			require.True(t, w.seen()[0].Up)
		})
	}
}

func TestRunnerLimitsItsParallelChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.took = 300 * time.Millisecond
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
		require.Equal(t, 7, w.most)
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

func TestRunnerWatchesOnlyTheServersItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
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
		up.Spec.Watch, down.Spec.Watch = "up", "down"
		list.Spec.Watch, list.Spec.WatchNames = "list", []string{"x", "list"}
		other := w.job("other")
		other.Spec.Watch, other.Spec.WatchNames = "list", []string{"x"}
		agent.Always = true
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

		// A check of servers that are up goes on where it is the one that found the server down.
		set("up", StateUp)
		w.set("up", errSick)
		time.Sleep(10 * time.Second)
		v, _ := r.Verdict(key("up"))
		require.True(t, v.Down)
		set("up", StateDown)
		w.set("up", nil)
		time.Sleep(10 * time.Second)
		v, _ = r.Verdict(key("up"))
		require.False(t, v.Down)
	})
}

func TestRunnerRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Spec.Interval = time.Minute
		r.Update([]Job{job})
		time.Sleep(10 * time.Second)
		r.Recheck("c", "a")
		r.Recheck("c", "nobody")
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

func TestRunnerAdvisoryJobsMakeNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.set("a", errSick)
		r := NewRunner(Options{Result: w.result})
		defer r.Close()
		job := w.job("a")
		job.Advisory = true
		r.Update([]Job{job})
		time.Sleep(20 * time.Second)
		require.NotEmpty(t, w.seen())
		for _, res := range w.seen() {
			require.True(t, res.Up)
			require.False(t, res.Changed)
			require.ErrorIs(t, res.Err, errSick)
		}
	})
}

func TestRunnerCloseWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.took = time.Hour
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
		require.Empty(t, w.seen())
		r.Update([]Job{job})
		synctest.Wait()
		require.Len(t, w.times("a"), 1, "a closed runner stays closed")
	})
}

func TestRunnerUpdatesWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.took = 3 * time.Millisecond
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
		require.NotEmpty(t, w.seen())
	})
}
