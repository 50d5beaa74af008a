package fleet

import (
	"maps"
	"slices"
	"time"
)

// Overrides are the overrides of a fleet as one node knows them. It is a pure state machine: it is given what operators say
// at the node and what the store has, and returns what the node applies and writes. It has no lock.
//
// An object has what the store has (shared), and what was said at the node and is not written yet (pending). A pending
// override is written if the store has not changed the object after the revision that the node had seen when it was said;
// otherwise the store's wins. An object that is local keeps what was said to its node only, until that is taken back.
//
// When the history of the store is another one, because its data were lost, each node writes what it knows with its origin.
// Of two records with origins of one history the later one wins; whatever was said in the new history wins over both.
type Overrides struct {
	node     string
	known    history // "" = the store has not been read yet
	modified int64   // revision of the record at IdentityKey; 0 = it must be written
	seen     int64   // revision of the store up to which all changes are known
	floor    int64   // revision of the last reset on purpose; 0 = none known
	objects  map[string]*object
	problems Problems
}

// object is what a node knows of one object. The zero value is an object without overrides.
type object struct {
	Shared   *Override `json:"shared,omitempty"`   // nil = the store has none
	Modified int64     `json:"modified,omitempty"` // revision of its record; 0 = it has none
	Restore  *Origin   `json:"restore,omitempty"`  // Shared is written with this origin; nil = the store has it

	Pending *Override `json:"pending,omitempty"` // nil = none
	Seen    int64     `json:"seen,omitempty"`    // revision of the store when Pending was said; later ones win
	SeenIn  *Origin   `json:"seen_in,omitempty"` // the same in the history before that of the store; nil = none

	Local bool `json:"local,omitempty"` // the node has its own
}

// Effect is what the node applies to an object.
type Effect struct {
	Key      string
	Override *Override // nil, or without Value = none
}

// Conflict is an override that was pending and lost against one of the store.
type Conflict struct {
	Key    string
	Lost   Override
	Winner *Override // nil = the object was reset with all others
}

// Outcome is what follows from a change.
type Outcome struct {
	Effects   []Effect
	Conflicts []Conflict
	Written   []string // keys whose pending override is in the store
	Restored  int      // objects that the node writes again, because the store has lost them
	Problems  []Problem
}

// NewOverrides returns the overrides of a node that does not know the store yet.
func NewOverrides(node string) *Overrides {
	return &Overrides{node: node, objects: map[string]*object{}}
}

func (s *Overrides) object(key string) *object {
	o := s.objects[key]
	if o == nil {
		o = &object{}
		s.objects[key] = o
	}
	return o
}

// forget drops an object without content.
func (s *Overrides) forget(key string) {
	if o := s.objects[key]; o != nil && *o == (object{}) {
		delete(s.objects, key)
	}
}

// Say records what an operator says about an object to the fleet. It reports whether it applies here: a local override hides
// it. It is an error if the value is too large.
func (s *Overrides) Say(key string, said Override) (applies bool, err error) {
	said.Node = s.node
	if err := said.check(); err != nil {
		return false, err
	}
	if _, err := said.Encode(); err != nil {
		return false, err
	}
	o := s.object(key)
	o.Pending, o.Seen, o.SeenIn = &said, s.seen, nil
	return !o.Local, nil
}

// effect returns what the fleet says about an object.
func (s *Overrides) effect(key string) Effect {
	o := s.objects[key]
	switch {
	case o == nil:
		return Effect{Key: key}
	case o.Pending != nil:
		return Effect{key, o.Pending}
	}
	return Effect{key, o.Shared}
}

// SetLocal marks an object as local or not, and returns what the fleet says about it.
func (s *Overrides) SetLocal(key string, local bool) Effect {
	s.object(key).Local = local
	e := s.effect(key)
	s.forget(key)
	return e
}

// IsLocal reports whether an object is local.
func (s *Overrides) IsLocal(key string) bool { return s.objects[key] != nil && s.objects[key].Local }

// Current returns what the fleet says about an object, written or pending.
func (s *Overrides) Current(key string) *Override { return s.effect(key).Override }

// Pending reports whether an override of an object, or any for "", is not written.
func (s *Overrides) Pending(key string) bool {
	if key != "" {
		return s.objects[key] != nil && s.objects[key].Pending != nil
	}
	return s.Unwritten() > 0
}

// Unwritten returns the number of objects with a pending override.
func (s *Overrides) Unwritten() (n int) {
	for _, o := range s.objects {
		if o.Pending != nil {
			n++
		}
	}
	return n
}

// All returns what applies to all objects that are not local.
func (s *Overrides) All() []Effect {
	var list []Effect
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if e := s.effect(key); e.Override != nil && !s.objects[key].Local {
			list = append(list, e)
		}
	}
	return list
}

