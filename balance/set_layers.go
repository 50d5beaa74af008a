package balance

import "time"

// The methods in this file are how the layers speak. A name that the cluster does not have is passed over: whoever
// speaks may be a reload behind.

// SetCheck records a monitor's verdict on a server, after rise and fall. id tells the monitors of a cluster apart; all
// of them must agree that a server is up.
func (c *Cluster) SetCheck(server, id string, up bool, reason string, now time.Duration) {
	c.check(server, Verdict{ID: id, Up: up, Reason: reason}, up, now)
}

// SetCheckFailing records that a monitor's last result spoke against a server, which is up all the same, short of fall.
func (c *Cluster) SetCheckFailing(server, id, reason string, now time.Duration) {
	c.check(server, Verdict{ID: id, Up: true, Reason: reason}, false, now)
}

func (c *Cluster) check(server string, v Verdict, pass bool, now time.Duration) {
	c.speak(server, now, func(s *Server) {
		v.At = c.now
		s.layers.Checks = verdicts(s.layers.Checks, v, pass)
		c.judge(s, ByChecks, v.text())
	})
}

// DropCheck forgets a monitor's verdict on a server, as of the latest time that the cluster has heard of.
func (c *Cluster) DropCheck(server, id string) {
	c.speak(server, 0, func(s *Server) {
		list := s.layers.Checks[:0:0]
		for _, v := range s.layers.Checks {
			if v.ID != id {
				list = append(list, v)
			}
		}
		s.layers.Checks = list
		c.judge(s, ByChecks, id+": no longer checked")
	})
}

// SetOverride replaces what an operator said about a server.
func (c *Cluster) SetOverride(server string, o Override, now time.Duration) {
	c.speak(server, now, func(s *Server) {
		s.layers.Override, s.layers.OverrideAt = o.copied(), c.now
		c.judge(s, ByOverride, o.Note)
		c.reweigh(s)
	})
}

// SetAgent replaces what an agent said about a server.
func (c *Cluster) SetAgent(server string, a AgentAdvice, now time.Duration) {
	c.speak(server, now, func(s *Server) {
		switch {
		case !a.Down:
			s.agentPassed = c.now
		case !s.layers.Agent.Down:
			s.agentFailing = c.now
		}
		s.layers.Agent, s.layers.AgentAt = a.copied(), c.now
		c.judge(s, ByAgent, a.Reason)
		c.reweigh(s)
	})
}

// SetResolved records whether a server's name has an address.
func (c *Cluster) SetResolved(server string, ok bool, now time.Duration) {
	c.speak(server, now, func(s *Server) {
		s.layers.Unresolved, s.layers.ResolverAt = !ok, c.now
		c.judge(s, ByResolver, "")
	})
}

// Feedback counts a failure or a success that somebody outside observed, as if a dial had met with it.
func (c *Cluster) Feedback(server string, failed bool, now time.Duration) {
	c.speak(server, now, func(s *Server) {
		if failed {
			s.failures++
			c.fail(s, "reported")
		} else {
			c.succeed(s, false, "reported")
		}
	})
}

// speak changes one server's layers and settles the cluster.
func (c *Cluster) speak(server string, now time.Duration, change func(*Server)) {
	c.lock(now)
	if s := c.servers[server]; s != nil {
		change(s)
		c.settle()
	}
	unfit := c.unfitTables
	c.unfitTables = false
	c.unlock()
	if unfit {
		c.retable()
	}
}

// reweigh applies the layers' weight to every place of a server.
func (c *Cluster) reweigh(s *Server) {
	for _, p := range s.places {
		l, configured := p.level, p.level.slots[p.slot].configured
		weight := s.layers.weight(configured)
		l.reweigh(p.slot, weight)
		if l.table != nil && l.table.weights[p.slot] != tableWeight(configured, weight) {
			c.unfitTables = true
		}
	}
}
