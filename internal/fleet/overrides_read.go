package fleet

// What a node takes over from the store.

import (
	"maps"
	"slices"
)

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
