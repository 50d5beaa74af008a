package limits

import (
	"maps"
	"strings"
	"time"

	"weir/internal/fleet"
)

// view is what a node knows of the records. A record that the store has lost, or whose value cannot be used, keeps its last
// good value here and is written again (missing).
type view struct {
	revision int64 // up to which changes are known
	epoch    int   // counts changes of the set of nodes that are gone
	nodes    map[string]*knownNode
	parts    map[string]*knownParts // by key
	problems fleet.Problems
}

type knownNode struct {
	record   nodeRecord
	modified int64
	missing  bool
	seen     time.Duration // when the record was first seen at this revision; later if the node itself was without the store
}

type knownParts struct {
	limits   map[string]map[string]Part
	modified int64
	missing  bool
	size     int // bytes of the value
}

func newView() view {
	return view{nodes: map[string]*knownNode{}, parts: map[string]*knownParts{}}
}

// load replaces the view by a snapshot.
func (v *view) load(s fleet.Snapshot, now time.Duration) {
	v.revision = s.Revision
	present := map[string]bool{}
	for _, r := range s.Records {
		present[r.Key] = true
		v.apply(r, now)
	}
	for name, n := range v.nodes {
		if !present[nodeKey(name)] {
			v.drop(nodeKey(name))
		}
		n.seen = now
	}
	for key := range v.parts {
		if !present[key] {
			v.drop(key)
		}
	}
}

// change applies a change of a watch. Records that the node itself has written may be known already.
func (v *view) change(c fleet.Change, now time.Duration) {
	for _, r := range c.Records {
		if v.modified(r.Key) < r.Modified {
			v.apply(r, now)
		}
	}
	for _, key := range c.Deleted {
		if v.modified(key) <= c.Revision {
			v.drop(key)
		}
	}
	v.revision = c.Revision
}

// modified returns the revision of the last write of a record, 0 if the store has none.
func (v *view) modified(key string) int64 {
	if name, ok := nodeOf(key); ok && v.nodes[name] != nil {
		return v.nodes[name].modified
	}
	if p := v.parts[key]; p != nil {
		return p.modified
	}
	return 0
}

// apply takes over a record of the store.
func (v *view) apply(r fleet.Record, now time.Duration) {
	if name, ok := nodeOf(r.Key); ok {
		record, err := decodeNode(r)
		v.problems.Note(r.Key, err)
		n := v.nodes[name]
		switch {
		case err != nil && n == nil:
			return
		case n == nil:
			n = &knownNode{}
			v.nodes[name] = n
			v.epoch++
		}
		if n.modified != r.Modified {
			n.seen = now
		}
		n.modified, n.missing = r.Modified, err != nil
		if err == nil {
			if n.record.Gone != record.Gone {
				v.epoch++
			}
			n.record = record
		}
		return
	}
	if !strings.HasPrefix(r.Key, partsPrefix) {
		return
	}
	record, err := decodeParts(r)
	v.problems.Note(r.Key, err)
	p := v.parts[r.Key]
	if p == nil {
		p = &knownParts{}
		v.parts[r.Key] = p
	}
	p.modified, p.missing, p.size = r.Modified, err != nil, len(r.Value)
	if err == nil {
		p.limits = record.Limits
	}
}

// drop takes over the deletion of a record.
func (v *view) drop(key string) {
	v.problems.Note(key, nil)
	if name, ok := nodeOf(key); ok {
		n := v.nodes[name]
		if n == nil {
			return
		}
		if n.modified, n.missing = 0, true; n.record.Gone != "" {
			delete(v.nodes, name)
			v.epoch++
		}
		return
	}
	if p := v.parts[key]; p != nil {
		p.modified, p.missing = 0, true
	}
}

// of returns the parts of a limit, which the record with a key has, by node. It is not changed.
func (v *view) of(record, limit string) map[string]Part {
	if p := v.parts[record]; p != nil {
		return p.limits[limit]
	}
	return nil
}

// with returns a copy of parts with one part changed, or removed if p is nil.
func with(parts map[string]Part, node string, p *Part) map[string]Part {
	next := maps.Clone(parts)
	if next == nil {
		next = map[string]Part{}
	}
	if p == nil {
		delete(next, node)
	} else {
		next[node] = *p
	}
	return next
}

// held returns the sum of all parts.
func held(parts map[string]Part) (sum int) {
	for _, p := range parts {
		sum += p.Held
	}
	return sum
}
