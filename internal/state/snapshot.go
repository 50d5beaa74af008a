package state

import (
	"encoding/json"
	"time"
)

// Snapshot is what a weir knows that no configuration file says, in a form that another process can take up: what
// operators, agents, checks and sessions have said of servers, and what was changed at run time. Things are named as in
// the file, times are those of the wall. What there is nothing to say about is left out.
type Snapshot struct {
	SavedAt  time.Time `json:"saved_at"` // until when the weir that wrote this was at work, at least
	Clusters []Cluster `json:"clusters"`
}

// Cluster is what is known of one cluster.
type Cluster struct {
	Name string `json:"name"`

	// Level is the level in use where failback is manual; "" = nobody has to be held anywhere.
	Level string `json:"level,omitempty"`

	// Spared is the server that protection keeps in service; "" = none.
	Spared string `json:"spared,omitempty"`

	// What was changed at run time.
	Put     json.RawMessage `json:"put,omitempty"`     // the cluster in place of the file's, in an operator's words
	Created bool            `json:"created,omitempty"` // the file did not describe it when it was put
	Deleted bool            `json:"deleted,omitempty"` // the file's cluster was taken away
	Added   []AddedServer   `json:"added,omitempty"`
	Removed []string        `json:"removed,omitempty"` // servers that the cluster would have otherwise

	Servers []Server `json:"servers,omitempty"` // in the order in which they went out of service
}

// AddedServer is a server that was put into a level, in an operator's words.
type AddedServer struct {
	Level  string          `json:"level"` // its name, or its number counted from 1
	Server json.RawMessage `json:"server"`
}

// Server is what is known of one server. What checks, agents and sessions have found out is about its address:
// under another one it is a matter of the past.
type Server struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	Since    time.Time `json:"since"` // of its state
	Override *Override `json:"override,omitempty"`
	Agent    *Agent    `json:"agent,omitempty"`
	Checks   []Check   `json:"checks,omitempty"`
	Passive  *Passive  `json:"passive,omitempty"`
}

// Override is what an operator said.
type Override struct {
	State       string    `json:"state,omitempty"` // ready, drain or maint
	Weight      *int      `json:"weight,omitempty"`
	MaxSessions *int      `json:"max_sessions,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`
}

// Agent is what all words of an agent amount to.
type Agent struct {
	Check string    `json:"check"` // the id of the check by which it speaks
	Says  string    `json:"says"`  // as one line of the agent's
	At    time.Time `json:"at"`    // when it last spoke; its ttl counts from here
}

// Check is the verdict of one check.
type Check struct {
	ID     string    `json:"id"`
	Down   bool      `json:"down,omitempty"`
	Streak int       `json:"streak,omitempty"` // results in a row that speak against the verdict
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"` // since when
}

// Passive is the record of a server's dials.
type Passive struct {
	State    string     `json:"state"`              // up, failing or probation
	Failures int        `json:"failures,omitempty"` // while up: those that count so far
	First    *time.Time `json:"first,omitempty"`    // and the first of them
	Until    *time.Time `json:"until,omitempty"`    // while failing: when that is over
	Reason   string     `json:"reason,omitempty"`
	At       time.Time  `json:"at"` // of the state
}
