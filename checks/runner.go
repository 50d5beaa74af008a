package checks

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Options are what a runner needs from outside. The zero value works.
type Options struct {
	// Result is given every result, the results of one job in order, from several goroutines at a time. It must not
	// call Close. Local shortages are not results. nil = nobody listens.
	Result func(Result)

	// State tells a server's current state before a job runs. It must not call the runner. nil = every server is up.
	State func(cluster, server string) State

	// Parallel is how many monitors may run at the same time; the others wait. 0 = 4,096.
	Parallel int
}

// Result is what one run of a job came to.
type Result struct {
	Cluster, Server, Check string
	Target                 Target // what was tested

	Up      bool          // the verdict after this result
	Changed bool          // the verdict is not what it was before
	Streak  int           // results in a row, this one included, that speak against the verdict
	Pass    bool          // this run alone
	Detail  string        // the monitor's detail, or the error's text: one line for people
	Err     error         // nil if the server passed
	Report  Report        // what the monitor reported
	Took    time.Duration // how long the monitor ran
	At      time.Time     // when it ended
}

// Counters are what a runner has done since it was made.
type Counters struct {
	Runs      uint64 // results, passes and failures
	Failures  uint64 // results that were failures
	Shortages uint64 // runs without a result because this host was short of something
	Panics    uint64 // failures that were panics of a monitor
	Discarded uint64 // runs whose job had changed or gone when they ended

	Jobs    int // now
	Running int // monitors running now
	Waiting int // jobs that are due and wait for one of the Parallel places
}

// Runner runs jobs at their times. One goroutine keeps the schedule; monitors run in goroutines that end when there is
// nothing for them to do. A job never overlaps with itself.
type Runner struct {
	// Immutable.
	opts    Options
	ctx     context.Context // the ancestor of every run's
	cancel  context.CancelFunc
	wake    chan struct{} // tells the scheduler that the schedule's first entry has changed; holds one
	running sync.WaitGroup

	mu          sync.Mutex // guards what follows
	tasks       map[Key]*task
	servers     map[serverKey][]*task
	removed     map[Key]*task // removed, while their last run goes on
	schedule    schedule
	ready       []*task   // watches and waiting for a worker, in order
	idle        sync.Cond // workers waiting for a ready task
	idleWorkers int       // how many those are
	workers     int       // all workers
	closed      bool
	counters    Counters
}

// serverKey names what several jobs may test.
type serverKey struct{ cluster, name string }

