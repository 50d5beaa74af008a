package rollout

import "time"

// retryInterval is the time between two attempts of a node to run the revision in force.
const retryInterval = 10 * time.Second

// otherText is the revision of a node whose text is not in the store.
const otherText = -1

// Follower decides for one node what it has to do about the record. It is used by one goroutine.
type Follower struct {
	node string
	runs int

	vote    Vote
	failure Failure
	retryAt time.Duration
}

// Failure is a revision that a node could not apply.
type Failure struct {
	ID       uint64 `json:"id"` // of the roll-out then in the store
	Revision int    `json:"revision"`
	Error    string `json:"error"`
}

// Task is what a node has to do next. At most one field is set.
type Task struct {
	Vote  bool // validate the revision Record.To and call Voted
	Apply bool // apply Record.Wanted and call Applied
}

// NewFollower returns the follower of a node that runs a revision.
func NewFollower(node string, runs int) *Follower { return &Follower{node: node, runs: runs} }

// Next returns the next task, and after which time to call it again without a change; 0 = never. now is a monotonic clock.
// Without a record the node keeps what it runs.
func (f *Follower) Next(now time.Duration, r *Record) (Task, time.Duration) {
	if r == nil {
		return Task{}, 0
	}
	if r.Phase == Validating && f.vote.ID != r.ID {
		return Task{Vote: true}, 0
	}
	wanted := r.Wanted(f.node)
	if wanted == f.runs {
		f.failure = Failure{}
		return Task{}, 0
	}
	if f.failure.ID == r.ID && f.failure.Revision == wanted {
		switch wait := f.retryAt - now; {
		case r.Phase.Active() && wanted == r.To:
			return Task{}, 0 // the roll-out is rolled back
		case wait > 0:
			return Task{}, wait
		}
	}
	return Task{Apply: true}, 0
}

// Voted records the vote about the new revision of a roll-out.
func (f *Follower) Voted(r *Record, plan string, err error) {
	f.vote = Vote{ID: r.ID, Plan: plan}
	if err != nil {
		f.vote = Vote{ID: r.ID, Error: err.Error()}
	}
}

// Applied records the result of applying a revision for the record r. After an error the node runs what it ran before.
func (f *Follower) Applied(now time.Duration, r *Record, revision int, err error) {
	if err != nil {
		f.failure, f.retryAt = Failure{r.ID, revision, err.Error()}, now+retryInterval
		return
	}
	f.runs, f.failure = revision, Failure{}
}

// Runs returns the revision that the node runs; 0 = its file.
func (f *Follower) Runs() int { return f.runs }

// Report returns the report of the node without its figures.
func (f *Follower) Report(instance string) Report {
	return Report{Instance: instance, Runs: f.runs, Failure: f.failure, Vote: f.vote}
}
