package balance

import "time"

// ClusterState is a copy of a cluster's state. It shares nothing that changes.
type ClusterState struct {
	Name    string
	Method  Method
	Level   string // level of sessions that may use any level; "" = none
	Held    bool   // the level is in use only because failback is manual
	Empty   bool   // no server is up or on probation
	Leases  int    // leases out, including those on removed servers
	Waiting int    // waiting sessions
	Hold    HoldCounts
	Levels  []LevelState
}

// LevelState is a copy of a level's state.
type LevelState struct {
	Name     string
	InUse    bool
	MinUp    int
	Eligible int  // servers
	Impaired bool // below min_up for a reason other than standby servers and operators
	Servers  []ServerState
}

// ServerState is a copy of a server's state in one level.
type ServerState struct {
	Name, Address   string
	State           State
	Layer           Layer  // the layer that decided the state; "" if up
	Reason          string // of that layer
	Since           time.Duration
	Probing         bool    // the session that decides the probation is in progress
	Weight          int     // override, else configured × agent
	EffectiveWeight float64 // Weight after back-off and slow start
	MaxSessions     int     // after slow start; 0 = no limit
	Part            int     // of MaxSessions, that this process may use; negative = all
	Sessions        int     // leases out, over all levels
	MostSessions    int     // leases out at one time, over all levels
	Picks, Failures uint64  // over all levels
	ConnectTime     time.Duration
	Layers          Layers
}

// Snapshot returns a copy of the cluster's state.
func (c *Cluster) Snapshot(now time.Duration) ClusterState {
	c.lock(now)
	defer c.unlock()
	state := ClusterState{
		Name: c.spec.Name, Method: c.spec.Method, Held: c.held, Empty: c.empty,
		Leases: c.leases.out, Waiting: c.queue.n, Hold: c.holdCounts(),
		Levels: make([]LevelState, len(c.levels)),
	}
	if c.level >= 0 {
		state.Level = c.levels[c.level].name
	}
	for i, l := range c.levels {
		servers := make([]ServerState, len(l.slots))
		for j := range l.slots {
			servers[j] = l.state(j)
		}
		state.Levels[i] = LevelState{Name: l.name, InUse: i == c.level, MinUp: l.minUp, Eligible: l.eligible, Impaired: l.impaired(servers), Servers: servers}
	}
	return state
}

// impaired reports whether a level is below its min_up and would be so even if all servers were up that have another role
// or were taken out by an operator.
func (l *level) impaired(servers []ServerState) bool {
	if len(servers) == 0 || l.steady() >= l.minUp {
		return false
	}
	excused := 0
	for i := range servers {
		s := &servers[i]
		byOperator := s.Layer == ByOverride || s.Layer == ByConfiguration
		excused += count(s.State == Standby || byOperator && (s.State == Draining || s.State == InMaint))
	}
	others := len(servers) - excused
	return others >= l.minUp || len(servers) < l.minUp
}

func (l *level) state(i int) ServerState {
	slot := &l.slots[i]
	s := slot.server
	state := ServerState{
		Name: s.name, Address: slot.address,
		State: s.published.State, Layer: s.published.Layer, Reason: s.published.Reason, Since: s.since, Probing: s.busy(),
		Weight: s.layers.weight(slot.configured), EffectiveWeight: float64(l.step(i)) / unit,
		MaxSessions: percentOf(s.layers.maxSessions(), s.percent), Part: -1, Sessions: s.sessions, MostSessions: s.most,
		Picks: s.picks, Failures: s.failures, ConnectTime: time.Duration(s.times.connect.took),
		Layers: s.layers,
	}
	state.Layers.Weight = slot.configured
	if s.isDivided() {
		state.Part = max(0, s.sessionLimit)
	}
	return state
}
