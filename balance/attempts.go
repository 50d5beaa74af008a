package balance

import "time"

// Attempts records the servers that one session has tried, for all its picks. Each Pick avoids them. The zero value
// with the exported fields set is ready. It belongs to one session and is not safe for concurrent use. While the
// session waits in the queue it belongs to the cluster.
type Attempts struct {
	// Levels are the keys of the levels to try, in order; empty = all, in the cluster's order. The slice is
	// shared, not owned. Unknown keys are ignored.
	Levels []int

	// Key is the session's key for Hash and Maglev, see HashKey. If Keyed is false they work as Wrr.
	Key   uint64
	Keyed bool

	// Hold makes the session wait (Hold) rather than use a server that only protection keeps in service. The cluster
	// clears it when waiting is pointless because the cluster has left the configuration.
	Hold bool

	n           int        // number of attempts
	lastResorts int        // how many of them were last resorts
	inline      [3]attempt // the first attempts
	overflow    []attempt  // the others

	queueNumber uint64        // position in the order of arrival of waiting sessions; 0 = never waited
	heldSince   time.Duration // when its first hold began
	held        bool          // it has a place among the held sessions
}

// attempt is a server that was picked, and the level it was picked from.
type attempt struct {
	server *Server
	level  int32
}

// Count returns how many leases Pick has returned for the session.
func (t *Attempts) Count() int { return t.n }

// clear drops the attempts. The session keeps its position in the order of arrival.
func (t *Attempts) clear() {
	t.n, t.lastResorts, t.inline, t.overflow = 0, 0, [len(t.inline)]attempt{}, t.overflow[:0]
}

// Reset prepares the value for another session of the same kind. It keeps Levels and clears everything else.
func (t *Attempts) Reset() {
	*t = Attempts{Levels: t.Levels, overflow: t.overflow[:0]}
}

func (t *Attempts) at(i int) attempt {
	if i < len(t.inline) {
		return t.inline[i]
	}
	return t.overflow[i-len(t.inline)]
}

func (t *Attempts) record(a attempt) {
	if t.n < len(t.inline) {
		t.inline[t.n] = a
	} else {
		t.overflow = append(t.overflow, a)
	}
	t.n++
}

// countIn returns the number of attempts in a level.
func (t *Attempts) countIn(level int) int {
	n := 0
	for i := range t.n {
		if t.at(i).level == int32(level) {
			n++
		}
	}
	return n
}

// tried reports whether the server was picked from the level before.
func (t *Attempts) tried(s *Server, level int) bool {
	for i := range t.n {
		if t.at(i) == (attempt{s, int32(level)}) {
			return true
		}
	}
	return false
}

// Add adds the server of a lease to those that were tried. It is for a session that needs another server long after its
// pick, when the Attempts of that pick are gone.
func (t *Attempts) Add(l *Lease) { t.record(attempt{l.server, l.level}) }
