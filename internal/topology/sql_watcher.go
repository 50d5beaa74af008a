package topology

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/printable"
)

// Pace of polls beside the interval.
const (
	// retryPause is the time from a failed poll of a server to the next, until the server has failed fall times, and the
	// shortest time between two polls of a server. A server whose process has ended is therefore given up after about
	// retryPause, and a silent one after fall timeouts and retryPause more.
	retryPause = 100 * time.Millisecond

	// confirmPause is the time from a round with a doubtful result to the next.
	confirmPause = 5 * time.Millisecond

	// hurriedRounds are the rounds in a row at confirmPause. Those after them are at hurriedPace.
	hurriedRounds = 3

	// While there is no primary, rounds are this part of the interval apart, for at most hurryFor.
	hurryPart = 4
	hurryFor  = 30 * time.Second

	// inFlightTick is how often the watcher wakes while polls are in flight, to notice that the process was paused.
	inFlightTick = 50 * time.Millisecond
)

// sqlWatcher polls the servers of a cluster and decides. Its goroutine owns all of its state but the fields under mu.
type sqlWatcher struct {
	o      Options
	asker  *sqlAsker
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{}

	mu      sync.Mutex
	replace []Server // new servers; nil = none
	reset   bool

	servers   []*sqlServer
	current   string      // address of the primary
	preferred string      // the same, for sticky and on_conflict; "" after a reset
	last      sqlDecision // of an earlier evaluation
	lastBegan time.Time   // the round of last
	differing int         // rounds in a row that were undecided
	differAt  time.Time   // the last of them
	hurried   int         // rounds in a row after a doubtful one
	roundAt   time.Time   // next round
	beganAt   time.Time   // last round
	noneSince time.Time   // since when there is no primary; zero = there is one
	confirmed time.Time   // when the primary, or the one before it, was last confirmed
	started   bool        // all servers have been asked since the start
	wakeAt    time.Time   // when the timer was to fire
	view      View        // last published
}

// prepareSQL returns the function that starts a watcher of type mysql or galera. It returns an error if a password or
// certificate cannot be read.
func prepareSQL(spec conf.Topology) (func(Options) Watcher, error) {
	client, err := checks.NewMySQLClient(spec)
	if err != nil {
		return nil, err
	}
	return func(o Options) Watcher { return newSQLWatcher(client, o) }, nil
}

func newSQLWatcher(client *checks.MySQLClient, o Options) *sqlWatcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &sqlWatcher{
		o: o, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1), replace: append([]Server{}, o.Servers...),
		current: o.Saved.Primary, preferred: o.Saved.Primary, view: o.Saved.View(o.Spec.Type, time.Now()),
		asker: &sqlAsker{client: client, galera: o.Spec.Type == "galera", timeout: o.Spec.Timeout, results: make(chan sqlResult)},
	}
	go w.run(ctx)
	return w
}

// SetServers replaces the servers of the cluster.
func (w *sqlWatcher) SetServers(list []Server) {
	w.mu.Lock()
	w.replace = append([]Server{}, list...)
	w.mu.Unlock()
	w.nudge()
}

// Reset drops the decision, for the purpose of sticky and on_conflict, and asks the servers again.
func (w *sqlWatcher) Reset() {
	w.mu.Lock()
	w.reset = true
	w.mu.Unlock()
	w.nudge()
}

func (w *sqlWatcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close ends all sessions and waits.
func (w *sqlWatcher) Close() {
	w.cancel()
	<-w.done
}

// run is the watcher's goroutine.
func (w *sqlWatcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.asker.wait.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	before := time.Now()
	for {
		now := time.Now()
		if paused(before, now, w.wakeAt, w.pauseLimit()) {
			w.resume(now)
		}
		w.takeRequests(ctx, now)
		w.request(now)
		wait := w.untilNext(now)
		w.wakeAt, before = now.Add(wait), now
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
		case r := <-w.asker.results:
			// The pause is noticed before the result counts: it may have been waiting since before.
			if now := time.Now(); paused(before, now, w.wakeAt, w.pauseLimit()) {
				w.resume(now)
				before, w.wakeAt = now, now
			}
			w.take(r)
		}
	}
}

// pauseLimit is how late the watcher may run before that counts as a pause.
func (w *sqlWatcher) pauseLimit() time.Duration { return max(inFlightTick, w.o.Spec.Timeout/2) }

