package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/internal/status"
)

// Reasons of layers that have no text of their own.
const (
	byOperator = "set by an operator"
	noAddress  = "the name has no address yet"
)

// reasonOf returns the reason of an event: the text of the layer, or the one that its layer has in the status document.
func reasonOf(ev balance.Event) string {
	switch {
	case ev.Reason != "" || ev.Server == "":
		return ev.Reason
	case ev.Layer == string(balance.ByOverride):
		return byOperator
	case ev.Layer == string(balance.ByConfiguration) && (ev.To == balance.InMaint.String() || ev.To == balance.Draining.String()):
		return "state = " + ev.To
	case ev.Layer == string(balance.ByResolver) && ev.To == balance.Unresolved.String():
		return noAddress
	}
	return ""
}

// layers returns the layers of a server's state, the most important first. Layers without a value are left out, except
// the configuration and passive health. by is the origin of the configuration. spec and agent, the agent check, may be
// nil. skipped are the checks that cannot run, by ID.
func layers(seen *balance.ServerState, by string, spec *conf.Server, agent *job, skipped map[string]*skippedRuns, clock clock) []status.Layer {
	known := &seen.Layers
	var list []status.Layer
	add := func(by balance.Layer, l status.Layer) {
		l.Layer = string(by)
		l.Decides = by == seen.Layer
		list = append(list, l)
	}
	if o := known.Override; o.State != nil || o.Weight != nil || o.MaxSessions != nil {
		l := status.Layer{By: operator(o.By), Weight: o.Weight, MaxSessions: o.MaxSessions, Reason: cmp.Or(o.Note, byOperator), At: clock.at(known.OverrideAt), Until: clock.at(o.Deadline)}
		if o.State != nil {
			l.Says = o.State.String()
		}
		add(balance.ByOverride, l)
	}
	weight, limit := known.Weight, known.MaxSessions
	configured := status.Layer{By: by, Says: known.Configured.String(), Weight: &weight, MaxSessions: &limit}
	if known.Configured != balance.Ready {
		configured.Reason = "state = " + configured.Says
	}
	add(balance.ByConfiguration, configured)
	if spec != nil && spec.Address.Host != "" {
		l := status.Layer{By: spec.Address.Host, Says: "resolved", At: clock.at(known.ResolverAt)}
		if known.Unresolved {
			l.Says, l.Reason = "unresolved", noAddress
		}
		add(balance.ByResolver, l)
	}
	if known.Wanted != balance.AnyRole {
		l := status.Layer{By: "topology", Says: known.Role.String(), Reason: known.RoleReason, At: clock.at(known.TopologyAt)}
		if known.Reserve {
			l.Reason = "a replica is up; " + l.Reason
		}
		add(balance.ByTopology, l)
	}
	if known.Votes.Nodes > 0 {
		l := status.Layer{By: "nodes", Says: known.FleetSays().String(), Reason: known.VotesText(), At: clock.at(known.VotesAt)}
		if seen.Layer == balance.ByFleet {
			l.Reason = seen.Reason
		}
		add(balance.ByFleet, l)
	}
	if known.AgentAt != 0 {
		l := agentLayer(&known.Agent, clock.at(known.AgentAt))
		if agent != nil && agent.ttl > 0 {
			l.Until = clock.at(known.AgentAt + agent.ttl)
		}
		add(balance.ByAgent, l)
	}
	decided := false
	for _, v := range known.Checks {
		l := status.Layer{By: v.ID, Says: v.State.String(), Reason: v.Reason, At: clock.at(v.At)}
		if skipped[v.ID] != nil {
			l.Reason = skipped[v.ID].text()
		}
		add(balance.ByChecks, l)
		last := &list[len(list)-1]
		last.Decides = last.Decides && v.State == decidingState(seen) && seen.Reason == v.Text() && !decided
		decided = decided || last.Decides
	}
	for _, id := range slices.Sorted(maps.Keys(skipped)) {
		if !slices.ContainsFunc(known.Checks, func(v balance.Verdict) bool { return v.ID == id }) {
			add(balance.ByChecks, status.Layer{By: id, Reason: skipped[id].text()})
			list[len(list)-1].Decides = false
		}
	}
	passive := status.Layer{By: "sessions", Says: known.Passive.String(), At: clock.at(known.PassiveAt), Reason: known.PassiveReason}
	if known.Passive == balance.PassiveFailing && spec != nil {
		passive.Until = clock.at(known.PassiveAt + spec.FailTimeout)
	}
	add(balance.ByPassive, passive)
	return list
}

// operator formats who set an override.
func operator(by string) string {
	if by == "" {
		return "operator"
	}
	return "operator (" + by + ")"
}

// decidingState returns the state that the deciding layer of a server asks for: down if protection overrules it.
func decidingState(s *balance.ServerState) balance.State {
	if s.State == balance.Unstable {
		return balance.Down
	}
	return s.State
}

func agentLayer(a *balance.AgentAdvice, at *time.Time) status.Layer {
	l := status.Layer{By: "agent", Says: "up", Weight: a.Weight, Percent: a.Percent, MaxSessions: a.MaxSessions, Reason: a.Reason, At: at}
	switch {
	case a.Admin != balance.Ready:
		l.Says = a.Admin.String()
	case a.Down:
		l.Says = "down"
	}
	return l
}
