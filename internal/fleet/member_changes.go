package fleet

// What a member does with what the store has.

import (
	"fmt"
	"slices"
	"time"
)

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
	m.board.load(snapshot.Records)
	m.wasLive = nil
	was := m.connected
	m.connected, m.lastError = true, ""
	if !was {
		m.since = time.Now()
	}
	m.mu.Unlock()
	if !was {
		m.o.Event(Event{Kind: EventConnected})
	}
	m.o.Voted(nil)
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
	voted := votedOn{}
	m.mu.Lock()
	out, ok := Outcome{}, true
	if m.SharesOverrides() {
		out, ok = m.overrides.Apply(c)
	}
	before := len(m.nodes)
	for _, r := range c.Records {
		m.takeNode(r)
		voted.note(m.takeVerdicts(r))
	}
	voted.all = len(m.nodes) > before
	for _, key := range c.Deleted {
		if s, named := Segments(key); named && len(s) == 2 && s[0] == NodesKey {
			delete(m.nodes, s[1])
			voted.all = true
		}
		m.problems.Note(key, nil)
		voted.note(m.dropVerdicts(key))
	}
	m.mu.Unlock()
	voted.tell(m.o.Voted)
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
		m.o.Voted(nil) // they end
		m.o.Event(Event{Kind: EventUnconnected, Reason: text})
	} else if changed {
		m.o.Log.Warn("fleet: store cannot be used", "error", text)
	}
	return was
}