// NewRunner starts a runner without jobs. Close ends it.
func NewRunner(opts Options) *Runner {
	if opts.Parallel <= 0 {
		opts.Parallel = 4096
	}
	r := &Runner{opts: opts, wake: make(chan struct{}, 1), tasks: make(map[Key]*task), removed: make(map[Key]*task)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.idle.L = &r.mu
	r.running.Go(r.runScheduler)
	return r
}

// Update makes jobs the runner's jobs. Those that are new or have changed run at once, many of them one shortly after
// the other; those that are unchanged keep verdict, counters and phase, and take over their new Monitor; those that are
// not among jobs end, and a run of theirs that is in progress is called off. Of several with one key the last counts. A
// result that is on its way to Options.Result when Update is called may arrive after Update has returned.
func (r *Runner) Update(jobs []Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	keep := make(map[Key]*task, len(jobs))
	var begin []*task
	for i := range jobs {
		job := &jobs[i]
		key := job.key()
		if t, again := keep[key]; again {
			t.job = *job
			continue
		}
		t, known := r.tasks[key]
		switch {
		case !known && r.removed[key] != nil: // it is back before its last run, called off, has ended
			t = r.removed[key]
			delete(r.removed, key)
			t.job, t.verdict, t.shortages, t.removed = *job, job.InitialVerdict, 0, false
			begin = append(begin, t)
		case !known:
			t = &task{key: key, job: *job, verdict: job.InitialVerdict, index: -1}
			begin = append(begin, t)
		case t.job.equal(job):
			t.job.Monitor = job.Monitor
		default:
			if t.job.Identity != job.Identity {
				t.verdict = Verdict{}
			}
			t.verdict.Streak = 0
			t.shortages = 0
			t.job = *job
			r.cancelRun(t)
			begin = append(begin, t)
		}
		keep[key] = t
	}
	for key, t := range r.tasks {
		if keep[key] != t {
			t.removed = true
			r.cancelRun(t)
			r.schedule.drop(t)
			if t.running {
				r.removed[key] = t
			}
		}
	}
	r.tasks = keep
	r.servers = make(map[serverKey][]*task)
	for key, t := range keep {
		s := serverKey{key.Cluster, key.Server}
		r.servers[s] = append(r.servers[s], t)
	}
	r.stagger(begin)
}

// cancelRun ends the run that a task is in, if it is in one, and sees to it that its result does not count.
func (r *Runner) cancelRun(t *task) {
	if t.running {
		t.stale = true
		t.cancel()
	}
}

// stagger schedules the first runs of tasks: at once, but a large number of them over up to half their interval, and
// the next runs over a whole one, so that neither this host nor a server that carries many addresses sees a burst.
func (r *Runner) stagger(begin []*task) {
	now := time.Now()
	first := false
	var after time.Duration
	for _, t := range begin {
		t.spread = min(0.9, float64(len(begin))/64)
		if !t.running && !t.waiting { // else the first run follows the one that has been called off, or comes at once
			first = r.schedule.add(t, now.Add(after)) || first
		}
		after += min(t.job.Spec.Interval/time.Duration(2*len(begin)), 2*time.Millisecond)
	}
	if first {
		r.wakeScheduler()
	}
}

// Recheck makes the jobs of a server due: something else has cast doubt on what is known of it, or it has left
// maintenance. However often it is called, a job runs no sooner than a tenth of its interval after it last began.
func (r *Runner) Recheck(cluster, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.servers[serverKey{cluster, name}] {
		if t.running { // it may have begun before there was a doubt
			t.recheck = true
		} else {
			r.runSoon(t)
		}
	}
}

// runSoon makes a task that is not running due.
func (r *Runner) runSoon(t *task) {
	t.recheck = false
	at := t.startedAt.Add(t.job.Spec.Interval / 10)
	if now := time.Now(); at.Before(now) {
		at = now
	}
	if t.index >= 0 && at.Before(t.dueAt) && r.schedule.add(t, at) {
		r.wakeScheduler()
	}
}

// Verdict returns the verdict of a job; false if there is no such job.
func (r *Runner) Verdict(key Key) (Verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tasks[key]
	if !ok {
		return Verdict{}, false
	}
	return t.verdict, true
}

// Counters returns what the runner has done so far.
func (r *Runner) Counters() Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counters
	c.Jobs, c.Waiting = len(r.tasks), len(r.ready)
	return c
}

// Close calls off what is running and returns when the last of the runner's goroutines has ended. Calling it again is
// harmless.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.cancel()
	r.idle.Broadcast()
	r.mu.Unlock()
	r.running.Wait()
}

// runScheduler moves tasks that are due from the schedule to the workers, until the runner is closed.
func (r *Runner) runScheduler() {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		if wait, ok := r.dispatchDue(time.Now()); ok {
			alarm.Reset(wait)
		} else {
			alarm.Stop()
		}
		select {
		case <-alarm.C:
		case <-r.wake:
		case <-r.ctx.Done():
			return
		}
	}
}

// dispatchDue hands every task that is due to the workers and says how long it is until the next one.
func (r *Runner) dispatchDue(now time.Time) (wait time.Duration, any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := r.schedule.pop(now); t != nil; t = r.schedule.pop(now) {
		t.waiting = true
		r.ready = append(r.ready, t)
	}
	r.startWorkers()
	return r.schedule.next(now)
}

// wakeScheduler makes the scheduler look at the schedule again.
func (r *Runner) wakeScheduler() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// scheduleNext schedules a task's next run, counted from the start of the last one. The jitter is on the early side: a server
// that stops working is found out within fall intervals and a timeout, and never later.
func (r *Runner) scheduleNext(t *task) {
	gap := t.job.interval(t.verdict)
	jitter := max(0.1, t.spread)
	t.spread = 0
	if t.shortages > 0 {
		gap = min(gap, 100*time.Millisecond<<min(t.shortages-1, 10))
	}
	if r.schedule.add(t, t.startedAt.Add(gap-time.Duration(rand.Float64()*jitter*float64(gap)))) {
		r.wakeScheduler()
	}
}
