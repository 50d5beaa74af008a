package fleet

import (
	"maps"
	"slices"
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
	Kept  bool `json:"kept,omitempty"`  // because an operator has asked for it, so that nothing but that operator ends it
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
	o := s.object(key)
	o.Local, o.Kept = local, o.Kept && local
	e := s.effect(key)
	s.forget(key)
	return e
}

// Keep marks an object as local because an operator has asked for it.
func (s *Overrides) Keep(key string) { s.object(key).Local, s.object(key).Kept = true, true }

// IsKept reports whether an object is local because an operator has asked for it.
func (s *Overrides) IsKept(key string) bool { return s.objects[key] != nil && s.objects[key].Kept }

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
