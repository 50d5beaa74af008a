package balance

import "time"

// Method is a balancing method: how sessions are distributed among the eligible servers of a level.
type Method uint8

// The balancing methods. Each has a file of its own.
const (
	Wrr           Method = iota // smooth weighted round robin
	Rr                          // the same with all weights equal to one
	LeastSessions               // fewest sessions per weight, ties by Wrr
	Random                      // the better of two random ones by sessions per weight
	First                       // the first server below its session limit
	LeastTime                   // smoothed connect time × (sessions+1) / weight
	Hash                        // weighted consistent ring
	Maglev                      // weighted Maglev table
	methods
)

// String returns the name used in the configuration.
func (m Method) String() string {
	return [methods]string{
		Wrr: "wrr", Rr: "rr", LeastSessions: "least_sessions", Random: "random", First: "first", LeastTime: "least_time", Hash: "hash", Maglev: "maglev",
	}[m]
}

// ParseMethod is the inverse of String. "ip_hash" in the configuration is not a method; it is hash with the client's
// address.
func ParseMethod(s string) (Method, bool) {
	for m := Wrr; m < methods; m++ {
		if s == m.String() {
			return m, true
		}
	}
	return Wrr, false
}

// keyed reports whether the method uses the session's key.
func (m Method) keyed() bool { return m == Hash || m == Maglev }

// A picker is the implementation of a balancing method. pick is called with the lock held and at least one running
// slot. It returns the index of an open slot. Servers that are ineligible, full or already tried have no open slot, so
// methods need not check for them.
type picker interface {
	pick(l *level, a pickInput) int
}

// pickInput is what a method may use besides the level.
type pickInput struct {
	now   time.Duration
	hash  uint64 // the session's key
	keyed bool   // it has one
}

// picker returns the implementation. rnd is shared by the levels of a cluster.
func (m Method) picker(rnd *rng) picker {
	switch m {
	case LeastSessions:
		return leastSessions{}
	case Random:
		return random{rnd}
	case First:
		return first{}
	case LeastTime:
		return leastTime{}
	case Hash, Maglev:
		return hashLookup{}
	}
	return wrr{} // and Rr
}
