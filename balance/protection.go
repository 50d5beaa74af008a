package balance

import (
	"slices"
	"time"
)

// protect decides which server, if any, is spared: kept in service, as unstable, although health says that it should be
// out. There is one at most, and only while no server is up:
//
//	any server up                                nobody: whoever was spared loses the privilege
//	else, any server on probation                whoever was spared stays so; nobody new
//	else, all that are out were found down       the first of those found down in the last round (together), in order of levels
//	else                                         the last one to go out
//
// Servers in maint, drain or unresolved are not out on health grounds and never spared.
func (c *Cluster) protect() {
	was := c.protected
	switch {
	case !c.spec.Protected || c.up > 0:
		c.protected = nil
	case c.serving > 0:
		if was != nil && (len(was.placements) == 0 || !was.merged.State.out()) {
			c.protected = nil
		}
	default:
		c.protected = c.lastServer(nil)
	}
	if was != c.protected {
		c.markDirty(was)
		c.markDirty(c.protected)
	}
}

// lastResort returns the server to spare among the given levels (none = all), or nil if none is out on health grounds.
func (c *Cluster) lastServer(levels []int) *Server {
	var latest *Server
	each := func(visit func(s *Server) bool) {
		for i := range c.levelCount(levels) {
			if l := c.levelAt(levels, i); l != nil {
				for j := range l.slots {
					if s := l.slots[j].server; s.merged.State.out() && !visit(s) {
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

// resultDelay is how long after it was found a result may be told.
const resultDelay = 20 * time.Millisecond

// failedTogether tells whether two servers were found down in the same round of checks, the second one last: not long apart, and
// the second one was not found well any more once the first one had begun to fail.
func (c *Cluster) failedTogether(s, latest *Server) bool {
	if s == latest {
		return true
	}
	failing, _ := s.failureTimes()
	_, passed := latest.failureTimes()
	return s.mergedSince >= latest.mergedSince-c.spec.CheckRound && passed <= failing+resultDelay
}

// Times before all that a cluster has heard of: since when it has not been told, and since before that.
const (
	neverPassed = 2*resultDelay - never
	longAgo     = -never
)

// failureTimes returns since when those who say that the server is down have found it so, and when the last of them found it
// well before; untold if none has.
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
		if !v.Up {
			since = min(since, v.failing)
			well(v.passed)
		}
	}
	return since, before
}

// backdateFailures has whatever says that the server is down have found it so long ago.
func (s *Server) backdateFailures() {
	s.agentFailing = longAgo
	s.layers.Checks = slices.Clone(s.layers.Checks)
	for i := range s.layers.Checks {
		if v := &s.layers.Checks[i]; !v.Up {
			v.failing = longAgo
		}
	}
}

// pickProtected is the last resort of a protected cluster, when no level had anything to offer. A server on probation then
// takes more than its one session, and a session that may use only some of the levels gets the server that would be
// spared if these were the whole cluster.
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

// maxLastResorts is how many servers that are out for failed dials a session may try. While a whole cluster is dead, each
// session costs that many dials more; a few are enough to find the one that is back, because sessions take turns with them.
const maxLastResorts = 2

// pickFailing is for the session that every eligible server has failed: rather than to end it, it is sent to a server that
// is out for no other reason than that dials failed a while ago, of those the one whose last chance is longest past.
// Checks, agents and operators are not overruled.
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

// turnsBefore tells which of two failing servers has its turn as a last resort.
func (s *Server) turnsBefore(than *Server) bool {
	if s.lastResort != than.lastResort {
		return s.lastResort < than.lastResort
	}
	return s.outage < than.outage
}
