package balance

// State is the state of a server, derived from all layers.
type State uint8

// The states, from the last to the first that Layers.State considers. Unstable replaces Down or Failing on the server
// that is protected.
const (
	Up         State = iota // serves
	Probation               // was failing; serves one session at a time
	Failing                 // out of service by passive health, or because only this instance finds it down
	Full                    // a check was refused for want of room: no new sessions
	Standby                 // it has another role than the one asked for: no new sessions
	Down                    // out of service by an agent or a check
	Unresolved              // its host name has no address yet
	Draining                // no new sessions
	InMaint                 // out of service
	Unstable                // down or failing, but protected as the last server: serves
)

// String returns the name used in the API, in events and in metrics.
func (s State) String() string {
	return [...]string{
		Up: "up", Probation: "probation", Failing: "failing", Full: "full", Standby: "standby", Down: "down",
		Unresolved: "unresolved", Draining: "drain", InMaint: "maint", Unstable: "unstable",
	}[s]
}

// Eligible reports whether a server in this state may be given new sessions.
func (s State) Eligible() bool { return s == Up || s == Probation || s == Unstable }

// out reports whether health took the server out of service.
func (s State) out() bool { return s == Down || s == Failing }

// overruled reports whether protection may overrule the state.
func (d *Decision) overruled() bool { return d.State.out() && !d.Initial }

// Layer is a source of a server's state.
type Layer string

// The layers, and protection, which is not a layer but can cause a state.
const (
	ByConfiguration Layer = "configuration"
	ByOverride      Layer = "override"
	ByAgent         Layer = "agent"
	ByChecks        Layer = "checks"
	ByPassive       Layer = "passive"
	ByResolver      Layer = "resolver"
	ByTopology      Layer = "topology"
	ByFleet         Layer = "fleet"
	ByProtection    Layer = "protection"
)

// Decision is a state, the layer that decided it and the reason given by that layer.
type Decision struct {
	State   State
	Layer   Layer
	Reason  string
	Initial bool // down only because no check has passed yet (initial = "down"); never overruled by protection
}

// State merges the layers into one state. Layers are merged nowhere else.
//
// The first row that applies decides ("–" means unset, "·" means any value):
//
//	override   configuration   resolver    topology    agent   checks   passive    state
//	maint      ·               ·           ·           ·       ·        ·          maint
//	–          maint           ·           ·           ·       ·        ·          maint
//	–          ·               ·           ·           maint   ·        ·          maint
//	drain      ·               ·           ·           ·       ·        ·          drain
//	–          drain           ·           ·           ·       ·        ·          drain
//	–          ·               ·           ·           drain   ·        ·          drain
//	·          ·               unresolved  ·           ·       ·        ·          unresolved
//	·          ·               ·           wrong role  ·       ·        ·          standby
//	·          ·               ·           ·           down    ·        ·          down
//	·          ·               ·           ·           ·       down     ·          down, or failing if a majority does not find it down
//	·          ·               ·           ·           ·       not down ·          down if a majority finds it down
//	·          ·               ·           ·           ·       standby  ·          standby
//	·          ·               ·           ·           ·       full     ·          full
//	·          ·               ·           ·           ·       ·        failing    failing
//	·          ·               ·           ·           ·       ·        probation  probation
//	·          ·               ·           ·           ·       ·        ·          up
//
// Wanted.Serves decides which role is wrong. If the verdicts of several checks differ, down precedes standby, which
// precedes full. An override of ready takes precedence over maint and drain of the configuration and the agent. It does not
// change unresolved, the role, verdicts or passive health. Votes.areMajority decides what a majority finds.
func (l *Layers) State() Decision {
	if l.Override.State != nil {
		switch *l.Override.State {
		case Maint:
			return Decision{State: InMaint, Layer: ByOverride, Reason: l.Override.Note}
		case Drain:
			return Decision{State: Draining, Layer: ByOverride, Reason: l.Override.Note}
		}
	} else {
		for _, a := range [...]struct {
			admin AdminState
			state State
		}{{Maint, InMaint}, {Drain, Draining}} {
			if l.Configured == a.admin {
				return Decision{State: a.state, Layer: ByConfiguration}
			}
			if l.Agent.Admin == a.admin {
				return Decision{State: a.state, Layer: ByAgent, Reason: l.Agent.Reason}
			}
		}
	}
	if l.Unresolved {
		return Decision{State: Unresolved, Layer: ByResolver}
	}
	if !l.Wanted.Serves(l.Role, l.Reserve) {
		reason := l.RoleReason
		if l.Reserve {
			reason = "a replica is up; " + reason
		}
		return Decision{State: Standby, Layer: ByTopology, Reason: reason}
	}
	if l.Agent.Down {
		return Decision{State: Down, Layer: ByAgent, Reason: l.Agent.Reason}
	}
	v := l.deciding()
	switch says := l.FleetSays(); {
	case says == Failing:
		return Decision{State: Failing, Layer: ByFleet, Reason: l.VotesText() + "; " + v.Text()}
	case says == Down && (v == nil || v.State != Down):
		return Decision{State: Down, Layer: ByFleet, Reason: l.VotesText()}
	case v != nil:
		return Decision{State: v.State, Layer: ByChecks, Reason: v.Text(), Initial: v.Initial}
	}
	switch l.Passive {
	case PassiveFailing:
		return Decision{State: Failing, Layer: ByPassive, Reason: l.PassiveReason}
	case PassiveProbation:
		return Decision{State: Probation, Layer: ByPassive, Reason: l.PassiveReason}
	}
	return Decision{State: Up}
}

// deciding returns the verdict that decides the state, or nil if all are up. A check that has failed precedes one that
// has not run yet.
func (l *Layers) deciding() *Verdict {
	var worst *Verdict
	for i := range l.Checks {
		v := &l.Checks[i]
		if v.State == Up {
			continue
		}
		if worst == nil || v.State > worst.State || v.State == worst.State && worst.Initial && !v.Initial {
			worst = v
		}
	}
	return worst
}
