package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Server is one server of a cluster, in one or more levels. As long as its name stays in the cluster it keeps its
// sessions, verdicts and overrides. One that has left keeps its sessions, and takes them back if it returns.
type Server struct {
	// Immutable.
	cluster *Cluster
	name    string

	// Atomic, read by anyone.
	public       atomic.Pointer[public]
	outOfService atomic.Bool // published as down, standby or in maintenance
	roleLost     atomic.Bool // see Wanted.Lost

	// Guarded by Cluster.mu.

	// What every session reads or changes comes first: among thousands of servers, each cache line of one is a miss.
	sessions       int // leases out
	elsewhere      int // sessions that the other process of an upgrade has; they count for sessionLimit
	sessionLimit   int // after slow start, at most part; 0 = no limit, negative = no sessions
	peak           int // most sessions since TakeUses, with those elsewhere
	most           int // most sessions since the server exists
	picks          uint64
	published      Decision // merged, or unstable
	probationLease leaseID  // lease of the session that decides the probation; zero = none
	address        AddressID
	awaitsFirst    bool          // a decision has named it, and no session has connected since
	worked         bool          // a check has passed or a session has connected, at this address
	placements     []placement   // its slots; empty = the server has left the cluster
	retryAt        time.Duration // when held sessions may try the server again; 0 = it has not refused one
	passive        passiveHealth
	times          serverTimes

	layers   Layers
	monitors []MonitorSpec
	found    bool // ServerSpec.Found
	external bool // ServerSpec.External

	merged      Decision      // result of Layers.State
	mergedSince time.Duration // start of merged.State
	outage      uint64        // its number in the order of servers that health took out of service
	// When the agent last reported the server not down, and when it began to report it down.
	agentPassed, agentFailing time.Duration
	since                     time.Duration // start of published.State, or neverPublished
	cause                     Decision      // Layer and Reason of the latest change, for the event that follows
	flapping                  bool          // was protected, and not up for minProtectedTime since
	delayed                   bool          // a change of the merged state waits for minProtectedTime
	dirty                     bool          // in Cluster.dirty
	slowStartDue              bool          // slow start begins when the server next serves
	inSlowStart               bool          // slow start is in progress
	slowStartBegan            time.Duration // start of the slow start
	percent                   int           // of weight and max_sessions allowed by slow start
	timed                     bool          // in Cluster.timed

	part       int // of the limit on sessions, with Spec.Divided
	addresses  addressIDs
	left       map[AddressID]uint64 // departures that last, by number
	failures   uint64
	lastResort uint64 // its number in the order of last resorts; 0 = never
}

// neverPublished is the start of a state that was never published. Times below zero are those of an earlier process.
const neverPublished = time.Duration(math.MinInt64)

// public is what callers may read without the lock.
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

// Cluster returns the name of the server's cluster.
func (s *Server) Cluster() string { return s.cluster.Name() }

// In reports whether the server belongs, or belonged, to a cluster.
func (s *Server) In(c *Cluster) bool { return s.cluster == c }

// Address returns the address as written in the specification.
func (s *Server) Address() string { return s.public.Load().address }

// Handle returns ServerSpec.Handle of the latest Commit.
func (s *Server) Handle() any { return s.public.Load().handle }

// OutOfService reports whether the published state is down, standby or maint. It takes no lock. A server that has left its
// cluster keeps its last state.
func (s *Server) OutOfService() bool { return s.outOfService.Load() }

// Sessions returns how many leases on the server are out.
func (s *Server) Sessions() int {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.sessions
}

// SetMostSessions records that the server had as many sessions at one time in an earlier process.
func (s *Server) SetMostSessions(n int) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.most = max(s.most, n)
}

// MostSessions returns the most sessions that the server had at one time.
func (s *Server) MostSessions() int {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.most
}

// State returns the published state, as of the latest call to the cluster.
func (s *Server) State() State {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.published.State
}

// full reports whether the server is at its session limit.
func (s *Server) full() bool { return s.sessionLimit != 0 && s.sessions+s.elsewhere >= s.sessionLimit }

// busy reports whether the server is on probation and its deciding session is in progress.
func (s *Server) busy() bool { return s.published.State == Probation && s.probationLease != leaseID{} }

// placementIn returns the server's placement in a level, or a placement with a nil level.
func (s *Server) placementIn(l *level) placement {
	for _, p := range s.placements {
		if p.level == l {
			return p
		}
	}
	return placement{}
}

// updateSlots applies the server's state, session limit and weight to its slots.
func (s *Server) updateSlots() {
	s.sessionLimit = s.limit()
	for _, p := range s.placements {
		p.level.updateSlot(p.slot)
	}
}

// addSessions adds n, which may be negative, to the number of sessions.
func (s *Server) addSessions(n int) { s.changeSessions(n, 0) }

// changeSessions adds to the number of sessions, and to that of the sessions elsewhere.
func (s *Server) changeSessions(n, elsewhere int) {
	was := s.full()
	s.sessions += n
	s.elsewhere += elsewhere
	s.peak = max(s.peak, s.sessions+s.elsewhere)
	s.most = max(s.most, s.sessions)
	for _, p := range s.placements {
		p.level.setLoad(p.slot, s.sessions)
		if s.full() != was {
			p.level.updateSlot(p.slot)
		}
	}
	if s.sessions == 0 && len(s.placements) == 0 && s.cluster.departed[s.name] == s {
		delete(s.cluster.departed, s.name)
	}
}
