package balance

import "time"

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventServerUp     EventKind = "server_up"     // to up, from any state
	EventServerDown   EventKind = "server_down"   // to down, failing or unstable, from a state that is neither these nor probation
	EventServerState  EventKind = "server_state"  // any other change of state
	EventLevelChange  EventKind = "level_change"  // another level took over
	EventClusterEmpty EventKind = "cluster_empty" // no server is up or on probation
	EventClusterBack  EventKind = "cluster_back"  // a server is up again
)

// Event is one transition. Each is reported once.
type Event struct {
	Kind     EventKind
	Cluster  string
	Level    string // first level of the server, or the level in use
	Server   string
	From, To string // states, or levels in an EventLevelChange
	Layer    string // the Layer that caused it
	Reason   string
	At       time.Duration
}

// eventKind returns the kind of a server's change of state.
func eventKind(from, to State) EventKind {
	bad := func(s State) bool { return s.out() || s == Unstable }
	switch {
	case to == Up:
		return EventServerUp
	case bad(to) && !bad(from) && from != Probation:
		return EventServerDown
	}
	return EventServerState
}
