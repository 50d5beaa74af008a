package balance

import (
	"slices"
	"time"
)

// Spec is what a cluster should be. It is plain data; New and Prepare copy what they keep.
type Spec struct {
	Name   string
	Method Method

	// Try bounds the attempts of one session over all levels; 0 = as many as there are servers in the levels chosen,
	// a server in two levels counting twice.
	Try int

	// Protected keeps the last server in service on health grounds: see the package README, "Protection".
	Protected bool

	// ManualFailback holds a lower level that has taken over until Failback is called or it fails (failback = "manual").
	ManualFailback bool

	// SlowStart is how long a returning or added server takes to grow from a tenth of its weight and of its
	// max_sessions to the whole; 0 = at once.
	SlowStart time.Duration

	// Queue says that sessions may wait (Wait) when every server of their level is at max_sessions; without it such a
	// level gives way to the next.
	Queue bool

	// CheckRound is how far apart two servers may be found down and still count as found down in the same round of checks,
	// which decides whom protection spares; 0 = 10 s. Twice the longest check interval plus its timeout is a good value.
	CheckRound time.Duration

	Levels []LevelSpec
}

// LevelSpec is one priority tier of a cluster.
type LevelSpec struct {
	Name    string // "" = shown as its number, counted from 1
	Key     int    // what Trial.Levels and Lease.Level call it, in this and in later specifications; all 0 = its index
	MinUp   int    // used while at least this many of its servers are eligible; 0 = 1
	Try     int    // attempts of one session inside this level before the next one; 0 = every server once
	Servers []ServerSpec
}

// ServerSpec is one server in one level. The same name in several levels is one server with a weight in each; what is
// not the weight is taken from its first appearance.
type ServerSpec struct {
	Name        string
	Address     string // as text; what hash and maglev place it by
	Weight      int    // 0 = only while no other server of the level has weight
	MaxFails    int    // failures that trip it; 0 = passive health off
	FailTimeout time.Duration
	State       AdminState
	MaxSessions int  // 0 = no limit
	Unresolved  bool // start with the resolver layer saying so: the address is a name that has not resolved yet
	Handle      any  // the owner's own; never looked at here
}

// AdminState is what a person or an agent wants of a server.
type AdminState uint8

// The administrative states.
const (
	Ready AdminState = iota // normal
	Drain                   // no new sessions, old ones go on
	Maint                   // out of service, not checked
)

// String returns the word used in the file and the API.
func (a AdminState) String() string {
	switch a {
	case Drain:
		return "drain"
	case Maint:
		return "maint"
	}
	return "ready"
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
	if s.CheckRound == 0 {
		s.CheckRound = defaultRound
	}
	return s
}

// sameDistribution tells whether two specifications share the work out in the same way: same method, same levels, same
// servers with the same weights in the same order. If so, a change between them leaves the cursors where they are.
func sameDistribution(a, b Spec) bool {
	return a.Method == b.Method && slices.EqualFunc(a.Levels, b.Levels, func(a, b LevelSpec) bool {
		return slices.EqualFunc(a.Servers, b.Servers, func(a, b ServerSpec) bool {
			return a.Name == b.Name && a.Weight == b.Weight
		})
	})
}
