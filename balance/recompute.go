package balance

import (
	"fmt"
	"time"
)

// Settling is how a change in what is known becomes a change in who serves. Whoever changes a layer calls judge for the
// server, and settle once when all changes of one call are made; nothing in between is ever seen from outside.

// judge works out again what a server's layers amount to. by and why say who spoke.
func (c *Cluster) judge(s *Server, by Layer, why string) {
	was := s.own.State
	s.own = s.layers.State()
	s.cause = Decision{Layer: by, Reason: why}
	c.touch(s)
	is := s.own.State
	if is == was {
		return
	}
	c.up += count(is == Up) - count(was == Up)
	c.able += count(able(is)) - count(able(was))
	s.ownSince = c.now
	if is.out() && !was.out() {
		c.outs++
		s.wentOut = c.outs
	}
	if is == Down || is == InMaint {
		s.cold = true
	}
}

// able tells whether a server's own state lets it serve.
func able(s State) bool { return s == Up || s == Probation }

// touch puts a server on the list of those to settle. It may be nil.
func (c *Cluster) touch(s *Server) {
	if s != nil && !s.touched {
		s.touched = true
		c.touched = append(c.touched, s)
	}
}

// settle brings the cluster into line with its servers' own states: protection first, then what is shown and which
// slots are open, then the level in use, then those who wait.
func (c *Cluster) settle() {
	changed := len(c.touched) > 0
	if changed {
		c.protect()
	}
	for i := 0; i < len(c.touched); i++ {
		s := c.touched[i]
		s.touched = false
		if len(s.places) > 0 {
			c.show(s)
		}
		c.touched[i] = nil
	}
	c.touched = c.touched[:0]
	c.relevel()
	c.serve(changed)
}

// show brings what is shown of a server, its slow start and its slots into line with its own state.
func (c *Cluster) show(s *Server) {
	was, is := s.shown.State, s.own
	if s == c.spared {
		is.State = Unstable
	}
	s.shown = is
	s.away.Store(is.State == Down || is.State == InMaint)
	if is.State != Probation {
		s.probing = claim{}
	}
	if able(is.State) && s.cold {
		s.cold = false
		if was != Unstable && c.spec.SlowStart > 0 {
			s.growing, s.started = true, c.now
			s.percent, _ = growth(c.now, c.now, c.spec.SlowStart)
			c.watch(s)
		}
	}
	if is.State != was || s.since == unshown {
		known := s.since != unshown
		s.since = c.now
		if known {
			e := Event{Kind: kindOf(was, is.State), Level: s.places[0].level.name, Server: s.name,
				From: was.String(), To: is.State.String(), Layer: string(is.Layer), Reason: is.Reason}
			switch {
			case is.State == Up || is.State == Probation:
				e.Layer, e.Reason = string(s.cause.Layer), s.cause.Reason
			case is.State == Unstable && was.out(), was == Unstable && is.State.out():
				e.Layer = string(ByProtection)
			}
			c.tell(e)
		}
	}
	s.refit()
}

// relevel finds the level in use and whether the cluster is empty. A server on probation ends neither an emptiness nor
// the use of a lower level: it gets its session, and may fail it.
func (c *Cluster) relevel() {
	c.level, c.held = c.inUse()
	switch {
	case !c.empty && c.able == 0:
		c.empty = true
		e := Event{Kind: EventClusterEmpty, Level: c.before}
		if c.spared != nil {
			e.Server, e.Layer, e.Reason = c.spared.name, string(ByProtection), "kept in service as the last server"
		}
		c.tell(e)
	case c.empty && c.up > 0:
		c.empty = false
		c.tell(Event{Kind: EventClusterBack, Level: c.levels[c.level].name})
	}
	if c.level < 0 {
		return
	}
	if name := c.levels[c.level].name; name != c.before {
		if c.before != "" {
			c.tell(Event{Kind: EventLevelChange, Level: name, From: c.before, To: name})
		}
		c.before = name
	}
}

// inUse returns the level that serves sessions which may use any, or -1, and whether these have to be kept in it because
// failback is manual.
func (c *Cluster) inUse() (use int, held bool) {
	eligible := c.first(func(l *level) int { return l.eligible })
	if use = c.first((*level).steady); use < 0 {
		use = eligible
	}
	if c.spec.ManualFailback && c.level > use && c.levels[c.level].steady() >= c.levels[c.level].minUp {
		use = c.level
	}
	return use, c.spec.ManualFailback && use > eligible
}

// first returns the first level in which at least min_up servers count, else the first in which any does, else -1.
func (c *Cluster) first(servers func(*level) int) int {
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

// watch puts a server on the list of those that time changes.
func (c *Cluster) watch(s *Server) {
	if !s.timed {
		s.timed = true
		c.timed = append(c.timed, s)
	}
	c.next = min(c.next, s.deadline(c.spec.SlowStart))
}

// deadline returns when time alone next changes the server.
func (s *Server) deadline(slowStart time.Duration) time.Duration {
	at := never
	if s.record.state == PassiveFailing {
		at = s.record.until
	}
	if s.growing {
		_, next := growth(s.started, max(s.started, s.cluster.now), slowStart)
		at = min(at, next)
	}
	return at
}

// ripen applies what time alone has changed. Settling follows.
func (c *Cluster) ripen() {
	c.next = never
	keep := c.timed[:0]
	for _, s := range c.timed {
		if s.growing {
			s.percent, _ = growth(s.started, c.now, c.spec.SlowStart)
			s.growing = s.percent < grown
			c.touch(s)
		}
		if s.record.state == PassiveFailing {
			s.record.ripen(c.now)
			c.passive(s, "fail_timeout is over")
		}
		at := s.deadline(c.spec.SlowStart)
		if s.timed = at != never && len(s.places) > 0; s.timed {
			keep = append(keep, s)
			c.next = min(c.next, at)
		}
	}
	clear(c.timed[len(keep):])
	c.timed = keep
}

// fail counts a failure against a server.
func (c *Cluster) fail(s *Server, why string) {
	if s == c.spared && s.record.state == PassiveFailing {
		s.record.trip(c.now) // it has had its chance, and goes on having it
		return
	}
	s.record.fail(c.now)
	if s.record.state == PassiveFailing && s.layers.Passive != PassiveFailing {
		if s.layers.Passive != PassiveProbation && s.record.maxFails > 1 {
			why = fmt.Sprintf("%d failures within %v, the last: %s", s.record.maxFails, s.record.timeout, why)
		}
		c.watch(s)
	}
	c.passive(s, why)
}

// succeed counts a success for a server; against is set for one that was picked although it was out.
func (c *Cluster) succeed(s *Server, against bool, why string) {
	if s == c.spared || against {
		s.record.clear()
	} else {
		s.record.success()
	}
	c.passive(s, why)
}

// passive carries a change in a server's passive record over to its layers.
func (c *Cluster) passive(s *Server, why string) {
	if s.layers.Passive == s.record.state || len(s.places) == 0 {
		return
	}
	s.layers.Passive, s.layers.PassiveReason, s.layers.PassiveAt = s.record.state, why, c.now
	c.judge(s, ByPassive, why)
}