// paused reports whether this process did not run for longer than limit: it woke later than it should have, or the wall
// clock went further than the monotonic one, which stands still while the machine is suspended.
func paused(before, now, wakeAt time.Time, limit time.Duration) bool {
	if !wakeAt.IsZero() && now.Sub(wakeAt) > limit {
		return true
	}
	return now.Round(0).Sub(before.Round(0))-now.Sub(before) > limit+time.Second
}

// resume is called after a pause. Polls that were in flight do not count, and all servers are asked again before anything
// new is decided.
func (w *sqlWatcher) resume(now time.Time) {
	for _, s := range w.servers {
		if s.target.Address == "" {
			continue
		}
		s.node.restart(now)
		s.void = s.inFlight
	}
	w.last = sqlDecision{}
	w.roundAt = now
}

// takeRequests applies what SetServers and Reset have left.
func (w *sqlWatcher) takeRequests(ctx context.Context, now time.Time) {
	w.mu.Lock()
	replace, reset := w.replace, w.reset
	w.replace, w.reset = nil, false
	w.mu.Unlock()
	if replace != nil {
		w.setServers(ctx, replace)
		w.roundAt = now
		w.evaluate(now)
	}
	if reset {
		w.resume(now)
		w.preferred, w.differing = "", 0
	}
}

// setServers replaces the servers; those that are asked in the same way keep their sessions and answers.
func (w *sqlWatcher) setServers(ctx context.Context, list []Server) {
	next := newSQLServers(w.o.Cluster, list)
	old := w.servers
	for i, s := range next {
		k := slices.IndexFunc(old, func(o *sqlServer) bool { return o != nil && o.same(s) })
		if k >= 0 {
			old[k].node.names = s.node.names
			next[i], old[k] = old[k], nil
		} else if s.target.Address != "" {
			w.asker.start(ctx, s)
		}
	}
	for _, s := range old {
		if s != nil && s.stop != nil {
			s.stop()
		}
	}
	w.servers = next
}

// request requests the polls that are due.
func (w *sqlWatcher) request(now time.Time) {
	round := !now.Before(w.roundAt)
	if round {
		w.beganAt = now
		w.roundAt = now.Add(w.jitter(w.o.Spec.Interval))
	}
	for _, s := range w.servers {
		due := round || !s.retryAt.IsZero() && !now.Before(s.retryAt)
		if !due || s.inFlight || s.target.Address == "" {
			continue
		}
		s.inFlight, s.void, s.polledAt, s.retryAt = true, false, now, time.Time{}
		s.request <- struct{}{} // has room: there was no poll in flight
	}
}

// jitter returns d, up to a tenth longer or shorter.
func (w *sqlWatcher) jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

// untilNext returns the time until something is due.
func (w *sqlWatcher) untilNext(now time.Time) time.Duration {
	next := w.roundAt
	for _, s := range w.servers {
		if !s.retryAt.IsZero() && s.retryAt.Before(next) {
			next = s.retryAt
		}
		if tick := now.Add(inFlightTick); s.inFlight && tick.Before(next) {
			next = tick
		}
	}
	return max(next.Sub(now), 0)
}

