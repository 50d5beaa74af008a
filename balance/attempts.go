package balance

// Count is one session's progress through levels and servers: each Pick with it avoids what the earlier ones tried. The
// zero value with the exported fields set is ready. It belongs to one session at a time and is not for concurrent use;
// while it waits in a queue it belongs to the cluster.
type Attempts struct {
	// Levels are the keys of the levels to try, in this order; none = all, in the cluster's order. The slice is
	// shared, not owned. Keys that the cluster does not have are passed over.
	Levels []int

	// Key places the session with the keyed methods, see HashKey; if Keyed is not set they work as Wrr.
	Key   uint64
	Keyed bool

	n           int        // attempts
	lastResorts int        // of them as a last resort
	inline      [3]attempt // the first of them
	overflow    []attempt  // the others

	queueNumber uint64 // its place in the order of arrival of those who wait; 0 = it never has
}

// attempt is a server that was picked, and the level it was picked from.
type attempt struct {
	server *Server
	level  int32
}

// Count returns how many leases Pick has handed out for the trial, which is one more than have failed while the last
// one stands.
func (t *Attempts) Count() int { return t.n }

// Reset makes the trial ready for another session of the same kind: Levels stays, the key and the attempts go.
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

// placementIn counts the attempts in a level.
func (t *Attempts) countIn(level int) int {
	n := 0
	for i := range t.n {
		if t.at(i).level == int32(level) {
			n++
		}
	}
	return n
}

// tried tells whether the server was picked from the level before.
func (t *Attempts) tried(s *Server, level int) bool {
	for i := range t.n {
		if t.at(i) == (attempt{s, int32(level)}) {
			return true
		}
	}
	return false
}

// Add adds the server of a lease to those that were tried: for a session that looks for another one long after it was
// picked, with a trial that was not kept.
func (t *Attempts) Add(l *Lease) { t.record(attempt{l.server, l.level}) }
