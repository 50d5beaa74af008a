package balance

import "time"

// Prepared is a specification that is ready for one Commit of the same cluster.
type Prepared struct {
	spec   Spec
	levels []*level
	roles  *Roles // nil = those of the cluster
}

// Prepare builds the levels and hash tables of a specification. It does not hold the lock while it builds and has no
// visible effect.
func (c *Cluster) Prepare(spec Spec) *Prepared {
	spec = spec.clone()
	var tables []*table
	layers := map[string]Layers{}
	if spec.Method.keyed() {
		c.mu.Lock()
		for _, l := range c.levels {
			tables = append(tables, l.table)
		}
		for name, s := range c.servers {
			layers[name] = s.layers
		}
		c.mu.Unlock()
	}
	return buildLevels(spec, c.rng, tables, layers)
}

// buildLevels makes the levels of a specification. Tables that would be the same are taken from tables. New tables are
// built for the weights that layers make of the configured ones.
func buildLevels(spec Spec, rnd *rng, tables []*table, layers map[string]Layers) *Prepared {
	p := &Prepared{spec: spec}
	for i, ls := range spec.Levels {
		l := newLevel(i, ls, spec.Method, rnd)
		for j, ss := range ls.Servers {
			l.slots[j].address, l.slots[j].configured = ss.Address, ss.Weight
		}
		if spec.Method.keyed() {
			l.table = tableFor(spec.Method, ls, tables, layers)
		}
		p.levels = append(p.levels, l)
	}
	return p
}

// tableFor returns the table of a level: one of old if it matches, else a new one.
func tableFor(m Method, spec LevelSpec, old []*table, layers map[string]Layers) *table {
	var addresses []string
	var weights []int
	for _, s := range spec.Servers {
		l := layers[s.Name]
		addresses = append(addresses, s.Address)
		weights = append(weights, tableWeight(s.Weight, l.weight(s.Weight)))
	}
	points := addressPoints(addresses)
	for _, t := range old {
		if t != nil && t.same(m, points, weights) {
			return t
		}
	}
	return newTable(m, points, weights)
}

// Commit applies a prepared specification. It cannot fail.
//
// A server that keeps its name keeps its sessions, verdicts, overrides, passive record and counters. If its address
// changed, it keeps the override, the weights and the counters, but loses its verdicts and its passive record. A server
// that returns while it has sessions takes these back, and its counters; the rest starts afresh. The method's cursors
// restart if the method, levels, servers or weights changed, and otherwise continue.
//
// Commit returns the servers and addresses that have left.
func (c *Cluster) Commit(p *Prepared, now time.Duration) []Departure {
	c.lock(now)
	events := len(c.events)
	returns := c.retired
	if returns {
		for _, s := range c.servers {
			c.depart(s)
		}
		c.servers, c.retired, c.level, c.lastLevel, c.empty = map[string]*Server{}, false, -1, "", false
	}
	left := c.install(p)
	if c.rebalance != nil {
		c.rebalance.stale = true
	}
	c.applyTimers() // slow_start may have changed
	c.publishChanges()
	if returns {
		c.events = c.events[:events] // the states that a cluster starts with are no transitions
	}
	c.unlock()
	c.rebuildTables()
	return left
}

