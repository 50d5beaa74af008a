package status

import (
	"fmt"
	"strings"
	"time"
)

// FleetLink is how this weir is connected to its fleet.
type FleetLink struct {
	Node      string    `json:"node"`
	Prefix    string    `json:"prefix"`
	Share     []string  `json:"share"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`           // of connected
	Error     string    `json:"error,omitempty"` // why it is not connected, or cannot write
	Nodes     int       `json:"nodes"`           // live, with this one, when it was connected last
	Pending   int       `json:"pending"`         // overrides that are not in the store yet
	Ignored   int       `json:"ignored"`         // records of the store that cannot be used

	FirstIgnored string `json:"first_ignored,omitempty"`

	PartsUntil *time.Time `json:"parts_until,omitempty"` // when this node must stop using its parts of limits unless the store is back; nil = never
	Reserved   []string   `json:"reserved,omitempty"`    // nodes that have left and hold parts of limits
}

// Fleet is what this weir knows of its fleet.
type Fleet struct {
	FleetLink
	Members       []FleetNode     `json:"members"`
	Overrides     []FleetOverride `json:"overrides"`
	SharedConfig  *SharedConfig   `json:"shared_config,omitempty"` // nil = the node shares none
	Disagreements []Disagreement  `json:"disagreements"`
	Limits        []FleetLimit    `json:"limits,omitempty"` // that are divided
	Problems      []string        `json:"problems"`         // records of the store that cannot be used, the first ones
}

// FleetLimit is the division of a limit among the nodes, as this node knows it.
type FleetLimit struct {
	Kind     string         `json:"kind"` // max_sessions, max_session_rate or max_sessions_per_source
	Cluster  string         `json:"cluster,omitempty"`
	Server   string         `json:"server,omitempty"`
	Listener string         `json:"listener,omitempty"`
	Limit    int            `json:"limit"`    // 0 = the server has left the configuration
	Part     int            `json:"part"`     // that this node may use
	Held     int            `json:"held"`     // reserved for this node
	Reserved map[string]int `json:"reserved"` // for nodes that have left, by node
	Free     int            `json:"free"`     // not held by any node
}

// Of returns what the limit is of: LISTENER or CLUSTER/SERVER.
func (l *FleetLimit) Of() string {
	if l.Server != "" {
		return l.Cluster + "/" + l.Server
	}
	return l.Listener
}

// FleetNode is a live node of a fleet. All but the name is what the node has told.
type FleetNode struct {
	Name          string    `json:"name"`
	Self          bool      `json:"self"` // this weir
	Version       string    `json:"version"`
	Config        string    `json:"config"` // identifies the text of its configuration
	UptimeSeconds float64   `json:"uptime_seconds"`
	At            time.Time `json:"at"` // of the report, on the clock of the node
	Sessions      int       `json:"sessions"`
	State         string    `json:"state"`                  // ready or drain
	StateReason   string    `json:"state_reason,omitempty"` // of drain
	API           []string  `json:"api,omitempty"`          // TCP addresses of its API
	Problems      []string  `json:"problems"`               // the worst ones
	ProblemCount  int       `json:"problem_count"`
}

// FleetOverride is what an operator has set for the fleet, or for this node only.
type FleetOverride struct {
	Cluster string     `json:"cluster,omitempty"` // "" = Object
	Server  string     `json:"server,omitempty"`  // "" = runtime changes of the cluster
	Object  string     `json:"object,omitempty"`  // the name of a node
	Text    string     `json:"text"`              // such as "drain, weight 3"; "" = reset
	Node    string     `json:"node,omitempty"`    // where it was set
	By      string     `json:"by,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	Pending bool       `json:"pending,omitempty"` // not in the store yet
	Local   bool       `json:"local,omitempty"`   // this node has its own, which holds here
}

// Disagreement is a server that has different states on nodes that have its cluster, or about which their verdicts differ.
type Disagreement struct {
	Cluster string            `json:"cluster"`
	Server  string            `json:"server"`
	States  map[string]string `json:"states"`            // by node
	Verdict string            `json:"verdict,omitempty"` // in a cluster with verdict = "quorum": how many nodes find it down, if not all agree
}

// What became of an override of a request.
const (
	SharedWritten  = "written"  // it is in the store
	SharedPending  = "pending"  // it holds here, and is written when the store can be reached
	SharedConflict = "conflict" // the server was changed on another node at the same time, which holds
	SharedLocal    = "local"    // it is for this node only
)

// RuntimeChange is who changes servers or clusters at run time, and for whom.
type RuntimeChange struct {
	By    string
	Local bool // for this node of a fleet only
}

// FleetNodeChange is the answer to a request that changes a node of the fleet.
type FleetNodeChange struct {
	Node   string `json:"node"`
	State  string `json:"state"` // ready or drain
	Shared string `json:"shared"`
}

// problems returns what an operator should know of the fleet.
func (l *FleetLink) problems() (list []Problem) {
	if !l.Connected {
		list = append(list, Problem{Severity: Warning, Text: "fleet not connected: overrides hold on this node only", Reason: l.Error, Since: &l.Since})
	}
	if l.Connected && l.Error != "" {
		list = append(list, Problem{Severity: Warning, Text: "fleet: overrides cannot be written", Reason: l.Error})
	}
	if l.Pending > 0 && l.Error != "" {
		list = append(list, Problem{Severity: Note, Text: fmt.Sprintf("%d overrides pending for the fleet", l.Pending)})
	}
	if l.PartsUntil != nil && !l.Connected {
		list = append(list, Problem{Severity: Critical, Text: "fleet not connected: the parts of limits that are shared end at " + l.PartsUntil.Format(time.TimeOnly),
			Reason: "limit_reserve"})
	}
	if len(l.Reserved) > 0 {
		list = append(list, Problem{Severity: Note, Text: "fleet: parts of limits are reserved for nodes that have left: " + strings.Join(l.Reserved, ", "),
			Reason: "weir fleet forget NODE frees them"})
	}
	if l.Ignored > 0 {
		list = append(list, Problem{Severity: Warning, Text: fmt.Sprintf("fleet: %d records of the store ignored", l.Ignored), Reason: l.FirstIgnored})
	}
	return list
}
