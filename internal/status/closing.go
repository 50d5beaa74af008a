package status

import "time"

// Closing is the progress of closing sessions of a cluster: because of on_down, removed servers, drains with a deadline,
// failback, rebalancing or their age.
type Closing struct {
	Left     int        `json:"left"`               // sessions to close
	Total    int        `json:"total"`              // since there were none, including those that ended by themselves
	Quiet    uint64     `json:"quiet"`              // closed at a quiet moment
	Forced   uint64     `json:"forced"`             // reset
	Causes   []string   `json:"causes"`             // server_down, server_removed, drain, age, failback or rebalance
	Deadline *time.Time `json:"deadline,omitempty"` // the next, at which the sessions that are left are reset
}

// Rebalance is the response to a request to rebalance a cluster.
type Rebalance struct {
	Cluster string        `json:"cluster"`
	DryRun  bool          `json:"dry_run"`
	Surplus int           `json:"surplus"` // sessions to close
	Servers []ServerShare `json:"servers"` // those that serve
}

// ServerShare is the fair share of a server in one level.
type ServerShare struct {
	Level    string `json:"level"`
	Server   string `json:"server"`
	Sessions int    `json:"sessions"` // now
	Share    int    `json:"share"`    // fair, by weight
	Surplus  int    `json:"surplus"`  // sessions to close
}

// ClosedCount counts sessions that were closed.
type ClosedCount struct {
	Cause string
	Kind  string // quiet or forced
	Count uint64
}
