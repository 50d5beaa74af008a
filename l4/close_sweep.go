package l4

// Looking for sessions to close. While there is a plan, each loop visits its sessions in turn, a bounded number at a time,
// and closes those that an order concerns, whose turn it is and that are quiet. Sessions that have reached their maximum age
// are in a list of their own. Nothing is done per read: activity times and counts of the kernel tell when a session is quiet.

import (
	"math"
	"sync/atomic"
	"time"

	"weir/balance"
)

const (
	sweepInterval = 10 * time.Millisecond // between two visits
	sweepVisits   = walkBatch             // sessions that are visited at once
	// sweepWork is how many sessions are inspected by system calls at once (four each), or closed.
	sweepWork = 128
)

// CloseOrder says why and how sessions are closed.
type CloseOrder struct {
	Reason Reason
	Closer *Closer
	Match  func(*SessionIdentity) bool // the sessions of the order; nil = all of the server
	AtOnce bool                        // do not wait for quiet moments: the server is dead
	// Surplus is the cluster that is rebalanced: only sessions above its fair shares are closed. nil = all.
	Surplus *balance.Cluster
	// Force allows sessions that are not quiet to be closed too, at the same pace.
	Force atomic.Bool
}

// ClosePlan holds the orders about the sessions of each server, the most urgent first. It is immutable.
type ClosePlan map[*balance.Server][]*CloseOrder

// SetClosePlan replaces the plan. The loops begin at once. It does not wait for them.
func (p *Plane) SetClosePlan(plan ClosePlan) {
	seen := map[*Closer]bool{}
	var closers []*Closer
	for _, orders := range plan {
		for _, o := range orders {
			if !seen[o.Closer] {
				seen[o.Closer] = true
				closers = append(closers, o.Closer)
			}
		}
	}
	p.postAll(func(l *loop) { l.sweep.plan, l.sweep.closers, l.sweep.at = plan, closers, 0 })
}

// sweep is a loop's search for sessions to close.
type sweep struct {
	plan    ClosePlan
	closers []*Closer     // of the plan
	cursor  int           // the next slot
	at      time.Duration // time of the next visit

	expired       []expiredSession
	expiredCursor int
}

// expiredSession is a session that has reached its maximum age.
type expiredSession struct {
	slot   uint32
	id     uint64
	closer *Closer
}

// idle reports whether there is nothing to look for.
func (w *sweep) idle() bool { return len(w.plan) == 0 && len(w.expired) == 0 }

// closeSessions visits some sessions.
func (l *loop) closeSessions() {
	w := &l.sweep
	if l.now < w.at {
		return
	}
	work := sweepWork
	next := l.closeExpired(&work)
	if len(w.plan) > 0 {
		for _, c := range w.closers {
			next = min(next, c.nextTurn())
		}
		if next <= l.now {
			l.closeOrdered(&work)
		}
	}
	w.at = max(next, l.now+sweepInterval)
}

// closeOrdered visits sessions in the order of their slots.
func (l *loop) closeOrdered(work *int) {
	w := &l.sweep
	all := l.sessions.all
	for range min(len(all), sweepVisits) {
		if *work <= 0 {
			return
		}
		if w.cursor >= len(all) {
			w.cursor = 0
		}
		s := all[w.cursor]
		w.cursor++
		if s == nil || s.phase != PhaseRelay {
			continue
		}
		for _, o := range w.plan[s.lease.Server()] {
			if o.Match != nil {
				if id := s.identity(); !o.Match(&id) {
					continue
				}
			}
			if s.closeBy(l, o, work) {
				break
			}
		}
	}
}

// closeBy closes the session if the order allows it now. It reports whether it did.
func (s *session) closeBy(l *loop, o *CloseOrder, work *int) bool {
	if l.now < o.Closer.nextTurn() {
		return false
	}
	quiet := false
	if !o.AtOnce && s.quiet(l.now, o.Closer.quietTime()) {
		*work--
		quiet = s.settled()
	}
	if !quiet && !o.AtOnce && !o.Force.Load() {
		return false
	}
	if o.Surplus != nil && !o.Surplus.AboveShare(&s.lease) || !o.Closer.takeTurn(l.now) {
		return false
	}
	if o.Surplus != nil && !o.Surplus.ReleaseSurplus(&s.lease, l.now) {
		return false
	}
	*work--
	if quiet {
		s.closeGently(l, o)
	} else {
		o.Closer.Count(o.Reason, false, 1)
		s.cut(l, o.Reason)
	}
	return true
}

// closeExpired visits sessions that have reached their maximum age. It returns the time of the next visit.
func (l *loop) closeExpired(work *int) (next time.Duration) {
	w := &l.sweep
	next = math.MaxInt64
	for range min(len(w.expired), sweepVisits) {
		if *work <= 0 {
			break
		}
		if w.expiredCursor >= len(w.expired) {
			w.expiredCursor = 0
		}
		e := w.expired[w.expiredCursor]
		s := l.sessions.all[e.slot]
		if s != nil && s.id == e.id && (s.phase == PhaseHandover || s.phase == PhaseRelay && !s.closeAged(l, e.closer, work)) {
			w.expiredCursor++
			continue
		}
		last := len(w.expired) - 1
		w.expired[w.expiredCursor] = w.expired[last]
		w.expired[last] = expiredSession{}
		w.expired = w.expired[:last]
		e.closer.expired.Add(-1)
	}
	if len(w.expired) == 0 {
		w.expired = nil
		return next
	}
	return 0
}

// closeAged closes the session if it is its turn and it is quiet, or by force at the deadline.
func (s *session) closeAged(l *loop, c *Closer, work *int) bool {
	if l.timeUp(s.expiresAt() + c.Deadline()) {
		*work--
		c.Count(ReasonCutAge, false, 1)
		s.cut(l, ReasonCutAge)
		return true
	}
	return s.closeBy(l, &CloseOrder{Reason: ReasonCutAge, Closer: c}, work)
}

// expiresAt returns when the session reaches its maximum age. The jitter follows from its id, so that it is the same in the
// new process of an upgrade.
func (s *session) expiresAt() time.Duration {
	age := s.set.MaxAge
	x := s.id * 0x9e3779b97f4a7c15 // Fibonacci hashing: ids are consecutive
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	spread := float64(age) * float64(s.set.AgeJitter) / 100
	return s.startedAt + age + time.Duration(spread*(2*float64(x>>11)/(1<<53)-1))
}

// watchAge arms the session's timer for its maximum age, or lists the session if it has reached it.
func (s *session) watchAge(l *loop) {
	if s.set.MaxAge == 0 || s.has(expired) || s.set.Closer == nil {
		return
	}
	at := s.expiresAt()
	if !l.timeUp(at) {
		s.armBy(l, at)
		return
	}
	s.facts |= expired
	s.set.Closer.expired.Add(1)
	l.sweep.expired = append(l.sweep.expired, expiredSession{s.slot, s.id, s.set.Closer})
	l.sweep.at = 0
}

// armBy arms the session's timer unless it fires before a time.
func (s *session) armBy(l *loop, at time.Duration) {
	if !s.timer.armed || s.timer.tick > uint64(at/wheelTick) {
		l.wheel.arm(&s.timer, at)
	}
}
