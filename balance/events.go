package balance

import "time"

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventServerUp     EventKind = "server_up"     // to up or standby, from down, failing, unresolved, unstable or probation
	EventServerDown   EventKind = "server_down"   // to down, failing or unstable, from a state that is neither these nor probation
	EventServerState  EventKind = "server_state"  // any other change of state
	EventLevelChange  EventKind = "level_change"  // another level took over
	EventClusterEmpty EventKind = "cluster_empty" // no server is up or on probation
	EventClusterBack  EventKind = "cluster_back"  // a server is up again

	EventRebalanceBegin EventKind = "rebalance_begin" // sessions above the fair shares are closed
	EventRebalanceEnd   EventKind = "rebalance_end"
	// EventFirstSession is not a transition: a session has connected to the primary that the last decision has named.
	EventFirstSession EventKind = "first_session"
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

	// Unproven is set for a server with ServerSpec.External that has not worked yet: no check of it has passed and no session has
	// connected. Its first passed check after initial = "down" counts as well.
	Unproven bool
}

// eventKind returns the kind of a server's change of state. wasInitial is set if it was down only because no check had
// passed yet.
func eventKind(from State, is Decision, wasInitial bool) EventKind {
	bad := func(s State) bool { return s.out() || s == Unstable }
	to := is.State
	switch {
	case to == Standby && (wasInitial || is.Layer == ByTopology): // topology says nothing about its health
		return EventServerState
	case (to == Up || to == Standby) && (bad(from) || from == Unresolved || from == Probation):
		return EventServerUp
	case bad(to) && !bad(from) && from != Probation:
		return EventServerDown
	}
	return EventServerState
}
