package checks

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall" // for the event loop
	"time"
)

// Options configure a runner. The zero value is valid.
type Options struct {
	// Result receives every result. It is called from several goroutines, but in order for each job. It must not
	// call Close. Local shortages are not results. nil = results are discarded.
	Result func(Result)

	// Skipped receives every run without a result because of a local shortage, like Result. nil = they are only counted.
	Skipped func(Skip)

	// State returns a server's state before a job runs. It must not call the runner. nil = every server is up.
	State func(cluster, server string) State

	// Parallel limits the monitors that run at the same time. 0 = 4,096.
	Parallel int
}

// Result is the result of one run of a job.
type Result struct {
	Cluster, Server, Check string
	Target                 Target // the tested target

	State   Outcome       // the verdict after this result
	Changed bool          // this result changed the verdict
	Streak  int           // consecutive results against the verdict, including this one
	Outcome Outcome       // of this run
	Pass    bool          // this run passed
	Detail  string        // the monitor's detail or the error text: one line for people
	Err     error         // nil if the server passed
	Report  Report        // the monitor's report
	Failed  []string      // the addresses of the target that failed; nil if it has one address
	Began   time.Time     // start of the run
	Took    time.Duration // how long the monitor ran
	At      time.Time     // end of the run
}

// Skip is a run without a result: this host could not run the check.
type Skip struct {
	Cluster, Server, Check string

	Reason string // one of ShortageReasons
	Err    error
	Count  int       // consecutive runs without a result, including this one
	At     time.Time // end of the run
}

// Counters count the work of a runner since its creation.
type Counters struct {
	Runs      uint64 // results
	Failures  uint64 // failed results
	Shortages uint64 // runs without a result because of a local shortage
	Panics    uint64 // failed results caused by a panic
	Discarded uint64 // runs whose job was changed or removed before they ended

	Jobs    int // current jobs
	Running int // monitors running now
	Waiting int // jobs that are due and wait because of Parallel
}

// Runner runs jobs on a schedule. One goroutine keeps the schedule. Monitors run in worker goroutines, which end when
// there is no work; jobs that only connect run on an event loop (connect.go). Two runs of a job never overlap.
type Runner struct {
	// Immutable.
	opts    Options
	ctx     context.Context // parent of the context of every run
	cancel  context.CancelFunc
	wake    chan struct{} // buffered, size 1: the first entry of the schedule has changed
	running sync.WaitGroup

	mu          sync.Mutex // guards the fields below
	tasks       map[Key]*task
	servers     map[serverKey][]*task
	removed     map[Key]*task // removed tasks whose last run is still in progress
	schedule    schedule
	ready       []*task   // watches and waiting for a worker, in order
	idle        sync.Cond // idle workers wait here for a ready task
	idleWorkers int       // number of idle workers
	workers     int       // all workers
	closed      bool
	counters    Counters
	stalls      stallDetector
	connects    connectLoop
}

// serverKey identifies a server, which several jobs may test.
type serverKey struct{ cluster, name string }

// NewRunner starts a runner without jobs. Close stops it.
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

// Update replaces the runner's jobs. New and changed jobs run at once; if there are many, their starts are spread.
// Unchanged jobs keep verdict, counters and phase, and use their new Monitor. Jobs that are not in jobs end, and their
// runs in progress are cancelled. If several jobs have one key, the last one counts. A result that is being delivered
// when Update is called may arrive after Update has returned.
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
		t, exists := r.tasks[key]
		switch {
		case !exists && r.removed[key] != nil: // added again before its cancelled run has ended
			t = r.removed[key]
			delete(r.removed, key)
			t.job, t.verdict, t.shortages, t.removed = *job, job.InitialVerdict, 0, false
			begin = append(begin, t)
		case !exists:
			t = &task{key: key, job: *job, verdict: job.InitialVerdict, index: -1}
			begin = append(begin, t)
		case t.job.equal(job):
			t.job.Monitor = job.Monitor
		default:
			if t.job.Identity != job.Identity {
				t.verdict = job.InitialVerdict
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

// cancelRun cancels the run of a task, if it has one, and makes its result ignored.
func (r *Runner) cancelRun(t *task) {
	if t.running {
		t.stale = true
		t.cancel()
	}
}

// stagger schedules the first runs of tasks: at once, but many of them over up to half their interval, and the next
// runs over a whole interval. Neither this host nor a server with many addresses then sees a burst.
func (r *Runner) stagger(begin []*task) {
	now := time.Now()
	first := false
	var after time.Duration
	for _, t := range begin {
		t.spread = min(0.9, float64(len(begin))/64)
		if !t.running && !t.waiting { // otherwise the next run follows the cancelled one, or is due already
			first = r.schedule.add(t, now.Add(after)) || first
		}
		after += min(t.job.Spec.Interval/time.Duration(2*len(begin)), 2*time.Millisecond)
	}
	if first {
		r.wakeScheduler()
	}
}

// Recheck makes the jobs of a server due, because another source contradicts its verdict or it has left maintenance. A
// job runs at the earliest a tenth of its interval after its last start, however often Recheck is called.
func (r *Runner) Recheck(cluster, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.servers[serverKey{cluster, name}] {
		if t.running { // the run may have begun before the reason for the recheck
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

// Verdict returns the verdict of a job, or false if there is no such job.
func (r *Runner) Verdict(key Key) (Verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tasks[key]
	if !ok {
		return Verdict{}, false
	}
	return t.verdict, true
}

// Counters returns a snapshot of the counters.
func (r *Runner) Counters() Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counters
	c.Jobs, c.Waiting = len(r.tasks), len(r.ready)
	return c
}

// Close cancels all runs and returns when the last goroutine of the runner has ended. It may be called more than once.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.cancel()
	r.idle.Broadcast()
	if r.connects.epfd != 0 {
		_, _ = syscall.Write(r.connects.wake[1], []byte{0})
	}
	r.mu.Unlock()
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connects.close()
}

// runScheduler moves due tasks from the schedule to the workers until the runner is closed.
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

// dispatchDue runs due tasks, or hands them to the workers, and returns the time until the next one is due or a connection
// is out of time.
func (r *Runner) dispatchDue(now time.Time) (wait time.Duration, any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []*connectRun
	for n := 0; ; n++ {
		t := r.schedule.pop(now, n < maxEarly)
		if t == nil {
			break
		}
		if c := r.beginConnect(t, now); c != nil {
			due = append(due, c)
			continue
		}
		t.waiting = true
		r.ready = append(r.ready, t)
	}
	r.startWorkers()
	if ended := r.takeEnded(now); len(due)+len(ended) > 0 {
		r.mu.Unlock()
		r.endConnects(ended)
		r.connectDue(due)
		r.mu.Lock()
		now = time.Now()
	}
	wait, any = r.schedule.next(now)
	if next, pending := r.connects.next(now); pending && (!any || next < wait) {
		wait, any = next, true
	}
	if r.stalls.tick(now, len(r.ready)+r.counters.Running > 0) {
		if !any || wait > stallTick {
			wait = stallTick
		}
		return wait, true
	}
	return wait, any
}

// wakeScheduler makes the scheduler read the schedule again.
func (r *Runner) wakeScheduler() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// scheduleNext schedules a task's next run relative to the start of the last one. The jitter only shortens the
// interval: a server that stops working is detected within fall intervals and a timeout, never later.
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
