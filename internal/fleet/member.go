package fleet

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// MemberOptions are the parameters of a Member.
type MemberOptions struct {
	Node   string
	Prefix string // names the fleet
	Store  Store
	Share  []string // of Shares
	TTL    time.Duration
	Saved  json.RawMessage // what Save of an earlier process has returned; nil = nothing
	Log    *slog.Logger

	// The functions are called by one goroutine, without a lock of the Member.
	Apply    func(keys []string)                 // applies what Current returns for the keys; it must not wait for a look-up
	Info     func() NodeInfo                     // of this node, without instance and time
	Event    func(e Event)                       // publishes an event
	Changed  func()                              // what Save returns has changed
	Jitter   func(d time.Duration) time.Duration // nil = between d/2 and d
	Existing func() map[string]Override          // overrides that the node had before it joined the fleet, by key
	Verdicts func() map[string]Verdicts          // what the node finds, by cluster whose verdict the fleet decides
	Voted    func(clusters []string)             // what Votes returns has changed for these clusters; nil = for all
}

// Event is an event of a fleet.
type Event struct {
	Kind   string // EventConflict, EventRestored, EventLost or EventConnected
	Key    string // of the object
	Reason string
	Count  int
}

// Kinds of events.
const (
	EventConflict    = "override_conflict" // a pending override lost
	EventRestored    = "fleet_restored"    // the store had lost its data
	EventConnected   = "fleet_connected"
	EventUnconnected = "fleet_unreachable"
)

// What a fleet may share.
const (
	ShareOverrides = "overrides"
	ShareLimits    = "limits"
)

// Member is a node in its fleet. It keeps trying to reach the store. Its methods may be called by any goroutine; none of them
// waits for the store, except Wait.
type Member struct {
	o        MemberOptions
	instance string
	wake     chan struct{} // capacity 1: there is something to write

	// Owned by Run.
	lease      Lease
	written    *NodeInfo // the last node record
	nodeRecord int64     // its revision; 0 = none
	nextWrite  time.Time // not before, because the store was full
	nextClaim  time.Time // not before, because the record was overwritten

	writtenVerdicts map[string]string // values by cluster
	nextVerdicts    time.Time         // not before

	mu        sync.Mutex // guards the fields below
	overrides *Overrides
	previous  string // instance of the process before this one
	connected bool
	since     time.Time // of connected
	lastError string
	full      string // why the store takes no writes; "" = it does
	nodes     map[string]*NodeInfo
	wasLive   map[string]bool // nodes with verdicts that an earlier process has saved; nil = once connected
	board     board           // verdicts of all nodes
	problems  Problems        // of node records
	omitted   int
	waiting   map[string][]chan Written
}

// savedMember is the JSON that Save writes.
type savedMember struct {
	Instance  string          `json:"instance"`
	Overrides json.RawMessage `json:"overrides"`

	At       time.Time                      `json:"at,omitzero"`        // of Verdicts
	Verdicts map[string]map[string]Verdicts `json:"verdicts,omitempty"` // of other live nodes, by cluster and node
}

// NewMember returns a member that is not connected. What was saved and cannot be used is logged.
func NewMember(o MemberOptions) *Member {
	if o.Jitter == nil {
		o.Jitter = func(d time.Duration) time.Duration { return d/2 + mathrand.N(d/2+1) }
	}
	m := &Member{
		o: o, instance: rand.Text(), wake: make(chan struct{}, 1), overrides: NewOverrides(o.Node), nodes: map[string]*NodeInfo{},
		waiting: map[string][]chan Written{}, since: time.Now(), lastError: "not connected yet",
	}
	if o.Saved != nil {
		var saved savedMember
		err := json.Unmarshal(o.Saved, &saved)
		if err == nil {
			m.previous = saved.Instance
			m.restoreVerdicts(saved)
			err = m.overrides.Restore(o.Prefix, saved.Overrides)
		}
		if err != nil {
			o.Log.Warn("fleet: saved state cannot be used", "error", err)
		}
	}
	return m
}

// Save returns what a later process continues with.
func (m *Member) Save() json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	saved := savedMember{Instance: m.instance, Overrides: m.overrides.Save(m.o.Prefix)}
	m.saveVerdicts(&saved)
	text, err := json.Marshal(saved)
	if err != nil {
		return nil // it has only values that JSON can have
	}
	return text
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
