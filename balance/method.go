package balance

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

// A chooser is a balancing method at work in one level. choose is called with the lock held and at least one slot of
// the level open with weight; it returns the index of an open slot. Who is ineligible, full or already tried by the
// session is not open, so no method has to know about any of that.
type chooser interface {
	choose(l *level, k key) int
}

// key is what a keyed method places a session by.
type key struct {
	hash uint64
	set  bool
}

// chooser returns the method's implementation for one level. rnd is shared by the levels of a cluster.
func (m Method) chooser(rnd *dice) chooser {
	return wrr{}
}
