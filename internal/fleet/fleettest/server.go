package fleettest

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/fleet"
)

// Server is the store that clients share. Its methods may be called by any goroutine.
type Server struct {
	mu        sync.Mutex // guards all fields, and those of clients, watches and leases
	now       time.Duration
	revision  int64
	compacted int64 // the last revision whose change is lost
	records   map[string]record
	changes   []fleet.Change // after compacted
	leases    map[int64]*lease
	lastLease int64
	clients   []*Client
	full      bool
}

type record struct {
	fleet.Record
	lease int64
}

// New returns an empty store at revision 1, as of a new etcd.
func New() *Server {
	return &Server{revision: 1, compacted: 1, records: map[string]record{}, leases: map[int64]*lease{}}
}

// Client returns a new client of the store.
func (s *Server) Client() *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Client{server: s}
	s.clients = append(s.clients, c)
	return c
}

// Revision returns the current revision.
func (s *Server) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Records returns all records by key.
func (s *Server) Records() []fleet.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list()
}

func (s *Server) list() []fleet.Record {
	list := []fleet.Record{}
	for _, key := range slices.Sorted(maps.Keys(s.records)) {
		list = append(list, s.records[key].Record)
	}
	return list
}

// Write writes a value as a foreign program may do. The client's bounds do not apply.
func (s *Server) Write(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit([]fleet.Put{{Key: key, Value: []byte(value)}}, nil)
}

// WriteLeased writes a value with a lease that never ends.
func (s *Server) WriteLeased(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit([]fleet.Put{{Key: key, Value: []byte(value), Lease: &lease{}}}, nil)
}

// Remove deletes the records whose keys have a prefix, as a foreign program may do.
func (s *Server) Remove(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(func(r record) bool { return strings.HasPrefix(r.Key, prefix) })
}

func (s *Server) remove(which func(record) bool) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.records)) {
		if which(s.records[key]) {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		s.commit(nil, keys)
	}
}

// commit makes the writes of one transaction and delivers them. mu is held.
func (s *Server) commit(puts []fleet.Put, deletes []string) {
	change := fleet.Change{Revision: s.revision + 1}
	for _, p := range puts {
		r := record{Record: fleet.Record{Key: p.Key, Value: slices.Clone(p.Value), Size: len(p.Value), Created: change.Revision, Modified: change.Revision}}
		if r.Size > fleet.MaxConfig {
			r.Value = nil
		}
		if old, ok := s.records[p.Key]; ok {
			r.Created = old.Created
		}
		if l, ok := p.Lease.(*lease); ok {
			r.lease, r.Leased = l.id, true
		}
		s.records[p.Key] = r
		change.Records = append(change.Records, r.Record)
	}
	for _, key := range deletes {
		if _, ok := s.records[key]; ok {
			delete(s.records, key)
			change.Deleted = append(change.Deleted, key)
		}
	}
	if len(change.Records) == 0 && len(change.Deleted) == 0 {
		return
	}
	s.revision = change.Revision
	s.changes = append(s.changes, change)
	for _, c := range s.clients {
		c.deliver()
	}
}

// Compact drops the history: a watch that is behind ends with ErrCompacted.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes, s.compacted = nil, s.revision
	for _, c := range s.clients {
		c.deliver()
	}
}

// Wipe empties the store as if its data had been deleted: revisions start again, leases and watches end.
func (s *Server) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision, s.compacted, s.changes, s.records = 1, 1, nil, map[string]record{}
	for _, l := range s.leases {
		l.lose()
	}
	for _, c := range s.clients {
		c.endWatches(ErrUnavailable)
	}
}

// SetFull makes each write fail, as of a store without space, or ends that.
func (s *Server) SetFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// Advance moves the clock. Leases of connected clients are renewed; others end after their ttl.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += d
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		l := s.leases[id]
		switch {
		case l.client.usable() == nil && s.now-d < l.expires:
			l.expires = s.now + l.ttl
		case s.now >= l.expires:
			s.end(l)
		}
	}
}

// EndLeases ends all leases of a client, as after a pause of its process that was longer than their ttl.
func (s *Server) EndLeases(c *Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		if l := s.leases[id]; l.client == c {
			s.end(l)
		}
	}
}

// end ends a lease and deletes its records. mu is held.
func (s *Server) end(l *lease) {
	l.lose()
	s.remove(func(r record) bool { return r.lease == l.id })
}
