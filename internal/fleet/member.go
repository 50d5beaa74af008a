package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
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

	mu        sync.Mutex // guards the fields below
	overrides *Overrides
	previous  string // instance of the process before this one
	connected bool
	since     time.Time // of connected
	lastError string
	full      string // why the store takes no writes; "" = it does
	nodes     map[string]*NodeInfo
	problems  Problems // of node records
	omitted   int
	waiting   map[string][]chan Written
}

// Written is what became of an override that was said here.
type Written string

const (
	IsWritten  Written = "written"  // it is in the store
	IsPending  Written = "pending"  // it holds here, and is written when the store can be reached
	IsConflict Written = "conflict" // the object was changed on another node at the same time, which holds
)

// savedMember is the JSON that Save writes.
type savedMember struct {
	Instance  string          `json:"instance"`
	Overrides json.RawMessage `json:"overrides"`
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
	text, err := json.Marshal(savedMember{m.instance, m.overrides.Save(m.o.Prefix)})
	if err != nil {
		return nil // it has only values that JSON can have
	}
	return text
}

// SharesOverrides reports whether overrides are shared.
func (m *Member) SharesOverrides() bool { return slices.Contains(m.o.Share, ShareOverrides) }

// Say records an override for the fleet, and reports whether it applies here. The caller applies it.
func (m *Member) Say(key string, said Override) (applies bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if applies, err = m.overrides.Say(key, said); err == nil {
		notify(m.wake)
	}
	return applies, err
}

// SetLocal marks an object as local or not, and returns what the fleet says about it.
func (m *Member) SetLocal(key string, local bool) *Override {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overrides.SetLocal(key, local).Override
}

// Current returns what the fleet says about an object, or nil, and whether the node has its own.
func (m *Member) Current(key string) (said *Override, local bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overrides.Current(key), m.overrides.IsLocal(key)
}

// Applied returns the keys of all objects about which the fleet says something.
func (m *Member) Applied() (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.overrides.All() {
		keys = append(keys, e.Key)
	}
	return keys
}

// Wait returns what became of the override of an object that was said here, when that is known, the store is not reachable,
// or ctx ends.
func (m *Member) Wait(ctx context.Context, key string) Written {
	m.mu.Lock()
	switch {
	case !m.overrides.Pending(key):
		defer m.mu.Unlock()
		if said := m.overrides.Current(key); said != nil && said.Node != m.o.Node {
			return IsConflict
		}
		return IsWritten
	case !m.connected || m.full != "":
		m.mu.Unlock()
		return IsPending
	}
	result := make(chan Written, 1)
	m.waiting[key] = append(m.waiting[key], result)
	m.mu.Unlock()
	select {
	case w := <-result:
		return w
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[key] = slices.DeleteFunc(m.waiting[key], func(c chan Written) bool { return c == result })
	if len(m.waiting[key]) == 0 {
		delete(m.waiting, key)
	}
	return IsPending
}

// answer ends the waits for a key. mu is held.
func (m *Member) answer(key string, w Written) {
	for _, c := range m.waiting[key] {
		c <- w
	}
	delete(m.waiting, key)
}

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// load takes the content of the store.
func (m *Member) load(snapshot Snapshot) {
	m.mu.Lock()
	var out Outcome
	if m.SharesOverrides() {
		out = m.overrides.Load(snapshot)
	}
	m.nodes, m.problems, m.omitted = map[string]*NodeInfo{}, Problems{}, snapshot.Omitted
	for _, r := range snapshot.Records {
		m.takeNode(r)
	}
	was := m.connected
	m.connected, m.lastError = true, ""
	if !was {
		m.since = time.Now()
	}
	m.mu.Unlock()
	if !was {
		m.o.Event(Event{Kind: EventConnected})
	}
	m.handle(out)
}

// takeNode takes a node record, or a record that is none. mu is held.
func (m *Member) takeNode(r Record) {
	if !Under(r.Key, NodesKey) {
		return
	}
	name, info, err := decodeNode(r)
	if m.problems.Note(r.Key, err); err == nil && (m.nodes[name] != nil || len(m.nodes) < maxNodes) {
		m.nodes[name] = info
	}
}

// apply takes a change, and returns false if the store must be loaded again.
func (m *Member) apply(c Change) bool {
	key := nodeKey(m.o.Node)
	for _, r := range c.Records {
		if r.Key == key && r.Modified > m.nodeRecord {
			return false
		}
	}
	if slices.Contains(c.Deleted, key) && c.Revision > m.nodeRecord {
		m.written = nil
		return false
	}
	m.mu.Lock()
	out, ok := Outcome{}, true
	if m.SharesOverrides() {
		out, ok = m.overrides.Apply(c)
	}
	for _, r := range c.Records {
		m.takeNode(r)
	}
	for _, key := range c.Deleted {
		if s, named := Segments(key); named && len(s) == 2 && s[0] == NodesKey {
			delete(m.nodes, s[1])
		}
		m.problems.Note(key, nil)
	}
	m.mu.Unlock()
	m.handle(out)
	return ok
}

// handle does what follows from a change.
func (m *Member) handle(out Outcome) {
	m.mu.Lock()
	for _, key := range out.Written {
		m.answer(key, IsWritten)
	}
	for _, c := range out.Conflicts {
		m.answer(c.Key, IsConflict)
	}
	m.mu.Unlock()
	for _, p := range out.Problems {
		m.o.Log.Warn("fleet: record ignored", "key", p.Key, "error", p.Text)
	}
	for _, c := range out.Conflicts {
		winner := "the fleet was reset"
		if c.Winner != nil {
			winner = fmt.Sprintf("node %s has changed it meanwhile", c.Winner.Node)
		}
		m.o.Event(Event{Kind: EventConflict, Key: c.Key, Reason: winner})
	}
	if out.Restored > 0 {
		m.o.Event(Event{Kind: EventRestored, Count: out.Restored})
	}
	if len(out.Effects) > 0 {
		keys := make([]string, len(out.Effects))
		for i, e := range out.Effects {
			keys[i] = e.Key
		}
		m.o.Apply(keys)
	}
	if len(out.Effects)+len(out.Written)+len(out.Conflicts)+out.Restored > 0 {
		m.o.Changed()
	}
}

// disconnected notes an error of the store, and reports whether the node was connected.
func (m *Member) disconnected(err error) bool {
	m.mu.Lock()
	was, text := m.connected, err.Error()
	changed := m.lastError != text
	m.connected, m.lastError = false, text
	if was {
		m.since = time.Now()
	}
	for key := range m.waiting {
		m.answer(key, IsPending)
	}
	m.mu.Unlock()
	if was {
		m.o.Event(Event{Kind: EventUnconnected, Reason: text})
	} else if changed {
		m.o.Log.Warn("fleet: store cannot be used", "error", text)
	}
	return was
}

// Reset removes the overrides of the fleet.
func (m *Member) Reset(ctx context.Context, by string) error {
	m.mu.Lock()
	if !m.connected {
		defer m.mu.Unlock()
		return fmt.Errorf("the store cannot be used: %s", m.lastError)
	}
	list := m.overrides.Empty(by, time.Now().UTC())
	m.mu.Unlock()
	for _, t := range list {
		if _, err := m.o.Store.Commit(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