// Load takes the whole content of the store.
func (s *Overrides) Load(snapshot Snapshot) Outcome {
	var out Outcome
	store := make(map[string]Record, len(snapshot.Records))
	var identity Record
	for _, r := range snapshot.Records {
		switch {
		case r.Key == IdentityKey:
			identity = r
		case Under(r.Key, OverridesKey):
			store[r.Key] = r
		}
	}
	before := s.known
	s.setHistory(identity, &out)
	replaced := before.Identity != "" && before.Identity != s.known.Identity
	if replaced {
		s.leaveHistory(before.Identity)
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if _, ok := store[key]; !ok {
			s.missing(key, before.Identity == s.known.Identity, &out)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(store)) {
		if o := s.objects[key]; o == nil || o.Modified != store[key].Modified {
			s.take(store[key], &out)
		}
	}
	for _, o := range s.objects {
		if o.Pending != nil {
			o.Seen = snapshot.Revision // it has won against all that the store has
		}
		if replaced && o.Restore != nil {
			out.Restored++
		}
	}
	s.problems.Retain(func(key string) bool { _, ok := store[key]; return ok || key == IdentityKey })
	s.seen = snapshot.Revision
	return out
}

// leaveHistory prepares all objects for a store with another history than the one with the given identity.
func (s *Overrides) leaveHistory(identity string) {
	for _, o := range s.objects {
		if o.Shared != nil && o.Restore == nil {
			o.Restore = &Origin{identity, o.Modified}
		}
		if o.Pending != nil && o.SeenIn == nil {
			o.SeenIn = &Origin{identity, o.Seen}
		}
		o.Modified, o.Seen = 0, 0
	}
}

// setHistory takes the record at IdentityKey. Without a usable one the node starts a history, which Next writes.
func (s *Overrides) setHistory(r Record, out *Outcome) {
	s.modified = r.Modified
	h, err := history{}, error(nil)
	if r.Key != "" {
		h, err = decodeHistory(r)
		s.note(IdentityKey, err, out)
	}
	if r.Key == "" || err != nil {
		s.known, s.floor = history{}, 0
		return
	}
	if s.floor = 0; h.Reset {
		s.floor = r.Modified
	}
	s.known = h
}

// missing handles an object that the store does not have. same is set if the store has the history that the node knew.
func (s *Overrides) missing(key string, same bool, out *Outcome) {
	switch o := s.objects[key]; {
	case o.Modified > 0:
		s.remove(key, out)
	case o.Pending != nil && same && s.floor > o.Seen:
		s.lose(key, nil, out)
	}
}

// remove handles a record that was deleted.
func (s *Overrides) remove(key string, out *Outcome) {
	o := s.objects[key]
	if o == nil || o.Modified == 0 {
		return
	}
	reset := o.Shared != nil && o.Shared.Value == nil // what a node has cleaned up says the same as a missing record
	o.Shared, o.Modified, o.Restore = nil, 0, nil
	switch {
	case o.Pending != nil && !reset:
		s.lose(key, nil, out)
	case o.Pending == nil && !o.Local && !reset:
		out.Effects = append(out.Effects, Effect{Key: key})
	}
	s.forget(key)
}

// lose drops a pending override.
func (s *Overrides) lose(key string, winner *Override, out *Outcome) {
	o := s.objects[key]
	lost := *o.Pending
	o.settle()
	out.Conflicts = append(out.Conflicts, Conflict{key, lost, winner})
	if !o.Local {
		out.Effects = append(out.Effects, s.effect(key))
	}
	s.forget(key)
}

// take handles a record that the node does not have in this version.
func (s *Overrides) take(r Record, out *Outcome) {
	said, err := DecodeOverride(r)
	s.note(r.Key, err, out)
	if err != nil {
		if o := s.objects[r.Key]; o != nil {
			o.Modified = r.Modified // it keeps what it has, and replaces the record when an operator says more
		}
		return
	}
	o := s.object(r.Key)
	restored := said.Origin
	if o.Restore != nil && restored != nil && restored.Identity == o.Restore.Identity && restored.Revision < o.Restore.Revision {
		o.Modified = r.Modified // the node has a later one of the lost history, and writes it
		return
	}
	unchanged := o.Shared.same(said)
	o.Shared, o.Modified, o.Restore = said, r.Modified, nil
	switch {
	case o.Pending == nil:
		if !unchanged && !o.Local {
			out.Effects = append(out.Effects, Effect{r.Key, said})
		}
	case o.Pending.same(said): // it was written
		o.settle()
		out.Written = append(out.Written, r.Key)
	case unchanged || said.Node == s.node:
	case restored != nil && o.SeenIn != nil && restored.Identity == o.SeenIn.Identity && restored.Revision <= o.SeenIn.Revision:
	case r.Modified <= o.Seen:
	default: // the operator did not know it
		s.lose(r.Key, said, out)
	}
}

// settle ends the pending state of an object.
func (o *object) settle() { o.Pending, o.Seen, o.SeenIn = nil, 0, nil }

func (s *Overrides) note(key string, err error, out *Outcome) {
	if s.problems.Note(key, err) {
		out.Problems = append(out.Problems, Problem{key, err.Error()})
	}
}

// Apply takes a change of the store. It returns false if the store must be loaded again, because its history has changed.
func (s *Overrides) Apply(c Change) (out Outcome, ok bool) {
	for _, r := range c.Records {
		switch {
		case r.Key == IdentityKey:
			h, err := decodeHistory(r)
			if err != nil || h.Identity != s.known.Identity {
				return out, false
			}
			s.setHistory(r, &out)
		case Under(r.Key, OverridesKey):
			if o := s.objects[r.Key]; o == nil || o.Modified < r.Modified {
				s.take(r, &out)
			}
		}
	}
	for _, key := range c.Deleted {
		switch {
		case key == IdentityKey:
			return out, false
		case Under(key, OverridesKey):
			s.problems.Note(key, nil)
			if o := s.objects[key]; o != nil && o.Modified < c.Revision {
				s.remove(key, &out)
			}
		}
	}
	s.seen = max(s.seen, c.Revision)
	return out, true
}

// maxWrites is the number of records of one transaction.
const maxWrites = 40

// Next returns the next transaction that the node writes, and the overrides in it by key. Without one, it returns no keys
// and an empty transaction, or one that starts a history. fresh is the identity of that.
func (s *Overrides) Next(fresh string, now time.Time) (t Txn, written map[string]*Override) {
	t.If = append(t.If, Condition{IdentityKey, s.modified})
	if s.known.Identity == "" {
		value, _ := Encode(history{Identity: fresh, Node: s.node, At: now}, MaxValue) // it has no value that JSON cannot have
		t.Put = append(t.Put, Put{Key: IdentityKey, Value: value})
		return t, nil
	}
	written = map[string]*Override{}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[key]
		said := o.Pending
		if said == nil && o.Restore != nil {
			restored := *o.Shared
			restored.Origin = o.Restore
			said = &restored
		}
		if said == nil {
			continue
		}
		if len(written) == maxWrites {
			break
		}
		value, err := said.Encode()
		if err != nil { // of a restored one, whose origin makes it too large
			o.Restore = nil
			continue
		}
		t.If = append(t.If, Condition{key, o.Modified})
		t.Put = append(t.Put, Put{Key: key, Value: value})
		written[key] = said
	}
	if len(written) == 0 {
		return Txn{}, nil
	}
	return t, written
}

