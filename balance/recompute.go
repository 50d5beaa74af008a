package balance

import (
	"fmt"
	"time"
)

// This file derives the state of servers and makes it visible. A method that changes a layer calls recompute for the
// server, and publishChanges once after all changes of a call. Intermediate states are never visible.

// recompute merges a server's layers. by and why are the layer that changed and its reason.
func (c *Cluster) recompute(s *Server, by Layer, why string) {
	was, to := s.merged.State, s.layers.State()
	s.cause = Decision{Layer: by, Reason: why}
	c.markDirty(s)
	if s.delayed = c.mustWait(s, &to); s.delayed {
		c.watch(s)
		return
	}
	s.merged = to
	is := s.merged.State
	if is == was {
		return
	}
	if was == Up && c.now-s.mergedSince >= minProtectedTime {
		s.flapping = false
	}
	c.up += count(is == Up) - count(was == Up)
	c.serving += count(canServe(is)) - count(canServe(was))
	s.mergedSince = c.now
	if is.out() && !was.out() {
		c.outages++
		s.outage = c.outages
	}
	if is == Down && !s.merged.Initial || is == InMaint {
		s.slowStartDue = true
	}
}

// canServe reports whether a server may serve in a merged state.
func canServe(s State) bool { return s == Up || s == Probation }

// markDirty adds a server, which may be nil, to the servers to publish.
func (c *Cluster) markDirty(s *Server) {
	if s != nil && !s.dirty {
		s.dirty = true
		c.dirty = append(c.dirty, s)
	}
}

// publishChanges applies the merged states of dirty servers: first protection, then published states and slots, then
// the level in use, then waiting and held sessions.
func (c *Cluster) publishChanges() {
	changed := len(c.dirty) > 0
	if changed {
		c.updateReserve()
		c.protect()
		c.updateReserve() // the end of protection may bring a replica up
	}
	for i := 0; i < len(c.dirty); i++ {
		s := c.dirty[i]
		s.dirty = false
		if len(s.placements) > 0 {
			c.publish(s)
		}
		c.dirty[i] = nil
	}
	c.dirty = c.dirty[:0]
	c.selectLevel()
	if c.joined != "" {
		c.autoRebalance()
	}
	if c.rebalance != nil && c.rebalance.stale {
		c.updateShares(true)
	}
	c.serveWaiters(changed)
	c.releaseHeld()
}

// publish derives a server's published state, slow start and slots from its merged state, and emits an event if the
// state has changed.
func (c *Cluster) publish(s *Server) {
	was, wasInitial, is := s.published.State, s.published.Initial, s.merged
	served := s.since != neverPublished && was.Eligible() && was != Probation || s.since == neverPublished && !s.slowStartDue
	if s == c.protected {
		is.State = Unstable
	}
	s.published = is
	s.outOfService.Store(is.State == Down || is.State == Standby || is.State == InMaint)
	if is.State != Probation {
		s.probationLease = leaseID{}
	}
	if canServe(is.State) && s.slowStartDue {
		s.slowStartDue = false
		if was != Unstable && c.spec.SlowStart > 0 {
			s.inSlowStart, s.slowStartBegan = true, c.now
			s.percent, _ = slowStartPercent(c.now, c.now, c.spec.SlowStart)
			c.watch(s)
		}
	}
	if is.State != was || s.since == neverPublished {
		c.accepts(s)
		known := s.since != neverPublished
		s.since = c.now
		if was == Draining || is.State == Draining {
			c.moves.Add(1)
		}
		if known {
			e := Event{Kind: eventKind(was, is, wasInitial), Level: s.placements[0].level.name, Server: s.name,
				From: was.String(), To: is.State.String(), Layer: string(is.Layer), Reason: is.Reason,
				Unproven: s.external && (!s.worked || wasInitial)}
			switch {
			case is.State == Up || is.State == Probation:
				e.Layer, e.Reason = string(s.cause.Layer), s.cause.Reason
			case is.State == Unstable && was.out(), was == Unstable && is.State.out():
				e.Layer = string(ByProtection)
			}
			c.emit(e)
		}
	}
	s.updateSlots()
	if !served && is.State.Eligible() && is.State != Probation {
		c.joined = s.name
	}
	if c.rebalance != nil {
		c.rebalance.stale = true
	}
}

// selectLevel updates the level in use and whether the cluster is empty. A server on probation ends neither an empty
// cluster nor the use of a lower level: it gets one session, which may fail.
func (c *Cluster) selectLevel() {
	c.level, c.held = c.levelInUse()
	c.updateUsable()
	switch {
	case !c.empty && c.serving == 0:
		c.empty = true
		e := Event{Kind: EventClusterEmpty, Level: c.lastLevel}
		if c.protected != nil {
			e.Server, e.Layer, e.Reason = c.protected.name, string(ByProtection), "kept in service as the last server"
		}
		c.emit(e)
	case c.empty && c.up > 0:
		c.empty = false
		c.emit(Event{Kind: EventClusterBack, Level: c.levels[c.level].name})
	}
	if c.level < 0 {
		return
	}
	if name := c.levels[c.level].name; name != c.lastLevel {
		if c.lastLevel != "" {
			c.emit(Event{Kind: EventLevelChange, Level: name, From: c.lastLevel, To: name})
		}
		c.lastLevel = name
	}
}

