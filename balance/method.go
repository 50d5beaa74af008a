package balance

import "time"

// Method is a way to share sessions out among the eligible servers of a level.
type Method uint8

// The balancing methods. Each has a file of its own.
const (
	Wrr           Method = iota // smooth weighted round robin
	Rr                          // the same, every weight being one
	LeastSessions               // fewest sessions per weight, ties by Wrr
	Random                      // the better of two random ones by sessions per weight
	First                       // the first one with room
	LeastTime                   // smoothed connect time × (sessions+1) / weight
	Hash                        // weighted consistent ring
	Maglev                      // weighted Maglev table
	methods
)

// String returns the word used in the file.
func (m Method) String() string {
	switch m {
	case Wrr:
		return "wrr"
	case Rr:
		return "rr"
	case LeastSessions:
		return "least_sessions"
	case Random:
		return "random"
	case First:
		return "first"
	case LeastTime:
		return "least_time"
	case Hash:
		return "hash"
	case Maglev:
		return "maglev"
	}
	return "unknown"
}

// ParseMethod is the inverse of String. The file's "ip_hash" is no method of its own: it is hash on the client's
// address.
func ParseMethod(s string) (Method, bool) {
	for m := Wrr; m < methods; m++ {
		if s == m.String() {
			return m, true
		}
	}
	return Wrr, false
}

// hashLookup tells whether the method goes by a session's key.
func (m Method) keyed() bool { return m == Hash || m == Maglev }

// A chooser is a balancing method at work in one level. choose is called with the lock held and at least one slot of
// the level open with weight; it returns the index of an open slot. Who is ineligible, full or already tried by the
// session is not open, so no method has to know about any of that.
type picker interface {
	pick(l *level, a pickInput) int
}

// pickInput is what a method may go by besides the level.
type pickInput struct {
	now   time.Duration
	hash  uint64 // the session's key
	keyed bool   // it has one
}

// picker returns the method's implementation for one level. rnd is shared by the levels of a cluster.
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
