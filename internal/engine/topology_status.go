package engine

import (
	"time"

	"weir/balance"
	"weir/conf"
	"weir/internal/status"
)

// topology returns the entry of the topology of a cluster, or nil if it has none.
func (s *snapshot) topology(spec *conf.Cluster, state *balance.ClusterState) *status.Topology {
	t := s.topologies[spec.Name]
	if t == nil || spec.Topology == nil {
		return nil
	}
	t.mu.Lock()
	view, primary, changes := t.view, t.primaryName(), t.announced.changes
	match := newMatcher(t.servers, t.hosts)
	t.mu.Unlock()
	entry := &status.Topology{
		Type: spec.Topology.Type, Role: spec.Topology.Role, Primary: primary, Address: view.Primary, Source: view.Source, Epoch: view.Epoch, GTID: view.GTID,
		Problem: view.Problem, Changes: changes, WithoutRole: t.balance.SessionsWithoutRole(), Members: []status.Member{},
	}
	if !view.DecidedAt.IsZero() {
		entry.DecidedAt, entry.AgeSeconds = new(view.DecidedAt), max(0, time.Since(view.DecidedAt)).Seconds()
	}
	if !view.Stale.IsZero() {
		entry.StaleSince = new(view.Stale)
	}
	states := map[string]*balance.ServerState{}
	for i := range state.Levels {
		for j := range state.Levels[i].Servers {
			states[state.Levels[i].Servers[j].Name] = &state.Levels[i].Servers[j]
		}
	}
	var usable func(string) error
	for i := range view.Members {
		m := &view.Members[i]
		member := status.Member{Address: m.Address, Role: m.Role.String(), Reason: m.Reason}
		if names := match.find(m.Name, m.Address); len(names) > 0 {
			member.Server = names[0]
			member.Problem = unreachable(states[names[0]])
		} else if !spec.Topology.Discover {
			member.Problem = "not a server of the cluster"
		} else {
			if usable == nil {
				usable = s.members(spec)
			}
			if err := usable(m.Address); err != nil {
				member.Problem = "cannot be used: " + err.Error()
			}
		}
		entry.Members = append(entry.Members, member)
	}
	return entry
}

// unreachable returns why weir cannot reach a server, or "".
func unreachable(s *balance.ServerState) string {
	if s == nil {
		return ""
	}
	l := s.Layers
	l.Wanted = balance.AnyRole // its role does not matter here
	switch d := l.State(); {
	case d.State == balance.Down && d.Layer == balance.ByChecks && !d.Initial, d.State == balance.Failing:
		return "weir cannot reach it: " + d.Reason
	case d.State == balance.Unresolved:
		return noAddress
	}
	return ""
}

// topologyMetrics returns the figures of the topology of a cluster, or nil if it has none.
func (s *snapshot) topologyMetrics(cluster string, b *balance.Cluster) *status.TopologyMetrics {
	t, spec := s.topologies[cluster], s.cfg.Cluster(cluster)
	if t == nil || spec.Topology == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return &status.TopologyMetrics{
		Stale: !t.view.Stale.IsZero(), Primary: t.view.Primary != "", Epoch: t.view.Epoch, Changes: t.announced.changes, WithoutRole: b.SessionsWithoutRole(),
	}
}
