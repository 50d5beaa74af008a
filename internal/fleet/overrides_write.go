package fleet

// What a node writes to the store.

import (
	"maps"
	"slices"
	"time"
)

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
