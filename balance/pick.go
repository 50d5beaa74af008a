package balance

import (
	"errors"
	"slices"
	"time"
)

// Errors of Pick.
var (
	// ErrNoServer: none of the session's servers is both eligible and untried.
	ErrNoServer = errors.New("no server")
	// ErrNoAttemptsLeft: the session has used up its attempts.
	ErrNoAttemptsLeft = errors.New("no attempts left")
	// ErrFull: all servers that could serve are at max_sessions. With Spec.Queue the session may Wait.
	ErrFull = errors.New("every server is at max_sessions")
	// ErrHold: with Attempts.Hold, no server can serve the session now, and it may wait for one (Hold).
	ErrHold = errors.New("no server can serve now")
)

// Pick selects the server for a session's next attempt and returns a lease on it. Servers in t count as ineligible. The
// error is ErrNoServer, ErrNoAttemptsLeft, ErrFull or ErrHold, unwrapped.
//
// The level is the first one in order with at least min_up eligible servers. If no level reaches its min_up, it is the
// first one with an eligible server. A level whose servers are all at max_sessions is skipped unless sessions may wait.
func (c *Cluster) Pick(now time.Duration, t *Attempts) (Lease, error) {
	c.lock(now)
	lease, err := c.pick(t)
	c.unlock()
	return lease, err
}

func (c *Cluster) pick(t *Attempts) (Lease, error) {
	switch {
	case t.n > 0 && t.n >= c.maxAttempts(t):
		if t.Hold && !c.couldServe(t) {
			return Lease{}, ErrHold
		}
		return Lease{}, ErrNoAttemptsLeft
	case t.Hold && !t.held && c.mustFollow(t):
		return Lease{}, ErrHold
	}
	bars := c.bars(t)
	full := false
	for _, enough := range [...]bool{true, false} {
		for i := range c.candidateCount(t) {
			l := c.candidateLevel(t, i)
			if l == nil {
				continue
			}
			left := l.eligible
			if bars {
				left = c.untriedCount(l, t)
			}
			if left == 0 || enough != (left >= l.minUp) || l.try > 0 && t.countIn(l.key) >= l.try {
				continue
			}
			if lease, ok := c.pickIn(l, t, bars); ok {
				return lease, nil
			}
			if c.hasFull(l, t) {
				l.refused = true
				if c.spec.Queue {
					return Lease{}, ErrFull
				}
				full = true
			}
		}
	}
	if full {
		return Lease{}, ErrFull
	}
	switch {
	case t.Hold && !c.couldServe(t):
		return Lease{}, ErrHold
	case t.Hold || !c.spec.Protected:
		return Lease{}, ErrNoServer
	}
	lease, err := c.pickProtected(t)
	if err == ErrNoServer && t.n > 0 {
		return c.pickFailing(t)
	}
	return lease, err
}

// maxAttempts returns how many attempts a session may make.
func (c *Cluster) maxAttempts(t *Attempts) int {
	if c.spec.Try > 0 {
		return c.spec.Try
	}
	if len(t.Levels) == 0 {
		return c.slots
	}
	n := 0
	for i := range t.Levels {
		if l := c.levelAt(t.Levels, i); l != nil {
			n += len(l.slots)
		}
	}
	return n
}

// candidateCount returns the number of indexes that candidateLevel accepts.
func (c *Cluster) candidateCount(t *Attempts) int {
	if c.held {
		return c.levelCount(t.Levels) + 1
	}
	return c.levelCount(t.Levels)
}

// candidateLevel returns the i-th level to consider, or nil. A level held by manual failback comes first if the session
// may use it. It then appears again in its own position, which does no harm.
func (c *Cluster) candidateLevel(t *Attempts, i int) *level {
	if !c.held {
		return c.levelAt(t.Levels, i)
	}
	if i > 0 {
		return c.levelAt(t.Levels, i-1)
	}
	if len(t.Levels) == 0 || slices.Contains(t.Levels, c.levels[c.level].key) {
		return c.levels[c.level]
	}
	return nil
}

// levelCount returns the number of indexes that levelAt accepts.
func (c *Cluster) levelCount(list []int) int {
	if len(list) == 0 {
		return len(c.levels)
	}
	return len(list)
}

