package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// MemberStatus is what a member knows of its fleet. It shares no map or slice with the member, but immutable values.
type MemberStatus struct {
	Node      string
	Instance  string
	Connected bool
	Since     time.Time // of Connected
	LastError string    // "" = connected; while connected, why the store takes no writes
	Pending   int       // overrides that are not written
	Nodes     map[string]*NodeInfo
	Overrides []OverrideStatus // by key
	Problems  []Problem
	More      int // problems beyond those
	Omitted   int // records that were not read
}

// OverrideStatus is what the fleet says about an object.
type OverrideStatus struct {
	Key     string
	Said    *Override // nil = only local
	Pending bool
	Local   bool // the node has its own
}

// Status returns what the member knows.
func (m *Member) Status() MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MemberStatus{
		Node: m.o.Node, Instance: m.instance, Connected: m.connected, Since: m.since, LastError: cmp.Or(m.lastError, m.full),
		Pending: m.overrides.Unwritten(), Nodes: maps.Clone(m.nodes), Omitted: m.omitted,
	}
	for _, key := range slices.Sorted(maps.Keys(m.overrides.objects)) {
		o := m.overrides.objects[key]
		said := m.overrides.Current(key)
		if said == nil && !o.Local || said != nil && said.Value == nil && o.Pending == nil && !o.Local {
			continue // what was reset is like what was never said
		}
		s.Overrides = append(s.Overrides, OverrideStatus{key, said, o.Pending != nil, o.Local})
	}
	for _, p := range []*Problems{&m.problems, &m.overrides.problems, &m.board.problems} {
		list, more := p.List()
		s.Problems = append(s.Problems, list...)
		s.More += more
	}
	return s
}

// Brief returns the status without nodes and overrides, whose number may be large.
func (m *Member) Brief() MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MemberStatus{Node: m.o.Node, Connected: m.connected, Since: m.since, LastError: cmp.Or(m.lastError, m.full), Pending: m.overrides.Unwritten(), Omitted: m.omitted}
	for _, p := range []*Problems{&m.problems, &m.overrides.problems, &m.board.problems} {
		list, more := p.List()
		s.Problems, s.More = append(s.Problems, list...), s.More+more
	}
	return s
}

// NodeCount returns the number of live nodes, with this one.
func (m *Member) NodeCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.nodes)
}
