package balance

import (
	"slices"
	"time"
)

// away is the state of servers that a provider has found (ServerSpec.Found), that have left, and that may come back. The
// override of such a server stays. Its verdicts and passive record stay for Spec.KeepAway.
type away map[string]awayServer

type awayServer struct {
	saved SavedServer
	until time.Duration // end of the validity of verdicts and passive record
}

// maxAway limits the servers of a cluster whose state is kept.
const maxAway = 10_000

// add keeps the state of a server that leaves, if it has any.
func (a *away) add(m SavedServer, until, now time.Duration) {
	m.Agent, m.AgentAt = AgentAdvice{}, 0 // the agent is asked again at once
	if !m.hasState() {
		return
	}
	if *a == nil {
		*a = away{}
	}
	if len(*a) >= maxAway {
		a.prune(now)
	}
	if len(*a) < maxAway {
		(*a)[m.Name] = awayServer{m, until}
	}
}

// prune drops what is no longer valid.
func (a away) prune(now time.Duration) {
	for name, s := range a {
		if now >= s.until && s.saved.Override == (Override{}) {
			delete(a, name)
		}
	}
}

// at returns what of the state is still valid for a server at an address.
func (s awayServer) at(address string, now time.Duration) SavedServer {
	if m := s.saved; now < s.until && m.Address == address {
		return m
	}
	return SavedServer{Name: s.saved.Name, Address: s.saved.Address, Override: s.saved.Override, OverrideAt: s.saved.OverrideAt}
}

// comeBack restores the state of servers that a provider has found again. Events of its last absence are no news.
func (c *Cluster) comeBack(returned []*Server) {
	for _, s := range returned {
		m := c.away[s.name].at(s.Address(), c.now)
		delete(c.away, s.name)
		m.Checks = slices.DeleteFunc(slices.Clone(m.Checks), func(v Verdict) bool {
			return !slices.ContainsFunc(s.monitors, func(spec MonitorSpec) bool { return spec.ID == v.ID })
		})
		c.restoreServer(s, &m)
	}
}

// Away returns the state with which a server would come back at an address: one that a provider had found and that has left.
func (c *Cluster) Away(server, address string, now time.Duration) (m SavedServer, ok bool) {
	c.lock(now)
	defer c.unlock()
	s, ok := c.away[server]
	if !ok {
		return m, false
	}
	m = s.at(address, c.now)
	m.Override = m.Override.clone()
	return m, true
}