// Committed takes the revision at which the transaction of Next was made. What was said meanwhile stays pending.
func (s *Overrides) Committed(written map[string]*Override, revision int64) (out Outcome) {
	for key, said := range written {
		o := s.objects[key]
		if o == nil || o.Modified >= revision {
			continue // the watch was faster
		}
		o.Shared, o.Modified, o.Restore = said, revision, nil
		if o.Pending == said {
			o.settle()
			out.Written = append(out.Written, key)
		} else if o.Pending != nil {
			o.Seen = max(o.Seen, revision)
		}
	}
	slices.Sort(out.Written)
	return out
}

// Empty returns the transactions that remove all overrides of the fleet on purpose: the first one marks the history.
func (s *Overrides) Empty(by string, now time.Time) (list []Txn) {
	h := s.known
	h.Node, h.At, h.By, h.Reset = s.node, now, by, true
	value, _ := Encode(h, MaxValue)
	t := Txn{If: []Condition{{IdentityKey, s.modified}}, Put: []Put{{Key: IdentityKey, Value: value}}}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if s.objects[key].Modified == 0 {
			continue
		}
		if len(t.Delete) == maxWrites {
			list, t = append(list, t), Txn{}
		}
		t.Delete = append(t.Delete, key)
	}
	return append(list, t)
}

// Expired returns the transaction that deletes old records of resets, whose only use is to win against what a node says that
// has not seen them.
func (s *Overrides) Expired(before time.Time) (t Txn) {
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[key]
		if o.Modified > 0 && o.Restore == nil && o.Shared != nil && o.Shared.Value == nil && o.Shared.At.Before(before) && len(t.Delete) < maxWrites {
			t.If = append(t.If, Condition{key, o.Modified})
			t.Delete = append(t.Delete, key)
		}
	}
	return t
}
