package checks

import (
	"context"
	"reflect"
	"slices"
	"time"

	"weir/conf"
)

// Job is one monitor for one server. Cluster, Server and Spec.ID are its key. A runner has one job per key.
type Job struct {
	Monitor Monitor
	Target  Target
	Spec    conf.Check // Interval to Fall, Watch and WatchNames are used. The other fields only show whether a job has changed.

	// Identity is the object of the verdict: the server's configured address. If it differs from that of the
	// previous job with this key, the verdict starts again. If only other fields differ, it is kept.
	Identity string

	// Advisory jobs, such as agent checks, have no verdict. Their failures are reported and change nothing.
	Advisory bool

	// OnlyConnects lets the runner connect on its event loop instead of calling Monitor. OnlyConnects(&Spec) must hold.
	OnlyConnects bool

	// RunInMaint keeps the job running while its server is in maintenance, so that an agent can end it.
	RunInMaint bool

	// InitialVerdict is the verdict of a job that is new to the runner, or has a new Identity.
	InitialVerdict Verdict
}

// Key identifies a job.
type Key struct{ Cluster, Server, Check string }

func (k Key) String() string { return k.Cluster + "/" + k.Server + "/" + k.Check }

func (j *Job) key() Key { return Key{j.Target.Cluster, j.Target.Server, j.Spec.ID} }

// equal reports whether two jobs with one key do the same at the same times. Monitors cannot be compared; equal
// specifications are assumed to give equal monitors.
func (j *Job) equal(o *Job) bool {
	return j.Target == o.Target && j.Identity == o.Identity && j.Advisory == o.Advisory && j.RunInMaint == o.RunInMaint &&
		reflect.DeepEqual(j.Spec, o.Spec)
}

// interval returns the time between the starts of two runs.
func (j *Job) interval(v Verdict) time.Duration {
	gap := j.Spec.Interval
	switch {
	case j.Advisory:
	case v.Changing() && j.Spec.FastInterval > 0:
		gap = j.Spec.FastInterval
	case v.State == Failed && j.Spec.DownInterval > 0:
		gap = j.Spec.DownInterval
	}
	return max(gap, time.Millisecond)
}

// timeout returns the time limit of one run.
func (j *Job) timeout() time.Duration {
	if j.Spec.Timeout > 0 {
		return j.Spec.Timeout
	}
	return max(j.Spec.Interval, time.Millisecond)
}

// State is a server's state as far as it matters to checks.
type State uint8

// The states a server can be in.
const (
	StateUp    State = iota // it serves or may serve
	StateDown               // it is down for any reason
	StateMaint              // it is out of service and not checked
)

// watches reports whether the job runs on a server in this state. A check that watches servers that are up continues on
// a server that it has found down itself, because no other check could change that.
func (j *Job) watches(s State, v Verdict) bool {
	if s == StateMaint {
		return j.RunInMaint
	}
	switch j.Spec.Servers {
	case "up":
		return s == StateUp || v.State != Passed || v.Changing()
	case "down":
		return s == StateDown || v.State != Passed || v.Changing()
	case "list":
		return slices.Contains(j.Spec.ServerNames, j.Target.Server)
	}
	return true
}

// task is the state of a job in a runner. All fields are guarded by Runner.mu. A task is in at most one place: in the
// schedule, among the ready tasks, or running.
type task struct {
	key     Key
	job     Job
	verdict Verdict

	dueAt     time.Time          // time of the next run while the task is in the schedule
	index     int                // index in the schedule, or -1
	waiting   bool               // in Runner.ready
	running   bool               // the monitor runs or its result is delivered
	cancel    context.CancelFunc // cancels the current run
	startedAt time.Time          // start of the last run

	stale     bool    // the result of the current run is ignored, because the job has changed
	removed   bool    // the job has been removed
	recheck   bool    // run again soon, whatever the result of the current run
	spread    float64 // fraction of the next interval that may be skipped to spread new jobs; below 0.1 = the usual jitter
	shortages int     // consecutive runs without a result because of a local shortage
}
