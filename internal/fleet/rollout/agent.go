package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir/internal/fleet"
)

// commitTimeout bounds one write to the store.
const commitTimeout = 5 * time.Second

// Options are what an Agent needs. Its functions are called by one goroutine.
type Options struct {
	Node     string
	Instance string // of the process; unique
	Store    fleet.Store
	TTL      time.Duration // a node that is silent for so long has left
	Log      *slog.Logger

	// Validate returns the plan of a revision for this node; revision 0 is the file of the node and has no text.
	Validate func(ctx context.Context, revision int, text []byte) (plan string, err error)
	// Apply replaces the running configuration wholly or not at all.
	Apply func(ctx context.Context, revision int, text []byte) error
	// Figures returns the current figures; its problems only if they are asked for.
	Figures func(problems bool) Figures
	// Ended is called once when a roll-out has ended.
	Ended func(r *Record)

	Runs int    // the revision that the node runs at the start; 0 = its file
	Text []byte // of that revision
}

// Agent takes part in roll-outs for one node: it follows the record, reports, and drives.
type Agent struct {
	o        Options
	began    time.Time
	follower *Follower
	driver   *Driver

	// Owned by Run.
	history  []sample // of the last minute, oldest first
	before   Figures  // when this node last voted
	applied  Figures  // when Runs came into force
	reported Report   // last written
	reportAt time.Duration
	lease    fleet.Lease   // of the last report
	active   uint64        // id of the roll-out in progress when the record was last read; 0 = none
	compared int64         // revision in the store of the text that was compared with the one in force
	emptyAt  time.Duration // since when the store has no record; -1 = it has one

	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards the fields below
	known  records
	report Report
	text   []byte // of the revision that the node runs
}

// sample is the figures at one time.
type sample struct {
	at time.Duration
	f  Figures
}

// NewAgent returns an agent, which Run starts.
func NewAgent(o Options) *Agent {
	a := &Agent{
		o: o, began: time.Now(), follower: NewFollower(o.Node, o.Runs), driver: NewDriver(Member{o.Node, o.Instance}), wake: make(chan struct{}, 1),
		text: o.Text, emptyAt: -1,
	}
	a.report = a.follower.Report(o.Instance)
	return a
}

