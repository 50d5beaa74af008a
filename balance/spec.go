package balance

import (
	"cmp"
	"slices"
	"time"
)

// Spec is the specification of a cluster. It is plain data; New and Prepare copy what they keep.
type Spec struct {
	Name   string
	Method Method

	// Try limits the attempts of one session in all levels; 0 = the number of servers in the session's levels, where
	// a server in two levels counts twice.
	Try int

	// Protected keeps the last server in service on health grounds: see the package README, "Protection".
	Protected bool

	// ManualFailback holds a lower level that has taken over until Failback is called or it fails (failback = "manual").
	ManualFailback bool

	// SlowStart is how long the share of a returning or added server grows from a tenth of its weight and
	// max_sessions to the whole; 0 = no slow start.
	SlowStart time.Duration

	// AutoRebalance begins a rebalance when a server has joined those that serve and the largest share is more than 10 %
	// above fair (rebalance = "auto"). Settle is how long a rebalance waits for closed sessions to come back; 0 = 30 s.
	AutoRebalance bool
	Settle        time.Duration

	// Queue lets sessions wait (Wait) while every server of their level is at max_sessions. Without it such a
	// level is skipped.
	Queue bool

	// Divided lets this process use only its parts of max_sessions (SetParts), at first nothing.
	Divided bool

	// MaxHeld limits the sessions that Hold makes wait; 0 = no limit.
	MaxHeld int

	// ReleaseRate is how many held sessions per second get a server once one can serve; 0 = all at once.
	ReleaseRate int

	// CheckRound is how far apart two servers may be found down and still count as found down in the same round of checks,
	// which decides which server is protected; 0 = 10 s. Twice the longest check interval plus its timeout is a good value.
	CheckRound time.Duration

	// KeepAway is how long the verdicts and the passive record of a found server that has left are kept for its return.
	KeepAway time.Duration

	// Wanted is the role that a server needs to serve. Without a decision (SetRoles) no server has a role.
	Wanted Wanted

	Levels []LevelSpec
}

// LevelSpec is one priority tier of a cluster.
type LevelSpec struct {
	Name    string // "" = its number, counted from 1
	Key     int    // the key in Attempts.Levels and Lease.Level, also across specifications; all 0 = the index
	MinUp   int    // the level is used while at least this many of its servers are eligible; 0 = 1
	Try     int    // attempts of one session in this level before the next one; 0 = every server once
	Servers []ServerSpec
}

// ServerSpec is one server in one level. The same name in several levels is one server with a weight in each level.
// Everything but the weight is taken from its first appearance.
type ServerSpec struct {
	Name        string
	Address     string // as text; hash and maglev depend on it
	Weight      int    // 0 = only while no other server of the level has weight
	MaxFails    int    // failures that make it failing; 0 = passive health off
	FailTimeout time.Duration
	State       AdminState
	MaxSessions int  // 0 = no limit
	Unresolved  bool // the address is a host name that is not resolved yet
	Found       bool // a provider names the server and may name it again after it has left
	External    bool // it comes from outside the file: its events are Unproven until it has worked
	Monitors    []MonitorSpec
	Handle      any // a value of the caller, not used here
}

// MonitorSpec is a monitor that tests a server.
type MonitorSpec struct {
	ID          string
	InitialDown bool // a new server is not eligible before the monitor has passed
	OnlyDown    bool // it does not run while the server is failing, so passive health does not wait for it
}

// AdminState is the administrative state requested by the configuration, an operator or an agent.
type AdminState uint8

// The administrative states.
const (
	Ready AdminState = iota // normal
	Drain                   // no new sessions, existing ones continue
	Maint                   // out of service, not checked
)

// String returns the name used in the configuration and the API.
func (a AdminState) String() string {
	return [...]string{Ready: "ready", Drain: "drain", Maint: "maint"}[a]
}

// ParseAdminState is the inverse of String.
func ParseAdminState(s string) (AdminState, bool) {
	for _, a := range []AdminState{Ready, Drain, Maint} {
		if s == a.String() {
			return a, true
		}
	}
	return Ready, false
}

const defaultRound = 10 * time.Second

// clone returns a copy that shares no slice with the caller, with defaults filled in.
func (s Spec) clone() Spec {
	s.Levels = slices.Clone(s.Levels)
	for i := range s.Levels {
		l := &s.Levels[i]
		l.Servers = slices.Clone(l.Servers)
		l.MinUp = max(1, l.MinUp)
	}
	if !slices.ContainsFunc(s.Levels, func(l LevelSpec) bool { return l.Key != 0 }) {
		for i := range s.Levels {
			s.Levels[i].Key = i
		}
	}
	s.CheckRound = cmp.Or(s.CheckRound, defaultRound)
	return s
}

// sameDistribution reports whether two specifications distribute sessions in the same way: same method, same levels,
// same servers with the same weights in the same order. If so, a change between them keeps the cursors.
func sameDistribution(a, b Spec) bool {
	return a.Method == b.Method && slices.EqualFunc(a.Levels, b.Levels, func(a, b LevelSpec) bool {
		return slices.EqualFunc(a.Servers, b.Servers, func(a, b ServerSpec) bool {
			return a.Name == b.Name && a.Weight == b.Weight
		})
	})
}