func (c *Cluster) install(p *Prepared) (left []Departure) {
	if sameDistribution(c.spec, p.spec) {
		for i, l := range p.levels {
			l.copyCursors(c.levels[i])
		}
	}
	for _, l := range p.levels {
		for _, o := range c.levels {
			if o.key == l.key {
				l.usable, l.usableSince = o.usable, o.usableSince
			}
		}
	}
	if p.roles != nil {
		c.roles = *p.roles
	}
	old := c.servers
	var returned []*Server
	c.spec, c.levels, c.slots = p.spec, p.levels, 0
	c.measuresAnswers.Store(p.spec.Method == LeastTime)
	c.servers = make(map[string]*Server, len(old))
	c.up, c.serving = 0, 0
	for _, s := range old {
		s.placements = s.placements[:0]
	}
	for i, l := range c.levels {
		c.slots += len(l.slots)
		for j := range l.slots {
			spec := &p.spec.Levels[i].Servers[j]
			s := c.servers[spec.Name]
			if s == nil {
				if s = old[spec.Name]; s == nil {
					s = c.addServer(spec, old != nil)
					if _, was := c.away[spec.Name]; was && spec.Found {
						returned = append(returned, s)
					}
				}
				c.servers[spec.Name] = s
				if d, changed := s.configure(spec); changed {
					left = append(left, d)
				}
			}
			s.placements = append(s.placements, placement{l, j})
			l.slots[j].server = s
			l.setLoad(j, s.sessions)
			l.slots[j].weight = l.scaled(s.layers.weight(spec.Weight))
			l.slots[j].backOffLoss = min(l.slots[j].backOffLoss, max(0, l.slots[j].weight-1))
			l.setTimes(j, &s.times)
		}
	}
	for _, s := range old {
		if len(s.placements) == 0 {
			c.accepts(s)
			if s.found {
				c.away.add(s.saved(), c.now+c.spec.KeepAway, c.now)
			}
			left = append(left, s.leave(s.address))
			c.depart(s)
		}
	}
	for _, l := range c.levels {
		for j := range l.slots {
			if s := l.slots[j].server; s.placements[0] == (placement{l, j}) {
				c.up += count(s.merged.State == Up)
				c.serving += count(canServe(s.merged.State))
				s.applyRole()
				c.recompute(s, ByConfiguration, "")
			}
		}
	}
	c.comeBack(returned)
	if c.protected != nil && len(c.protected.placements) == 0 {
		c.protected = nil
	}
	c.level = -1
	for i, l := range c.levels {
		if l.name == c.lastLevel {
			c.level = i
		}
	}
	return left
}

// addServer returns a server of a specification: one that has left and still has sessions, or a new one. later is set if
// the cluster is in use already.
func (c *Cluster) addServer(spec *ServerSpec, later bool) *Server {
	s := c.departed[spec.Name]
	if s == nil {
		s = &Server{cluster: c, name: spec.Name}
	}
	delete(c.departed, spec.Name)
	s.layers, s.passive, s.part = Layers{}, passiveHealth{}, 0
	s.agentPassed, s.agentFailing, s.outage = 0, 0, 0
	s.merged, s.published, s.cause = Decision{}, Decision{}, Decision{}
	s.since, s.mergedSince = neverPublished, 0
	s.flapping, s.delayed, s.inSlowStart, s.slowStartDue, s.percent = false, false, false, later, fullPercent
	s.probationLease, s.awaitsFirst = leaseID{}, false
	s.startChecks(spec)
	s.layers.Unresolved = spec.Unresolved
	return s
}

// configure applies a specification to a server. It returns the departure of the address that it had before, if that was
// another one.
func (s *Server) configure(spec *ServerSpec) (left Departure, changed bool) {
	was := s.public.Swap(&public{spec.Address, spec.Handle})
	s.layers.Configured, s.layers.Weight, s.layers.MaxSessions = spec.State, spec.Weight, spec.MaxSessions
	if was != nil && was.address != spec.Address {
		if s.since != neverPublished {
			left, changed = s.leave(s.address), true
		}
		s.layers.Unresolved = spec.Unresolved
		s.startChecks(spec)
		s.layers.Agent.Down, s.layers.Agent.Admin, s.layers.Agent.Reason = false, Ready, ""
		s.passive.clear()
		s.times = serverTimes{}
		s.worked = false
		s.cluster.accepts(s)
	}
	s.address = s.addresses.number(spec.Address)
	delete(s.left, s.address)
	s.monitors, s.found, s.external = spec.Monitors, spec.Found, spec.External
	s.passive.set(spec.MaxFails, spec.FailTimeout)
	s.layers.Passive = s.passive.state
	return left, changed
}

// startChecks drops the verdicts. Monitors with initial = "down" keep the server down until they have passed.
func (s *Server) startChecks(spec *ServerSpec) {
	s.layers.Checks = nil
	for _, m := range spec.Monitors {
		if m.InitialDown {
			s.layers.Checks = withVerdict(s.layers.Checks, Verdict{ID: m.ID, State: Down, Initial: true, Reason: "not checked yet", At: s.cluster.now}, false)
		}
	}
}

// copyCursors copies the cursors of a level with the same slots.
func (l *level) copyCursors(old *level) {
	for i := range l.slots {
		if l.wrr != nil {
			l.wrr.slots[i].start = old.wrr.count(i)
		}
		l.slots[i].backOffLoss, l.slots[i].backedOff = old.slots[i].backOffLoss, old.slots[i].backedOff
	}
	copy(l.subset, old.subset)
	l.backedOff = append(l.backedOff, old.backedOff...)
}
