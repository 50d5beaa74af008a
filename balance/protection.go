package balance

import (
	"slices"
	"time"
)

// protect selects the protected server, if any. It stays in service, as unstable, although health says that it should be
// out. There is at most one, and only while no server is up:
//
//	any server up                                none
//	else, any server on probation                the previous one, if any
//	else, all that are out are down              the first, in order of levels, of those that went down in the last round
//	else                                         the last one that went out of service
//
// Servers in maint, drain, standby, full or unresolved are not out on health grounds and are never protected, nor are those
// that wait for their first passing check.
func (c *Cluster) protect() {
	was := c.protected
	switch {
	case !c.spec.Protected || c.up > 0:
		c.protected = nil
	case c.serving > 0:
		if was != nil && (len(was.placements) == 0 || !was.merged.overruled()) {
			c.protected = nil
		}
	default:
		c.protected = c.lastServer(nil)
	}
	if was == c.protected {
		return
	}
	c.markDirty(was)
	c.markDirty(c.protected)
	if c.protected != nil {
		c.protected.flapping = true
	}
	if was != nil && was.delayed && len(was.placements) > 0 {
		c.recompute(was, was.cause.Layer, was.cause.Reason)
	}
}

// minProtectedTime is how long a state of a protected server lasts at least, so that one whose dials fail now and then
// does not fill the event log.
const minProtectedTime = time.Second

// mustWait reports whether a change of a server's merged state must wait until the current one is minProtectedTime old.
// Only changes between states in which the server serves are delayed: up, probation, and failing or down while it is or
// would be protected.
func (c *Cluster) mustWait(s *Server, to *Decision) bool {
	was := &s.merged
	if !c.spec.Protected || !s.flapping || was.State == to.State || c.now-s.mergedSince >= minProtectedTime {
		return false
	}
	switch {
	case canServe(was.State) && canServe(to.State):
		return true
	case canServe(was.State) && to.overruled():
		return c.serving == 1 // the last one: it would be protected at once
	case was.overruled() && canServe(to.State):
		return c.protected != nil
	}
	return false
}

// lastServer returns the server to protect among the given levels (empty = all), or nil if none is out on health
// grounds.
func (c *Cluster) lastServer(levels []int) *Server {
	var latest *Server
	each := func(visit func(s *Server) bool) {
		for i := range c.levelCount(levels) {
			if l := c.levelAt(levels, i); l != nil {
				for j := range l.slots {
					if s := l.slots[j].server; s.merged.overruled() && !visit(s) {
						return
					}
				}
			}
		}
	}
	onlyDown := true
	each(func(s *Server) bool {
		onlyDown = onlyDown && s.merged.State == Down
		if latest == nil || s.outage > latest.outage {
			latest = s
		}
		return true
	})
	if latest == nil || !onlyDown {
		return latest
	}
	each(func(s *Server) bool {
		if s.mergedSince > latest.mergedSince {
			latest = s
		}
		return true
	})
	first := latest
	each(func(s *Server) bool {
		first = s
		return !c.failedTogether(s, latest)
	})
	return first
}

// resultDelay is the maximum time between the moment a result is found and the moment it is reported here.
const resultDelay = 20 * time.Millisecond

// failedTogether reports whether s and latest went down in the same round of checks. latest went down last. It must
// have gone down within Spec.CheckRound of s, and must not have passed a check after s began to fail.
func (c *Cluster) failedTogether(s, latest *Server) bool {
	if s == latest {
		return true
	}
	failing, _ := s.failureTimes()
	_, passed := latest.failureTimes()
	return s.mergedSince >= latest.mergedSince-c.spec.CheckRound && passed <= failing+resultDelay
}

// Times before any time that a cluster has seen. longAgo is before neverPassed.
const (
	neverPassed = 2*resultDelay - never
	longAgo     = -never
)

// failureTimes returns when the layers that report the server down first found a failure, and when one of them last
// found it working; neverPassed if none has.
func (s *Server) failureTimes() (since, before time.Duration) {
	since, before = never-resultDelay, neverPassed
	well := func(at time.Duration) {
		if at != 0 {
			before = max(before, at)
		}
	}
	if s.layers.Agent.Down {
		since = s.agentFailing
		well(s.agentPassed)
	}
	for _, v := range s.layers.Checks {
		if v.State == Down {
			since = min(since, v.failing)
			well(v.passed)
		}
	}
	return since, before
}

// backdateFailures moves the first failure of every layer that reports the server down to longAgo.
func (s *Server) backdateFailures() {
	s.agentFailing = longAgo
	s.layers.Checks = slices.Clone(s.layers.Checks)
	for i := range s.layers.Checks {
		if v := &s.layers.Checks[i]; v.State == Down {
			v.failing = longAgo
		}
	}
}

// pickProtected picks in a protected cluster when no level has an open slot. A server on probation then takes more than
// one session. A session that may use only some levels gets the server that would be protected if these were the whole
// cluster.
func (c *Cluster) pickProtected(t *Attempts) (Lease, error) {
	eligible, full := false, false
	for i := range c.candidateCount(t) {
		l := c.candidateLevel(t, i)
		if l == nil {
			continue
		}
		eligible = eligible || l.eligible > 0
		if l.busy == 0 || l.try > 0 && t.countIn(l.key) >= l.try {
			continue
		}
		for j := range l.slots {
			s := &l.slots[j]
			if !s.busy || t.tried(s.server, l.key) {
				continue
			}
			if !s.full {
				return c.acquire(l, j, t), nil
			}
			full = true
		}
	}
	if len(t.Levels) > 0 && !eligible {
		if s := c.lastServer(t.Levels); s != nil {
			for i := range c.candidateCount(t) {
				l := c.candidateLevel(t, i)
				if l == nil {
					continue
				}
				if p := s.placementIn(l); p.level != nil && !t.tried(s, l.key) {
					if !s.full() {
						return c.acquire(l, p.slot, t), nil
					}
					full = true
				}
			}
		}
	}
	if full {
		return Lease{}, ErrFull
	}
	return Lease{}, ErrNoServer
}

// maxLastResorts is how many failing servers a session may try. While a whole cluster is dead, each session costs that
// many extra dials. A few are enough to find the server that is back, because sessions take turns with them.
const maxLastResorts = 2

// pickFailing picks for a session that has failed on every eligible server. Instead of ending, it tries a server that
// is out only because of failed dials: the one whose last attempt as a last resort is the longest ago. Checks, agents
// and operators are not overruled.
func (c *Cluster) pickFailing(t *Attempts) (Lease, error) {
	if t.lastResorts >= maxLastResorts {
		return Lease{}, ErrNoServer
	}
	var in *level
	at := 0
	for i := range c.candidateCount(t) {
		l := c.candidateLevel(t, i)
		if l == nil || l.try > 0 && t.countIn(l.key) >= l.try {
			continue
		}
		for j := range l.slots {
			s := l.slots[j].server
			if s.published.State == Failing && !s.full() && !t.tried(s, l.key) && (in == nil || s.turnsBefore(in.slots[at].server)) {
				in, at = l, j
			}
		}
	}
	if in == nil {
		return Lease{}, ErrNoServer
	}
	lease := c.acquire(in, at, t)
	lease.lastResort = true
	t.lastResorts++
	c.lastResorts++
	lease.server.lastResort = c.lastResorts
	return lease, nil
}

// turnsBefore reports whether s is tried as a last resort before the other failing server.
func (s *Server) turnsBefore(than *Server) bool {
	if s.lastResort != than.lastResort {
		return s.lastResort < than.lastResort
	}
	return s.outage < than.outage
}
