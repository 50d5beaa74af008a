package balance

import "time"

// EventKind says what kind of transition an Event tells of.
type EventKind string

// The kinds of events.
const (
	EventServerUp     EventKind = "server_up"     // to up, from anything
	EventServerDown   EventKind = "server_down"   // to down, failing or unstable, from a state that is neither these nor probation
	EventServerState  EventKind = "server_state"  // any other change of state
	EventLevelChange  EventKind = "level_change"  // another level took over
	EventClusterEmpty EventKind = "cluster_empty" // no server is in service on its own merits
	EventClusterBack  EventKind = "cluster_back"  // one is again
)

// Event is one transition, told once.
type Event struct {
	Kind     EventKind
	Cluster  string
	Level    string // of the server's first appearance, or the level in use
	Server   string
	From, To string // states, or levels in an EventLevelChange
	Layer    string // who caused it: a Layer
	Reason   string
	At       time.Duration
}

// eventKind classifies a server's change of state.
func eventKind(from, to State) EventKind {
	unwell := func(s State) bool { return s.out() || s == Unstable }
	switch {
	case to == Up:
		return EventServerUp
	case unwell(to) && !unwell(from) && from != Probation:
		return EventServerDown
	}
	return EventServerState
}