// levelAt returns the i-th level of a list of keys; an empty list means all levels in order. It returns nil for an
// unknown key.
func (c *Cluster) levelAt(list []int, i int) *level {
	if len(list) == 0 {
		return c.levels[i]
	}
	for _, l := range c.levels {
		if l.key == list[i] {
			return l
		}
	}
	return nil
}

// bars reports whether eachBarred may find slots.
func (c *Cluster) bars(t *Attempts) bool {
	return t.n > 0 || t.Hold && (c.protected != nil || t.held && len(c.hold.refusing) > 0)
}

// eachBarred calls f for every slot of a level that the session may not use whatever its state: those it has tried, and,
// for one that may be held, the protected server and servers that have just refused held sessions.
func (c *Cluster) eachBarred(l *level, t *Attempts, f func(slot int)) {
	for j := range t.n {
		if a := t.at(j); a.level == int32(l.key) {
			if p := a.server.placementIn(l); p.level != nil {
				f(p.slot)
			}
		}
	}
	if !t.Hold {
		return
	}
	unless := func(s *Server) {
		if p := s.placementIn(l); p.level != nil && !t.tried(s, l.key) {
			f(p.slot)
		}
	}
	if s := c.protected; s != nil {
		unless(s)
	}
	if t.held {
		for _, s := range c.hold.refusing {
			if c.now < s.retryAt && s != c.protected {
				unless(s)
			}
		}
	}
}

// untriedCount returns how many servers of a level are eligible and not barred.
func (c *Cluster) untriedCount(l *level, t *Attempts) int {
	n := l.eligible
	c.eachBarred(l, t, func(i int) { n -= count(l.slots[i].eligible) })
	return n
}

// hasFull reports whether a server of the level that is not barred could serve the session but is at its session limit.
func (c *Cluster) hasFull(l *level, t *Attempts) bool {
	n := l.full
	if n > 0 {
		c.eachBarred(l, t, func(i int) { n -= count(l.slots[i].full) })
	}
	return n > 0
}

// hasOpen reports whether a slot of the level is open and not barred.
func (c *Cluster) hasOpen(l *level, t *Attempts) bool {
	n := l.open()
	if n > 0 && c.bars(t) {
		c.eachBarred(l, t, func(i int) { n -= count(l.running.has(i) || l.idle.has(i)) })
	}
	return n > 0
}

// couldServe reports whether a server of the session's levels, which is not barred, could serve it but for limits on
// sessions and attempts.
func (c *Cluster) couldServe(t *Attempts) bool {
	for i := range c.candidateCount(t) {
		if l := c.candidateLevel(t, i); l != nil && (c.hasOpen(l, t) || c.hasFull(l, t)) {
			return true
		}
	}
	return false
}

// pickIn picks in one level. Barred slots are closed during the pick, so methods do not see them and their counters do not
// change.
func (c *Cluster) pickIn(l *level, t *Attempts, bars bool) (Lease, bool) {
	if l.open() == 0 {
		return Lease{}, false
	}
	if bars {
		c.eachBarred(l, t, func(i int) { l.close(i, true) })
	}
	i := -1
	if l.shares != nil {
		if i = l.pickBelowShare(); i >= 0 {
			l.recoverWeight()
		}
	}
	if i < 0 {
		i = l.pick(pickInput{now: c.now, hash: t.Key, keyed: t.Keyed})
	}
	if bars {
		c.eachBarred(l, t, func(i int) { l.close(i, false) })
	}
	if i < 0 {
		return Lease{}, false
	}
	return c.acquire(l, i, t), true
}

// acquire returns a lease on a slot's server.
func (c *Cluster) acquire(l *level, i int, t *Attempts) Lease {
	s := l.slots[i].server
	lease := Lease{server: s, id: c.leases.acquire(), level: int32(l.key), address: s.address}
	t.record(attempt{s, int32(l.key)})
	if t.Hold && t.held && s.retryAt > 0 { // no other held session tries it before this one has been connected
		c.refuses(s)
	}
	s.picks++
	if c.spec.Method == LeastTime {
		s.times.triedAt = c.now
		s.publishTimes()
	}
	s.addSessions(1)
	if s.published.State == Probation && s.probationLease == (leaseID{}) {
		s.probationLease = lease.id
		s.updateSlots()
	}
	return lease
}
