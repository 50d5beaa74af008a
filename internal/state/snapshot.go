package state

import (
	"encoding/json"
	"time"
)

// Snapshot is the state of a process that its configuration file does not contain: overrides, agent advice, verdicts,
// passive records and runtime changes. Objects have their names of the configuration, times are wall-clock times, and
// default values are left out.
type Snapshot struct {
	SavedAt  time.Time `json:"saved_at"`       // the process was running then
	Node     *Node     `json:"node,omitempty"` // nil = ready
	Clusters []Cluster `json:"clusters"`

	Fleet       json.RawMessage `json:"fleet,omitempty"`        // what the node knows of its fleet; see package fleet
	FleetLimits json.RawMessage `json:"fleet_limits,omitempty"` // its parts of limits; see package limits
	Shared      *Shared         `json:"shared,omitempty"`       // nil = none
}

// Shared is the revision of the configuration of a fleet that is in force.
type Shared struct {
	Prefix   string `json:"prefix"` // of the fleet
	Revision int    `json:"revision"`
	Text     string `json:"text"` // TOML
}

// Node is what an operator has set of the whole process.
type Node struct {
	State  string    `json:"state"` // ready or drain
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"` // who asked
	At     time.Time `json:"at"`
}

// Cluster is the state of one cluster.
type Cluster struct {
	Name string `json:"name"`

	Level           string `json:"level,omitempty"`            // in use, with failback = "manual"; "" = no level is held
	ProtectedServer string `json:"protected_server,omitempty"` // kept in service by protection; "" = none

	// Runtime changes.
	Replacement json.RawMessage `json:"replacement,omitempty"` // as put through the API, instead of the cluster of the file
	Created     bool            `json:"created,omitempty"`     // the file had no such cluster when Replacement was put
	Deleted     bool            `json:"deleted,omitempty"`     // the cluster of the file was deleted
	Added       []AddedServer   `json:"added,omitempty"`
	Removed     []string        `json:"removed,omitempty"`  // servers of the file or of Replacement
	Withheld    []string        `json:"withheld,omitempty"` // servers that a provider names

	Topology *Topology `json:"topology,omitempty"` // nil = no decision

	Discovered []Discovered `json:"discovered,omitempty"` // last good answers of providers

	Servers []Server `json:"servers,omitempty"` // in the order in which they went out of service
}

// Topology is the last decision of the source of a cluster's topology.
type Topology struct {
	Of      string    `json:"of"`                // identifies the source
	Primary string    `json:"primary,omitempty"` // address; "" = there was none
	Epoch   uint64    `json:"epoch,omitempty"`   // no decision with a lower one is accepted
	GTID    string    `json:"gtid,omitempty"`
	At      time.Time `json:"at"` // of the decision
	Members []Member  `json:"members,omitempty"`

	LastName    string `json:"last_name,omitempty"`    // of the last primary in events
	LastAddress string `json:"last_address,omitempty"` // of the last primary
	Changes     uint64 `json:"changes,omitempty"`      // of the primary so far
}

// Member is a server that the source of a topology knows.
type Member struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
	Role    string `json:"role"` // primary, replica, other or unknown
}

// Discovered is the last good answer of the provider of a level.
type Discovered struct {
	Level   string             `json:"level"` // name, or number counted from 1
	Of      string             `json:"of"`    // identifies the source
	At      time.Time          `json:"at"`
	Servers []DiscoveredServer `json:"servers,omitempty"`
}

// DiscoveredServer is a server that a provider has named.
type DiscoveredServer struct {
	Address string            `json:"address"`
	Options map[string]string `json:"options,omitempty"` // keys of a server
	Labels  map[string]string `json:"labels,omitempty"`
}

// AddedServer is a server that was added to a level.
type AddedServer struct {
	Level  string          `json:"level"`  // name, or number counted from 1
	Server json.RawMessage `json:"server"` // as given to the API
}

// Server is the state of one server. Checks, advice and passive record apply to its address only.
type Server struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	Since    time.Time `json:"since"` // of the server's state
	Override *Override `json:"override,omitempty"`
	Agent    *Agent    `json:"agent,omitempty"`
	Checks   []Check   `json:"checks,omitempty"`
	Passive  *Passive  `json:"passive,omitempty"`
}

// Override is what an operator has set.
type Override struct {
	State       string     `json:"state,omitempty"` // ready, drain or maint
	Weight      *int       `json:"weight,omitempty"`
	MaxSessions *int       `json:"max_sessions,omitempty"`
	Deadline    *time.Time `json:"deadline,omitempty"` // of a drain
	Reason      string     `json:"reason,omitempty"`
	By          string     `json:"by,omitempty"` // who asked
	At          time.Time  `json:"at"`
}

// Agent is the advice of an agent, merged from all its replies.
type Agent struct {
	Check string    `json:"check"` // id of the agent check
	Reply string    `json:"reply"` // one agent-check line
	At    time.Time `json:"at"`    // of the last reply; the ttl counts from here
}

// Check is the verdict of one check.
type Check struct {
	ID     string    `json:"id"`
	Down   bool      `json:"down,omitempty"`
	State  string    `json:"state,omitempty"`  // standby or full; "" = Down decides
	Streak int       `json:"streak,omitempty"` // successive results that contradict the verdict
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"` // of the verdict
}

// Passive is the record of failed dials of a server.
type Passive struct {
	State    string     `json:"state"`              // up, failing or probation
	Failures int        `json:"failures,omitempty"` // while up: in the current fail_timeout
	First    *time.Time `json:"first,omitempty"`    // of Failures
	Until    *time.Time `json:"until,omitempty"`    // while failing: when probation starts
	Reason   string     `json:"reason,omitempty"`
	At       time.Time  `json:"at"` // of State
}
