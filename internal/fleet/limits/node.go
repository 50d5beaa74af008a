package limits

import (
	"time"

	"weir/internal/fleet"
)

// Options describes a node.
type Options struct {
	Name    string        // in the fleet
	ID      string        // of the process; a process that continues this one in an upgrade has another
	Reserve time.Duration // how long the parts of this node stay reserved while it is silent; 0 = for ever
	Jitter  func(time.Duration) time.Duration
}

// Usage is what the node uses of one limit, or would use.
type Usage struct {
	Limit   int  // as configured; 0 = none: what is held is given back when InUse is 0
	InUse   int  // sessions now; of the source with most of them; not for rates
	Peak    int  // most sessions, or highest rate, since the last report
	Refused bool // a session was refused, or waits, because of the part since the last report
}

// Node divides limits with the other nodes of a fleet. One goroutine at a time may use it. Times are of a monotonic clock.
type Node struct {
	o      Options
	view   view
	limits map[string]*limit

	registered   int64 // revision of the first beat of this process, or of the first after the node was gone; 0 = none
	ready        bool  // all changes up to registered are known
	beat         int64
	sent         [2]sentBeat   // the last two
	confirmed    time.Duration // when the last beat was sent that is known to be in the store
	confirmedFor time.Duration // the reserve that it declares
	proven       bool          // confirmed is set
	doubt        time.Duration // like deadline, of later beats that may be in the store; 0 = none
	grace        time.Duration // no part grows before

	tokens    float64 // transactions that may be sent
	tokensAt  time.Duration
	retry     time.Duration // no transaction before
	inFlight  *proposal
	uncertain map[string]uncertainPart // by limit
	cursor    string                   // the record of parts to begin the next transaction with

	loaded bool
	saved  map[string]int // own parts of an earlier process, until loaded
	live   map[string]bool
	epoch  int // counts changes of live and of the nodes that are gone
}

type sentBeat struct {
	beat    int64
	at      time.Duration
	reserve time.Duration
}

// uncertainPart is a smaller part that a transaction with an unknown result may have written.
type uncertainPart struct {
	held     int
	modified int64 // of the record before; once it has changed again the result is known
}

// limit is what the node knows about one limit apart from the records.
type limit struct {
	Usage
	record  string        // key of the record that has its parts
	known   int           // own part, last known
	lost    bool          // the part became smaller, not by this node
	applied int           // in force since the last Step
	keep    time.Duration // until then the part passes to no other node that waits for its turn

	turn    time.Duration
	peaks   [2]int        // of this second and the last
	inForce [2]int        // the largest parts in force
	full    time.Duration // until then the node needs more

	repaired repaired
	inputs   inputs
	division division
}

const (
	firstGrace      = 3 * time.Second // for nodes with parts that a wiped store has lost
	turnTime        = 2 * time.Second
	window          = time.Second
	tokensPerSecond = 1
	maxTokens       = 3
)

// New returns a node that knows nothing.
func New(o Options, now time.Duration) *Node {
	o.Reserve = o.Reserve.Truncate(time.Millisecond)
	return &Node{o: o, view: newView(), limits: map[string]*limit{}, tokens: maxTokens, tokensAt: now, uncertain: map[string]uncertainPart{}}
}

// Load replaces what the node knows by the content of the store.
func (n *Node) Load(s fleet.Snapshot, now time.Duration) {
	n.Done(0, errUnknown, now)
	n.view.load(s, now)
	n.loaded = true
	n.follow(now)
}

// Change applies a change after the last Load or Change.
func (n *Node) Change(c fleet.Change, now time.Duration) {
	n.view.change(c, now)
	n.follow(now)
}

// follow updates what depends on the view.
func (n *Node) follow(now time.Duration) {
	own := n.view.nodes[n.o.Name]
	if own == nil || own.record.ID != n.o.ID || own.record.Gone != "" {
		n.registered, n.ready = 0, false
	} else {
		for _, s := range n.sent {
			if s.beat == own.record.Beat && s.beat > 0 && (s.at > n.confirmed || !n.proven) {
				n.confirmed, n.confirmedFor, n.proven = s.at, s.reserve, true
				if s.beat == n.beat {
					n.doubt = 0
				}
			}
		}
		if n.registered == 0 {
			n.registered = own.modified
		}
		n.ready = n.ready || n.registered > 0 && n.view.revision >= n.registered
	}
	for key, l := range n.limits {
		n.noteHeld(key, l, now)
	}
	for key, u := range n.uncertain {
		if p := n.view.parts[partsKey(key)]; p != nil && p.modified != u.modified {
			delete(n.uncertain, key)
		}
	}
}

// noteHeld compares the own part of a limit with what it was.
func (n *Node) noteHeld(key string, l *limit, now time.Duration) {
	n.repair(key, l)
	held := n.view.of(l.record, key)[n.o.Name].Held
	if !n.loaded {
		held = n.saved[key]
	}
	switch {
	case held < l.known:
		l.lost = true
	case held > l.known:
		l.keep = now + turnTime
	}
	l.known = held
}

// margin is how long before the end of the reserve the node stops using its parts.
func margin(reserve time.Duration) time.Duration { return max(reserve/10, time.Second) }

// deadline returns when the node must stop using parts unless another beat is proven; 0 = never.
func (n *Node) deadline() time.Duration {
	at := n.doubt
	if n.proven && n.confirmedFor > 0 {
		at = earlier(at, stopAt(n.confirmed, n.confirmedFor))
	}
	return at
}

func stopAt(sent, reserve time.Duration) time.Duration { return max(1, sent+reserve-margin(reserve)) }

// earlier returns the smaller of two times; 0 = never.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// isExpired reports whether the node must not use its parts, but for those of limits per source.
func (n *Node) isExpired(now time.Duration) bool {
	at := n.deadline()
	return n.proven && at > 0 && now >= at
}

// beatInterval is the time between beats if nothing else is written; 0 = none are needed.
func (n *Node) beatInterval() time.Duration {
	if n.o.Reserve == 0 {
		return 0
	}
	return min(max(n.o.Reserve/20, time.Second), 10*time.Second)
}

// SetReserve changes Options.Reserve.
func (n *Node) SetReserve(reserve time.Duration) { n.o.Reserve = reserve.Truncate(time.Millisecond) }

// Forget returns the transaction by which an operator declares a node gone. It reports false if there is no such node, or
// it is this one.
func (n *Node) Forget(name string) (fleet.Txn, bool) {
	k := n.view.nodes[name]
	if k == nil || name == n.o.Name {
		return fleet.Txn{}, false
	}
	record := k.record
	record.Gone = goneForgotten
	value, err := fleet.Encode(record, fleet.MaxValue)
	key := nodeKey(name)
	return fleet.Txn{If: []fleet.Condition{{Key: key, Modified: k.modified}}, Put: []fleet.Put{{Key: key, Value: value}}}, err == nil
}
