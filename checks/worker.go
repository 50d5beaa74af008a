package checks

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"weir/internal/printable"
)

// maxIdleWorkers is how many workers stay while there is no work: enough to avoid starting goroutines under a steady
// load, few enough not to matter.
const maxIdleWorkers = 32

// startWorkers wakes or starts workers for the ready tasks. The caller holds r.mu.
func (r *Runner) startWorkers() {
	need := len(r.ready)
	for range min(need, r.idleWorkers) {
		r.idle.Signal()
	}
	for need -= r.idleWorkers; need > 0 && r.workers < r.opts.Parallel && !r.closed; need-- {
		r.workers++
		r.running.Go(r.runWorker)
	}
}

// runWorker runs ready tasks until there are none and enough other workers are idle.
func (r *Runner) runWorker() {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.workers-- }()
	for !r.closed {
		if len(r.ready) > 0 {
			t := r.ready[0]
			r.ready[0] = nil
			r.ready = r.ready[1:]
			t.waiting = false
			if !t.removed {
				r.runTask(t)
			}
			continue
		}
		if r.idleWorkers >= maxIdleWorkers {
			return
		}
		r.idleWorkers++
		r.idle.Wait()
		r.idleWorkers--
	}
}

// outcome is the result of one run.
type outcome struct {
	job          Job // at the start of the run
	watched      bool
	report       Report
	err          error
	failed       []string // addresses, if the target has several
	began, ended time.Time
}

// runTask runs a task once, delivers the result and schedules the next run. The caller holds r.mu, which is released
// while code outside the runner is called. The task is in no queue meanwhile, so two runs never overlap and results
// stay in order.
func (r *Runner) runTask(t *task) {
	ctx, cancel := context.WithTimeout(r.ctx, t.job.timeout())
	t.running, t.cancel = true, cancel
	t.startedAt = time.Now()
	o := outcome{job: t.job, began: t.startedAt}
	verdict := t.verdict
	r.counters.Running++
	r.mu.Unlock()

	o.watched = o.job.watches(r.serverState(&o.job), verdict)
	if o.watched {
		o.report, o.failed, o.err = testAddresses(ctx, &o.job)
		o.report, o.err = cleanResult(o.report, o.err)
	}
	o.ended = time.Now()
	cancel()

	r.mu.Lock()
	r.endRun(t, &o)
}

// endRun applies the outcome of a run, delivers its result and schedules the next run. The caller holds r.mu, which is
// released during the delivery.
func (r *Runner) endRun(t *task, o *outcome) {
	r.counters.Running--
	if deliver := r.recordOutcome(t, o); deliver != nil {
		r.mu.Unlock()
		deliver()
		r.mu.Lock()
	}
	stale := t.stale
	t.running, t.stale, t.cancel = false, false, nil
	switch {
	case t.removed:
		delete(r.removed, t.key)
	case r.closed:
	case stale:
		if r.schedule.add(t, time.Now()) {
			r.wakeScheduler()
		}
	default:
		r.scheduleNext(t)
		if t.recheck {
			r.runSoon(t)
		}
	}
}

// recordOutcome applies an outcome to the task's verdict and the runner's counters. It returns a function that delivers
// the result or the skip, or nil.
func (r *Runner) recordOutcome(t *task, o *outcome) (deliver func()) {
	if errors.Is(o.err, context.DeadlineExceeded) && r.stalls.duringRun(o.began, o.ended) {
		o.err = fmt.Errorf("%w: %w", errStalled, o.err)
	}
	switch {
	case !o.watched:
		return nil
	case t.stale, t.removed, r.closed:
		r.counters.Discarded++
		return nil
	case IsShortage(o.err):
		r.counters.Shortages++
		t.shortages++
		skip := Skip{
			Cluster: t.key.Cluster, Server: t.key.Server, Check: t.key.Check,
			Reason: shortageReason(o.err), Err: o.err, Count: t.shortages, At: o.ended,
		}
		if r.opts.Skipped == nil {
			return nil
		}
		return func() { r.opts.Skipped(skip) }
	}
	t.shortages = 0
	before := t.verdict
	streak := 0
	outcome := outcomeOf(o.err)
	if !o.job.Advisory {
		if outcome != before.State {
			streak = before.Streak + 1
		}
		t.verdict = before.Step(outcome, o.job.Spec.Rise, o.job.Spec.Fall)
	}
	detail := o.report.Detail
	r.counters.Runs++
	if o.err != nil {
		r.counters.Failures++
		detail = o.err.Error()
	}
	if _, ok := errors.AsType[*PanicError](o.err); ok {
		r.counters.Panics++
	}
	if r.opts.Result == nil {
		return nil
	}
	result := Result{
		Cluster: t.key.Cluster, Server: t.key.Server, Check: t.key.Check, Target: o.job.Target,
		State: t.verdict.State, Changed: t.verdict.State != before.State, Streak: streak, Outcome: outcome, Pass: o.err == nil,
		Detail: detail, Err: o.err, Report: o.report, Failed: o.failed,
		Began: o.began, Took: o.ended.Sub(o.began), At: o.ended,
	}
	return func() { r.opts.Result(result) }
}

func (r *Runner) serverState(job *Job) State {
	if r.opts.State == nil {
		return StateUp
	}
	return r.opts.State(job.Target.Cluster, job.Target.Server)
}

// PanicError is the error of a check whose monitor panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("monitor panicked: %v", e.Value) }

// callMonitor runs the monitor and turns a panic into a failed check.
func callMonitor(ctx context.Context, m Monitor, t Target) (report Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			report, err = Report{}, &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	if t.Address == "" {
		return Report{}, fmt.Errorf("%w: %s", ErrUnresolved, t.Host)
	}
	return m(ctx, t)
}

// cleanResult makes the texts of a report and an error fit for a reason: servers, their certificates and programs are the
// origin of parts of them.
func cleanResult(report Report, err error) (Report, error) {
	report.Detail = printable.Clip(report.Detail, printable.MaxLine)
	if err != nil {
		if text := printable.Clip(err.Error(), printable.MaxLine); text != err.Error() {
			err = &replacedError{text, err}
		}
	}
	return report, err
}