// notify lets Run look at what has changed.
func (a *Agent) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run takes part until ctx ends. Then the node leaves, if the store answers soon.
func (a *Agent) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { a.followStore(ctx) })
	for ctx.Err() == nil {
		timer := time.NewTimer(a.work(ctx))
		select {
		case <-a.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// idleInterval is the time between two samples of the figures while nothing happens.
const idleInterval = 5 * time.Second

// work does what is due and returns after which time to call it again.
func (a *Agent) work(ctx context.Context) time.Duration {
	now := time.Since(a.began)
	a.sample(now)
	a.follow(ctx, now)
	a.restore(ctx, now)
	a.mu.Lock()
	view, modified, lease, own := a.known.view(), a.known.modified, a.known.lease, a.known.reports[a.o.Node]
	usable, readable := a.known.usable(), a.known.stored && !a.known.unreadable
	a.mu.Unlock()
	a.note(view.Record)
	active := view.Record != nil && view.Record.Phase.Active()
	if usable && (own.modified == 0 || own.Instance == a.o.Instance) { // else another process has the name of this node
		a.writeReport(ctx, now, lease, own.modified, len(view.Live), active)
	}
	again := idleInterval
	if active {
		again = stepInterval
	}
	if usable && readable && own.Instance == a.o.Instance {
		next, after := a.driver.Next(now, time.Now(), view)
		if next != nil {
			a.write(ctx, next, modified)
		} else if after > 0 {
			again = min(again, after)
		}
	}
	return again
}

// follow votes and applies until there is nothing to do.
func (a *Agent) follow(ctx context.Context, now time.Duration) {
	for ctx.Err() == nil {
		a.mu.Lock()
		r := a.known.record
		a.compareText()
		a.mu.Unlock()
		task, _ := a.follower.Next(now, r)
		switch {
		case task.Vote:
			a.vote(ctx, now, r)
		case task.Apply:
			a.apply(ctx, now, r)
		default:
			return
		}
		a.mu.Lock()
		a.report = a.follower.Report(a.o.Instance)
		a.mu.Unlock()
	}
}

// compareText makes the node apply the revision that it runs, if the store has another text under its number: that of another
// history. mu is held.
func (a *Agent) compareText() {
	from, stored := a.known.revisions[a.follower.runs]
	if !stored || from.Modified == a.compared {
		return
	}
	a.compared = from.Modified
	if r, err := DecodeRevision(from); err == nil && r.Text != string(a.text) {
		a.follower.runs = otherText
	}
}

// vote validates the new revision.
func (a *Agent) vote(ctx context.Context, now time.Duration, r *Record) {
	text, err := a.textOf(r.To)
	plan := ""
	if err == nil {
		plan, err = a.o.Validate(ctx, r.To, text)
	}
	a.before = a.minute(now)
	a.follower.Voted(r, plan, err)
}

// apply applies the wanted revision.
func (a *Agent) apply(ctx context.Context, now time.Duration, r *Record) {
	revision := r.Wanted(a.o.Node)
	text, err := a.textOf(revision)
	if err == nil {
		err = a.o.Apply(ctx, revision, text)
	}
	before := a.follower.failure
	a.follower.Applied(now, r, revision, err)
	if err != nil {
		if before != a.follower.failure {
			a.o.Log.Warn("fleet: revision not applied", "revision", revision, "error", err)
		}
		return
	}
	a.applied = a.o.Figures(false)
	a.mu.Lock()
	a.text = text
	a.mu.Unlock()
}

// textOf returns the text of a revision.
func (a *Agent) textOf(revision int) ([]byte, error) {
	if revision == 0 {
		return nil, nil
	}
	a.mu.Lock()
	from, ok := a.known.revisions[revision]
	own := a.text
	a.mu.Unlock()
	if !ok {
		if revision == a.follower.runs {
			return own, nil
		}
		return nil, fmt.Errorf("revision %d is not in the store", revision)
	}
	stored, err := DecodeRevision(from)
	return []byte(stored.Text), err
}

// writeReport writes the report: at once if the vote, the revision or a failure has changed, and each second of a roll-out.
func (a *Agent) writeReport(ctx context.Context, now time.Duration, lease fleet.Lease, modified int64, nodes int, active bool) {
	r, last := a.follower.Report(a.o.Instance), a.reported
	same := modified > 0 && lease == a.lease && r.Vote == last.Vote && r.Runs == last.Runs && r.Failure == last.Failure
	// A fleet makes at most a hundred writes of figures per second.
	interval := max(stepInterval, time.Duration(nodes)*10*time.Millisecond)
	if same && !(active && now >= a.reportAt+interval) {
		return
	}
	r.Before, r.Applied, r.Now = a.before, a.applied, a.o.Figures(true)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	key := fleet.Key(fleet.ConfigKey, reportsKey, a.o.Node)
	_, err := a.o.Store.Commit(ctx, fleet.Txn{
		If: []fleet.Condition{{Key: key, Modified: modified}}, Put: []fleet.Put{{Key: key, Value: r.Encode(), Lease: lease}},
	})
	if err == nil {
		a.reported, a.reportAt, a.lease = r, now, lease
	}
}

// write replaces the record if it is the one that this node has read, and deletes the revisions that it does not keep.
func (a *Agent) write(ctx context.Context, next *Record, modified int64) error {
	a.mu.Lock()
	t := fleet.Txn{
		If:     []fleet.Condition{{Key: fleet.RolloutKey, Modified: modified}},
		Put:    []fleet.Put{{Key: fleet.RolloutKey, Value: next.Encode()}},
		Delete: a.known.dropped(next),
	}
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err := a.o.Store.Commit(ctx, t)
	return err
}

// note reports the end of a roll-out that this node has seen in progress.
func (a *Agent) note(r *Record) {
	switch {
	case r == nil:
	case r.Phase.Active():
		a.active = r.ID
	case r.ID == a.active:
		a.active = 0
		a.o.Ended(r)
	}
}

// sample keeps the figures of the last minute.
func (a *Agent) sample(now time.Duration) {
	if n := len(a.history); n > 0 && now < a.history[n-1].at+idleInterval {
		return
	}
	a.history = slices.DeleteFunc(a.history, func(s sample) bool { return s.at < now-time.Minute })
	a.history = append(a.history, sample{now, a.o.Figures(false)})
}

// minute returns what was counted in the last minute, and the problems now.
func (a *Agent) minute(now time.Duration) Figures {
	current := a.o.Figures(true)
	f := Figures{}
	if len(a.history) > 0 {
		f = since(current, a.history[0].f)
	}
	f.Problems = current.Problems
	return f
}
