package balance

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// SavedState is the state of a cluster that is not in its Spec, for a cluster of a later process. Times before the
// origin of that process's timeline are negative.
type SavedState struct {
	Level           string        // level in use while failback is manual; "" = failback is automatic
	ProtectedServer string        // the server that protection keeps in service; "" = none
	Servers         []SavedServer // in the order in which health took them out of service
}

// SavedServer is the state of one server.
type SavedServer struct {
	Name, Address string

	Override   Override
	OverrideAt time.Duration

	Agent   AgentAdvice
	AgentAt time.Duration
	Checks  []Verdict

	Passive PassiveRecord

	Since time.Duration // start of the merged state, without protection
}

// PassiveRecord is a server's passive health.
type PassiveRecord struct {
	State  PassiveState
	Fails  int           // since First, while State is PassiveUp
	First  time.Duration // time of the first counted failure
	Until  time.Duration // end of the failing state
	Reason string
	At     time.Duration // start of State
}

// hasState reports whether anything differs from the state of a new server.
func (m *SavedServer) hasState() bool {
	return m.Override != (Override{}) || m.AgentAt != 0 || len(m.Checks) > 0 || m.Passive.State != PassiveUp || m.Passive.Fails > 0
}

// Save returns a copy of the cluster's state. Servers without any state are left out.
func (c *Cluster) Save(now time.Duration) SavedState {
	m, outs := c.collectState(now)
	order := make([]int, len(outs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(outs[a], outs[b]) })
	servers := m.Servers
	m.Servers = make([]SavedServer, len(order))
	for i, from := range order {
		m.Servers[i] = servers[from]
	}
	return m
}

// collectState returns the state with its servers in the order of the levels, and the outage number of each server.
func (c *Cluster) collectState(now time.Duration) (m SavedState, outs []uint64) {
	c.lock(now)
	defer c.unlock()
	if c.protected != nil {
		m.ProtectedServer = c.protected.name
	}
	if c.spec.ManualFailback && c.level >= 0 {
		m.Level = c.levels[c.level].name
	}
	for _, l := range c.levels {
		for i := range l.slots {
			s := l.slots[i].server
			if s.placements[0] != (placement{l, i}) {
				continue
			}
			if r := s.saved(); r.hasState() {
				m.Servers, outs = append(m.Servers, r), append(outs, s.outage)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.away)) {
		if a := c.away[name].saved; a.Override != (Override{}) {
			m.Servers = append(m.Servers, SavedServer{Name: name, Address: a.Address, Override: a.Override, OverrideAt: a.OverrideAt, Since: a.Since})
			outs = append(outs, 0)
		}
	}
	return m, outs
}

// saved returns the state of a server.
func (s *Server) saved() SavedServer {
	layers := &s.layers
	return SavedServer{
		Name: s.name, Address: s.Address(), Override: layers.Override, OverrideAt: layers.OverrideAt,
		Agent: layers.Agent, AgentAt: layers.AgentAt, Checks: layers.Checks, Since: s.mergedSince,
		Passive: PassiveRecord{State: s.passive.state, Fails: s.passive.fails, First: s.passive.first, Until: s.passive.until,
			Reason: layers.PassiveReason, At: layers.PassiveAt},
	}
}

// Restore applies a saved state to a cluster that has not been used yet. Unknown servers are ignored. For a server
// whose address has changed, everything that depends on the address is ignored (see Commit). No events are emitted.
func (c *Cluster) Restore(m SavedState, now time.Duration) {
	c.lock(now)
	for i := range m.Servers {
		if s := c.servers[m.Servers[i].Name]; s != nil {
			c.restoreServer(s, &m.Servers[i])
		} else if c.spec.KeepAway > 0 && m.Servers[i].Override != (Override{}) { // a provider may name it again
			c.away.add(m.Servers[i], 0, c.now)
		}
	}
	if s := c.servers[m.ProtectedServer]; s != nil && s.merged.overruled() {
		c.protected = s
		c.restoreProtection(s)
	}
	for i, l := range c.levels {
		if c.spec.ManualFailback && l.name == m.Level {
			c.level, c.lastLevel = i, l.name
		}
	}
	c.applyTimers()
	c.publishChanges()
	for i := range m.Servers {
		if s := c.servers[m.Servers[i].Name]; s != nil && s.merged.State != Up && s.published.State != Unstable {
			s.since = s.mergedSince
		}
	}
	c.events, c.joined, c.rebalance = nil, "", nil
	c.tablesStale = false
	c.unlock()
	c.rebuildTables()
}

// restoreProtection makes protection select the same server again. The times of results are not saved. The servers that
// precede the protected one in the order of the levels are marked as having failed before the last round.
func (c *Cluster) restoreProtection(protected *Server) {
	for _, l := range c.levels {
		for i := range l.slots {
			switch s := l.slots[i].server; {
			case s == protected:
				return
			case s.merged.State == Down:
				s.backdateFailures()
			}
		}
	}
}

func (c *Cluster) restoreServer(s *Server, m *SavedServer) {
	layers := &s.layers
	layers.Override, layers.OverrideAt = m.Override.clone(), m.OverrideAt
	layers.Agent, layers.AgentAt = m.Agent.clone(), m.AgentAt
	if m.Address == s.Address() {
		for _, v := range m.Checks { // of the others, the initial ones stay
			v.passed, v.failing, v.passBegan = 0, 0, 0 // times of another timeline
			layers.Checks = withVerdict(layers.Checks, v, v.State != Down)
			s.worked = s.worked || v.State != Down
		}
		s.restorePassive(&m.Passive)
	} else {
		layers.Agent.Down, layers.Agent.Admin, layers.Agent.Reason = false, Ready, ""
	}
	c.recompute(s, ByConfiguration, "")
	if s.merged.State != Up {
		s.mergedSince = min(m.Since, c.now)
	}
	if s.passive.state == PassiveFailing {
		c.watch(s)
	}
	c.applyWeight(s)
}

// restorePassive applies a record within the current settings: the failing state lasts for at most one fail_timeout.
func (s *Server) restorePassive(m *PassiveRecord) {
	r := &s.passive
	if r.maxFails <= 0 {
		return
	}
	now := s.cluster.now
	r.state, r.fails, r.first = m.State, m.Fails, min(m.First, now)
	r.until = min(m.Until, now+r.timeout)
	switch {
	case r.state != PassiveUp:
		r.fails = 0
	case r.fails >= r.maxFails: // max_fails has become smaller
		r.fails = r.maxFails - 1
	}
	r.trippedAt = min(m.At, now)
	s.layers.Passive, s.layers.PassiveReason, s.layers.PassiveAt = r.state, m.Reason, m.At
}