// take records a result and decides when no answer is missing that is expected.
func (w *sqlWatcher) take(r sqlResult) {
	s := r.server
	if !slices.Contains(w.servers, s) {
		return
	}
	now := time.Now()
	if r.ended {
		if !s.inFlight {
			s.retryAt = latest(now, s.polledAt.Add(retryPause))
		}
		return
	}
	s.inFlight = false
	if s.void {
		s.void = false
		s.retryAt = now
		return
	}
	fall := w.o.Spec.Fall
	s.node.record(r.answer, r.err, fall, r.began)
	if r.err != nil && s.node.hasty(fall) {
		s.retryAt = now.Add(min(retryPause, w.o.Spec.Interval))
	}
	for _, o := range w.servers {
		if o.inFlight && (o.node.now != nil || !o.node.asked) {
			return
		}
	}
	w.evaluate(now)
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// evaluate decides and publishes.
func (w *sqlWatcher) evaluate(now time.Time) {
	nodes := make([]sqlNode, len(w.servers))
	for i, s := range w.servers {
		nodes[i] = s.node
	}
	var d sqlDecision
	if w.asker.galera {
		d = decideGalera(nodes, w.preferred, w.o.Spec.Sticky, w.differing >= 2)
	} else {
		d = decideMySQL(nodes, w.preferred, w.o.Spec.OnConflict == "keep")
	}
	last := w.last
	if !w.beganAt.After(w.lastBegan) {
		last = sqlDecision{} // the same round confirms nothing
	}
	primary := settle(nodes, d, last, w.current)
	if d.primary != w.last.primary || d.doubt != w.last.doubt {
		w.last, w.lastBegan = d, w.beganAt
	}
	switch {
	case d.doubt != undecided && d.problem == "":
		w.differing = 0
	case d.doubt == undecided && w.beganAt.After(w.differAt):
		w.differing++
		w.differAt = w.beganAt
	}
	if primary == d.primary {
		w.preferred = primary
	}
	w.pace(now, d, primary)
	w.publish(now, nodes, d, primary)
}

// pace moves the next round forward after a doubtful decision, and while there is no primary.
func (w *sqlWatcher) pace(now time.Time, d sqlDecision, primary string) {
	interval := w.o.Spec.Interval
	hurriedPace := min(max(interval/hurryPart, retryPause), interval)
	if primary != "" {
		w.noneSince = time.Time{}
	} else if w.noneSince.IsZero() {
		w.noneSince = now
	}
	next := w.roundAt
	switch {
	case d.primary != primary || d.doubt == undecided:
		w.hurried++
		next = now.Add(confirmPause)
		if w.hurried > hurriedRounds {
			next = now.Add(hurriedPace)
		}
	case primary == "" && now.Sub(w.noneSince) < hurryFor:
		w.hurried = 0
		next = latest(now, w.beganAt.Add(hurriedPace))
	default:
		w.hurried = 0
	}
	if next.Before(w.roundAt) {
		w.roundAt = next
	}
}

// publish publishes the view if it differs from the last one. Nothing is published before all servers have been asked: a
// saved decision stays in force until then.
func (w *sqlWatcher) publish(now time.Time, nodes []sqlNode, d sqlDecision, primary string) {
	first := !w.started
	if first && slices.ContainsFunc(nodes, func(n sqlNode) bool { return !n.asked }) {
		return
	}
	w.started = true
	v := View{
		Primary: primary, Source: d.source, GTID: w.view.GTID, Problem: printable.Clip(d.problem, printable.MaxLine),
		DecidedAt: w.view.DecidedAt, LastEvidence: w.view.LastEvidence,
	}
	switch {
	case primary == d.primary:
	case primary == w.current:
		v.Source = w.view.Source
	default:
		v.Source = w.o.Spec.Type + ": not all servers have answered yet"
	}
	for i := range nodes {
		n := &nodes[i]
		role := d.roles[i]
		switch {
		case primary != "" && n.address == primary:
			role.role = Primary
			if primary != d.primary {
				role.reason = "as decided before"
			}
			if !n.confirmed() && (n.failures == 0 || !n.asked) {
				v.Stale = n.heldFrom
			}
		case role.role == Primary:
			role.role, role.reason = Other, "it is not confirmed as the primary yet"
		}
		for _, name := range n.names {
			m := Member{Name: name, Address: n.address, Role: role.role, Reason: role.reason}
			if n.now == nil && !n.asked && role.role != Primary {
				m.Role = w.view.roleOf(name) // its address has changed
			}
			if len(v.Members) < MaxMembers {
				v.Members = append(v.Members, m)
			}
		}
		if n.address == primary && n.confirmed() {
			defer func(at time.Time) { w.confirmed = at }(n.now.ended)
		}
	}
	if first && v.DecidedAt.IsZero() || primary != w.current {
		v.DecidedAt, v.LastEvidence, v.GTID = now, w.confirmed, d.gtid
	}
	w.current = primary
	slices.SortStableFunc(v.Members, func(a, b Member) int { return strings.Compare(a.Address, b.Address) })
	if reflect.DeepEqual(v, w.view) {
		return
	}
	w.view = v
	if w.o.Publish != nil {
		w.o.Publish(v)
	}
}

// roleOf returns the role of a server by name.
func (v *View) roleOf(name string) Role {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Role
		}
	}
	return Unknown
}
