package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Server is one server of one cluster, in however many levels it appears. It keeps its identity, and with it its
// sessions, verdicts and overrides, for as long as its name stays in the cluster.
type Server struct {
	// Immutable.
	cluster *Cluster
	name    string

	// Atomic, read by anyone.
	public       atomic.Pointer[public]
	outOfService atomic.Bool // published as down or in maintenance

	// Under the cluster's lock.
	placements []placement // where it stands; empty = it has left the cluster
	layers     Layers
	passive    passiveHealth

	merged      Decision      // what the layers amount to
	mergedSince time.Duration // of own.State
	outage      uint64        // its number in the order in which health took servers out of service
	// When the agent last did not say down, and since when it says so.
	agentPassed, agentFailing time.Duration
	published                 Decision      // own, or unstable
	since                     time.Duration // of shown.State, or unshown
	cause                     Decision      // Layer and Reason of the latest word, for the event that it leads to
	dirty                     bool          // on the cluster's list of servers to settle
	slowStartDue              bool          // slow start is due when it next comes up
	inSlowStart               bool          // slow start is under way
	slowStartBegan            time.Duration // of the slow start
	percent                   int           // of weight and max_sessions that slow start allows
	timed                     bool          // on the cluster's list of servers that time changes

	sessionLimit   int     // sessions at once; 0 = no limit
	sessions       int     // leases out
	probationLease leaseID // the lease that decides a probation; zero = none

	lastResort      uint64 // its number in the order of last resorts; 0 = it never was one
	picks, failures uint64
	connect         connectTime
}

// neverPublished is when a state began that has not been shown yet. Times below zero are those of an earlier process.
const neverPublished = time.Duration(math.MinInt64)

// public is what the owner may read without the lock.
type public struct {
	address string
	handle  any
}

// placement is one appearance of a server.
type placement struct {
	level *level
	slot  int
}

// Name returns the server's name, unique in its cluster.
func (s *Server) Name() string { return s.name }

// Address returns the address as written in the specification.
func (s *Server) Address() string { return s.public.Load().address }

// Handle returns what the owner hung on in ServerSpec.Handle, as of the latest Commit.
func (s *Server) Handle() any { return s.public.Load().handle }

// OutOfService tells whether the server is down or in maintenance: what it serves is better served by another one. It takes no
// lock. A server that has left its cluster stays as it was.
func (s *Server) OutOfService() bool { return s.outOfService.Load() }

// Sessions returns how many leases on the server are out.
func (s *Server) Sessions() int {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.sessions
}

// State returns the state that the server is shown in, as of the latest call to its cluster.
func (s *Server) State() State {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.published.State
}

// full tells whether the server has no room for another session.
func (s *Server) full() bool { return s.sessionLimit > 0 && s.sessions >= s.sessionLimit }

// busy tells whether the server is on probation and the one session that decides is under way.
func (s *Server) busy() bool { return s.published.State == Probation && s.probationLease != leaseID{} }

// placementIn returns the server's place in a level, or a place with a nil level.
func (s *Server) placementIn(l *level) placement {
	for _, p := range s.placements {
		if p.level == l {
			return p
		}
	}
	return placement{}
}

// updateSlots brings the server's slots into line with its state, room and weight.
func (s *Server) updateSlots() {
	s.sessionLimit = percentOf(s.layers.maxSessions(), s.percent)
	for _, p := range s.placements {
		p.level.updateSlot(p.slot)
	}
}

// addSessions counts n more sessions (or fewer).
func (s *Server) addSessions(n int) {
	was := s.full()
	s.sessions += n
	for _, p := range s.placements {
		p.level.load[p.slot] = int64(s.sessions)
		if s.full() != was {
			p.level.updateSlot(p.slot)
		}
	}
}
