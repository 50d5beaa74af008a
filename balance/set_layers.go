package balance

import (
	"slices"
	"time"
)

// The methods in this file set the layers of a server. An unknown server is ignored, because the caller may not have seen
// the latest reload yet.

// SetCheck sets a monitor's verdict on a server to Up or Down, like SetVerdict.
func (c *Cluster) SetCheck(server, id string, up bool, reason string, now time.Duration) {
	state := Down
	if up {
		state = Up
	}
	c.SetVerdict(server, id, state, reason, now)
}

// SetVerdict sets a monitor's verdict on a server, after rise and fall: Up, Full, Standby or Down. id identifies the
// monitor. A server is up only if all its verdicts are up.
func (c *Cluster) SetVerdict(server, id string, state State, reason string, now time.Duration) {
	c.setVerdict(server, Verdict{ID: id, State: state, Reason: reason}, state != Down, now)
}

// SetCheckFailing records that a monitor's last result failed while the verdict is still up, short of fall.
func (c *Cluster) SetCheckFailing(server, id, reason string, now time.Duration) {
	c.setVerdict(server, Verdict{ID: id, State: Up, Reason: reason}, false, now)
}

func (c *Cluster) setVerdict(server string, v Verdict, works bool, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		v.At = c.now
		s.worked = s.worked || works
		s.layers.Checks = withVerdict(s.layers.Checks, v, works)
		c.recompute(s, ByChecks, v.Text())
	})
}

// CheckPassed records that a run of a monitor that began at a time has passed. up reports whether the verdict is up; if it
// is not yet, it stays as it is. Once every monitor of the server has passed a run that began after the server was found
// failing, the passive record is cleared.
func (c *Cluster) CheckPassed(server, id string, up bool, reason string, began, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		i := slices.IndexFunc(s.layers.Checks, func(v Verdict) bool { return v.ID == id })
		s.worked = true
		switch {
		case up:
			v := Verdict{ID: id, State: Up, Reason: reason, At: c.now, passBegan: began}
			s.layers.Checks = withVerdict(s.layers.Checks, v, true)
			c.recompute(s, ByChecks, v.Text())
		case i >= 0:
			s.layers.Checks = slices.Clone(s.layers.Checks)
			s.layers.Checks[i].passBegan = max(s.layers.Checks[i].passBegan, began)
		}
		if s.passive.state != PassiveUp && s.allPassedSince(s.passive.trippedAt) {
			s.passive.clear()
			c.applyPassive(s, "checks passed")
		}
	})
}

// allPassedSince reports whether the server has monitors and each has passed a run that began after a time.
func (s *Server) allPassedSince(at time.Duration) bool {
	all := false
	for _, m := range s.monitors {
		if m.OnlyDown {
			continue
		}
		i := slices.IndexFunc(s.layers.Checks, func(v Verdict) bool { return v.ID == m.ID })
		if i < 0 || s.layers.Checks[i].passBegan <= at {
			return false
		}
		all = true
	}
	return all
}

// DropCheck removes a monitor's verdict on a server, as of the latest time that the cluster has seen.
func (c *Cluster) DropCheck(server, id string) {
	c.updateServer(server, 0, func(s *Server) {
		list := s.layers.Checks[:0:0]
		for _, v := range s.layers.Checks {
			if v.ID != id {
				list = append(list, v)
			}
		}
		s.layers.Checks = list
		c.recompute(s, ByChecks, id+": no longer checked")
	})
}

// Override returns the override of a server.
func (c *Cluster) Override(server string) Override {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.servers[server]; s != nil {
		return s.layers.Override.clone()
	}
	return Override{}
}

// SetOverride replaces the override of a server.
func (c *Cluster) SetOverride(server string, o Override, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		s.layers.Override, s.layers.OverrideAt = o.clone(), c.now
		c.recompute(s, ByOverride, o.Note)
		c.applyWeight(s)
	})
}

// SetAgent replaces the agent's advice on a server.
func (c *Cluster) SetAgent(server string, a AgentAdvice, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		switch {
		case !a.Down:
			s.agentPassed = c.now
		case !s.layers.Agent.Down:
			s.agentFailing = c.now
		}
		s.layers.Agent, s.layers.AgentAt = a.clone(), c.now
		c.recompute(s, ByAgent, a.Reason)
		c.applyWeight(s)
	})
}

// SetResolved sets whether a server's name has an address.
func (c *Cluster) SetResolved(server string, ok bool, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		s.layers.Unresolved, s.layers.ResolverAt = !ok, c.now
		c.recompute(s, ByResolver, "")
	})
}

// Feedback counts a failure or a success observed outside of weir, like the result of a dial.
func (c *Cluster) Feedback(server string, failed bool, now time.Duration) {
	c.updateServer(server, now, func(s *Server) {
		if failed {
			s.failures++
			c.recordFailure(s, "reported")
		} else {
			c.recordSuccess(s, false, "reported")
		}
	})
}

// updateServer changes one server's layers and publishes the result.
func (c *Cluster) updateServer(server string, now time.Duration, change func(*Server)) {
	c.lock(now)
	if s := c.servers[server]; s != nil {
		change(s)
		c.publishChanges()
	}
	unfit := c.tablesStale
	c.tablesStale = false
	c.unlock()
	if unfit {
		c.rebuildTables()
	}
}

// applyWeight applies the merged weight to every slot of a server.
func (c *Cluster) applyWeight(s *Server) {
	if c.rebalance != nil {
		c.rebalance.stale = true
	}
	for _, p := range s.placements {
		l, configured := p.level, p.level.slots[p.slot].configured
		weight := s.layers.weight(configured)
		l.setWeight(p.slot, weight)
		if l.table != nil && l.table.weights[p.slot] != tableWeight(configured, weight) {
			c.tablesStale = true
		}
	}
}
