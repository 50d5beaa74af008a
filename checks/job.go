package checks

import (
	"context"
	"reflect"
	"time"

	"weir/conf"
)

// Job is one monitor against one server. Cluster, Server and Spec.ID are its key; a runner has one job per key.
type Job struct {
	Monitor Monitor
	Target  Target
	Spec    conf.Check // when and how often: Interval to Fall, Watch and WatchNames. The rest only tells a changed job from an unchanged one

	// Identity is what the verdict is about: the server's address as it is configured. When it differs from that of the
	// job's predecessor, the verdict starts afresh; when only the rest differs, it stays.
	Identity string

	// Advisory jobs make no verdict: their failures are told, and change nothing. Agents are such.
	Advisory bool

	// RunInMaint keeps the job running while its server is in maintenance, which an agent may have to end.
	RunInMaint bool

	// InitialVerdict is the verdict that a job begins with if it has no predecessor.
	InitialVerdict Verdict
}

// Key names a job.
type Key struct{ Cluster, Server, Check string }

func (k Key) String() string { return k.Cluster + "/" + k.Server + "/" + k.Check }

func (j *Job) key() Key { return Key{j.Target.Cluster, j.Target.Server, j.Spec.ID} }

// equal reports whether two jobs of one key do the same thing at the same times. Monitors cannot be compared: equal
// specifications are taken to have made equal ones.
func (j *Job) equal(o *Job) bool {
	return j.Target == o.Target && j.Identity == o.Identity && j.Advisory == o.Advisory && j.RunInMaint == o.RunInMaint &&
		reflect.DeepEqual(j.Spec, o.Spec)
}

// interval is the time from the start of one run to the start of the next.
func (j *Job) interval(v Verdict) time.Duration {
	gap := j.Spec.Interval
	switch {
	case j.Advisory:
	case v.Changing() && j.Spec.FastInterval > 0:
		gap = j.Spec.FastInterval
	case v.Down && j.Spec.DownInterval > 0:
		gap = j.Spec.DownInterval
	}
	return max(gap, time.Millisecond)
}

// timeout is the time limit of one run.
func (j *Job) timeout() time.Duration {
	if j.Spec.Timeout > 0 {
		return j.Spec.Timeout
	}
	return max(j.Spec.Interval, time.Millisecond)
}

// State is a server's state as far as its checks are concerned.
type State uint8

// The states a server can be in.
const (
	StateUp    State = iota // it serves, or may
	StateDown               // it is down, whoever found that
	StateMaint              // it is out of service and not checked
)

// watches reports whether the job is to run on a server in this state. A check that watches servers that are up goes on
// where it has found one down itself: nothing else could take that back.
func (j *Job) watches(s State, v Verdict) bool {
	if s == StateMaint {
		return j.RunInMaint
	}
	switch j.Spec.Servers {
	case "up":
		return s == StateUp || v.Down || v.Changing()
	case "down":
		return s == StateDown || v.Down || v.Changing()
	case "list":
		for _, name := range j.Spec.ServerNames {
			if name == j.Target.Server {
				return true
			}
		}
		return false
	}
	return true
}

// task is a job in a runner: what it has come to and when it is next due. All fields belong to the runner's mutex.
// A task is in at most one place: in the schedule, among the ready ones, or running.
type task struct {
	key     Key
	job     Job
	verdict Verdict

	dueAt     time.Time          // when the next run is due, while the task is in the schedule
	index     int                // its place in the schedule, else -1
	waiting   bool               // it is among the ready ones
	running   bool               // it is being run, or its result told
	cancel    context.CancelFunc // ends the run in progress
	startedAt time.Time          // when the last run began

	stale     bool    // what is being run is of no interest any more: the job has changed
	removed   bool    // the job has been removed
	recheck   bool    // it is to run again soon, whatever comes out of this run
	spread    float64 // how much of the next gap may be left out, for spreading new jobs; below 0.1 = the usual jitter
	shortages int     // runs in a row that this host was too short of something to do
}
