package balance

// State is the one word that follows from all that is known about a server.
type State uint8

// The states, in the order in which they are looked for, except that Unstable replaces Down or Failing on a server
// that protection spares.
const (
	Up         State = iota // serves
	Probation               // was failing, serves one session at a time
	Failing                 // passiveHealth health took it out
	Down                    // an agent or a check says so
	Unresolved              // its name has no address yet
	Draining                // no new sessions
	InMaint                 // out of service
	Unstable                // down or failing, but the last one left: serves
)

// String returns the word used in the API, in events and in metrics.
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

// Eligible tells whether a server in this state may be given new sessions.
func (s State) Eligible() bool { return s == Up || s == Probation || s == Unstable }

// out tells whether health took the server out of service: what protection can overrule.
func (s State) out() bool { return s == Down || s == Failing }

// Layer names who says something about a server.
type Layer string

// The layers, and protection, which is no layer but can be the cause of a state.
const (
	ByConfiguration Layer = "configuration"
	ByOverride      Layer = "override"
	ByAgent         Layer = "agent"
	ByChecks        Layer = "checks"
	ByPassive       Layer = "passive"
	ByResolver      Layer = "resolver"
	ByProtection    Layer = "protection"
)

// Decision is a state with the layer that decided it and that layer's reason.
type Decision struct {
	State  State
	Layer  Layer
	Reason string
}

// State merges the layers. It is the only place where they meet, and no layer writes another.
//
// The first row that applies decides ("–" says nothing, "·" may be anything):
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
// An override of ready is an answer too: it stands before the configuration's and the agent's maint and drain, and
// lifts neither a verdict nor anything else below them.
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
			word  AdminState
			state State
		}{{Maint, InMaint}, {Drain, Draining}} {
			if l.Configured == a.word {
				return Decision{a.state, ByConfiguration, ""}
			}
			if l.Agent.Admin == a.word {
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