// levelInUse returns the level of sessions that may use any level, or -1. held reports whether manual failback keeps
// them there.
func (c *Cluster) levelInUse() (use int, held bool) {
	eligible := c.firstLevel(func(l *level) int { return l.eligible })
	if use = c.firstLevel((*level).steady); use < 0 {
		use = eligible
	}
	if c.spec.ManualFailback && c.level >= 0 {
		switch current := c.levels[c.level]; {
		case c.level > use && current.steady() >= current.minUp:
			use = c.level // held
		case c.level < use && current.eligible >= current.minUp:
			use = c.level // failback to servers on probation
		}
	}
	return use, c.spec.ManualFailback && use > eligible
}

// firstLevel returns the first level with at least min_up servers by the given count, else the first with any, else -1.
func (c *Cluster) firstLevel(servers func(*level) int) int {
	some := -1
	for i, l := range c.levels {
		switch n := servers(l); {
		case n >= l.minUp:
			return i
		case n > 0 && some < 0:
			some = i
		}
	}
	return some
}

// watch adds a server to the servers with a timer.
func (c *Cluster) watch(s *Server) {
	if !s.timed {
		s.timed = true
		c.timed = append(c.timed, s)
	}
	c.nextTimer = min(c.nextTimer, s.deadline(c.spec.SlowStart))
}

// deadline returns when the server's next timer is due.
func (s *Server) deadline(slowStart time.Duration) time.Duration {
	at := never
	if s.passive.state == PassiveFailing {
		at = s.passive.until
	}
	if s.delayed {
		at = min(at, s.mergedSince+minProtectedTime)
	}
	if s.inSlowStart {
		_, next := slowStartPercent(s.slowStartBegan, max(s.slowStartBegan, s.cluster.now), slowStart)
		at = min(at, next)
	}
	return at
}

// applyTimers applies timers that are due. The caller then calls publishChanges.
func (c *Cluster) applyTimers() {
	c.nextTimer = never
	c.expireParts()
	c.expireVotes()
	keep := c.timed[:0]
	for _, s := range c.timed {
		if s.inSlowStart {
			s.percent, _ = slowStartPercent(s.slowStartBegan, c.now, c.spec.SlowStart)
			s.inSlowStart = s.percent < fullPercent
			c.markDirty(s)
		}
		if s.passive.state == PassiveFailing {
			s.passive.expire(c.now)
			c.applyPassive(s, "fail_timeout expired")
		}
		if s.delayed && c.now-s.mergedSince >= minProtectedTime && len(s.placements) > 0 {
			c.recompute(s, s.cause.Layer, s.cause.Reason)
		}
		at := s.deadline(c.spec.SlowStart)
		if s.timed = at != never && len(s.placements) > 0; s.timed {
			keep = append(keep, s)
			c.nextTimer = min(c.nextTimer, at)
		}
	}
	clear(c.timed[len(keep):])
	c.timed = keep
}

// recordFailure counts a failure of a server.
func (c *Cluster) recordFailure(s *Server, why string) {
	if s == c.protected && s.passive.state == PassiveFailing {
		s.passive.trip(c.now) // it failed again, but stays protected
		return
	}
	s.passive.fail(c.now)
	if s.passive.state == PassiveFailing && s.layers.Passive != PassiveFailing {
		if s.layers.Passive != PassiveProbation && s.passive.maxFails > 1 {
			why = fmt.Sprintf("%d failures within %v, the last: %s", s.passive.maxFails, s.passive.timeout, why)
		}
		c.watch(s)
	}
	c.applyPassive(s, why)
}

// recordSuccess counts a success of a server. whileOut is set for a server that was picked as a last resort. A protected
// server stays failing: its record ends with fail_timeout or with passing checks.
func (c *Cluster) recordSuccess(s *Server, whileOut bool, why string) {
	s.worked = true
	if whileOut {
		s.passive.clear()
	} else {
		s.passive.success()
	}
	c.applyPassive(s, why)
}

// applyPassive copies a server's passive state to its layers.
func (c *Cluster) applyPassive(s *Server, why string) {
	if s.layers.Passive == s.passive.state || len(s.placements) == 0 {
		return
	}
	s.layers.Passive, s.layers.PassiveReason, s.layers.PassiveAt = s.passive.state, why, c.now
	c.recompute(s, ByPassive, why)
}
