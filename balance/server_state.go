package balance

// State is the state of a server, derived from all layers.
type State uint8

// The states, from the last to the first that Layers.State considers. Unstable replaces Down or Failing on the server
// that is protected.
const (
	Up         State = iota // serves
	Probation               // was failing; serves one session at a time
	Failing                 // out of service by passive health
	Down                    // out of service by an agent or a check
	Unresolved              // its host name has no address yet
	Draining                // no new sessions
	InMaint                 // out of service
	Unstable                // down or failing, but protected as the last server: serves
)

// String returns the name used in the API, in events and in metrics.
func (s State) String() string {
	switch s {
	case Up:
		return "up"
	case Probation:
		return "probation"
	case Failing:
		return "failing"
	case Down:
		return "down"
	case Unresolved:
		return "unresolved"
	case Draining:
		return "drain"
	case InMaint:
		return "maint"
	case Unstable:
		return "unstable"
	}
	return "unknown"
}

// Eligible reports whether a server in this state may be given new sessions.
func (s State) Eligible() bool { return s == Up || s == Probation || s == Unstable }

// out reports whether health took the server out of service. Only these states can be overruled by protection.
func (s State) out() bool { return s == Down || s == Failing }

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
	ByProtection    Layer = "protection"
)

// Decision is a state, the layer that decided it and the reason given by that layer.
type Decision struct {
	State  State
	Layer  Layer
	Reason string
}

// State merges the layers into one state. Layers are merged nowhere else.
//
// The first row that applies decides ("–" means unset, "·" means any value):
//
//	override   configuration   resolver    agent        checks   passive     state
//	maint      ·               ·           ·            ·        ·           maint
//	–          maint           ·           ·            ·        ·           maint
//	–          ·               ·           maint        ·        ·           maint
//	drain      ·               ·           ·            ·        ·           drain
//	–          drain           ·           ·            ·        ·           drain
//	–          ·               ·           drain        ·        ·           drain
//	·          ·               unresolved  ·            ·        ·           unresolved
//	·          ·               ·           down         ·        ·           down
//	·          ·               ·           ·            down     ·           down
//	·          ·               ·           ·            ·        failing     failing
//	·          ·               ·           ·            ·        probation   probation
//	·          ·               ·           ·            ·        ·           up
//
// An override of ready takes precedence over maint and drain of the configuration and the agent. It
// does not change unresolved, verdicts or passive health.
func (l *Layers) State() Decision {
	if l.Override.State != nil {
		switch *l.Override.State {
		case Maint:
			return Decision{InMaint, ByOverride, l.Override.Note}
		case Drain:
			return Decision{Draining, ByOverride, l.Override.Note}
		}
	} else {
		for _, a := range [...]struct {
			admin AdminState
			state State
		}{{Maint, InMaint}, {Drain, Draining}} {
			if l.Configured == a.admin {
				return Decision{a.state, ByConfiguration, ""}
			}
			if l.Agent.Admin == a.admin {
				return Decision{a.state, ByAgent, l.Agent.Reason}
			}
		}
	}
	if l.Unresolved {
		return Decision{Unresolved, ByResolver, ""}
	}
	if l.Agent.Down {
		return Decision{Down, ByAgent, l.Agent.Reason}
	}
	for _, v := range l.Checks {
		if !v.Up {
			return Decision{Down, ByChecks, v.text()}
		}
	}
	switch l.Passive {
	case PassiveFailing:
		return Decision{Failing, ByPassive, l.PassiveReason}
	case PassiveProbation:
		return Decision{Probation, ByPassive, l.PassiveReason}
	}
	return Decision{State: Up}
}
