package balance

import "time"

// Lease is a session's claim on a server. It is a value and may be copied. It is released once, whatever is done with
// the copies; later calls have no effect. The zero Lease claims nothing.
type Lease struct {
	server     *Server
	id         leaseID
	level      int32
	address    AddressID
	lastResort bool // the server was failing, and all others had failed the session
}

// Server returns the server, also after the release. It returns nil for the zero Lease.
func (l *Lease) Server() *Server { return l.server }

// Address returns the address that the server had when it was picked.
func (l *Lease) Address() AddressID { return l.address }

// AddressText returns the address that the server had when it was picked, as written in the specification.
func (l *Lease) AddressText() string {
	if l.server == nil {
		return ""
	}
	c := l.server.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.server.addresses.text(l.address)
}

// Follow makes the server's current address that of the lease: its session has moved there.
func (l *Lease) Follow() {
	c := l.server.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	l.address = l.server.address
}

// Level returns the key of the level that the server was picked from.
func (l *Lease) Level() int { return int(l.level) }

// Adopt returns a lease for a session that already has its server, at one of its addresses, from another process. The server's
// state and limit are not checked. It reports false if the cluster has no such server, present or departed.
func (c *Cluster) Adopt(server, address string, level int, now time.Duration) (Lease, bool) {
	c.lock(now)
	defer c.unlock()
	s := c.find(server)
	if s == nil {
		return Lease{}, false
	}
	s.changeSessions(1, -min(1, s.elsewhere))
	return Lease{server: s, id: c.leases.acquire(), level: int32(level), address: s.addresses.number(address)}, true
}

// Established records that the server answered the dial, and the connect time took. It ends the server's probation. If
// the server was picked as a last resort while it was failing, it also ends the failing state. The lease is not
// released.
func (l *Lease) Established(now, took time.Duration) {
	if l.server == nil {
		return
	}
	s, c := l.server, l.server.cluster
	c.lock(now)
	defer c.unlock()
	if !c.leases.valid(l.id) {
		return
	}
	s.times.connect.add(c.now, took)
	s.publishTimes()
	c.accepts(s)
	c.recordSuccess(s, l.lastResort, "connected")
	if s.awaitsFirst {
		s.awaitsFirst = false
		c.emit(Event{Kind: EventFirstSession, Server: s.name})
	}
	if s.probationLease == l.id {
		s.probationLease = leaseID{}
		s.updateSlots()
	}
	c.publishChanges()
}

// Fail records that the attempt failed because of the server, and releases the lease. why is the cause: refused, timed
// out or unreachable. The failure counts towards max_fails and halves the server's effective weight.
func (l *Lease) Fail(now time.Duration, why string) { l.end(now, true, why) }

// Done releases the lease without a result for the server: the session has ended, or the attempt ended for a reason on
// this host.
func (l *Lease) Done(now time.Duration) { l.end(now, false, "") }

// HandOver releases the lease of a session that another process has adopted. The session still counts for the server's limit.
func (l *Lease) HandOver(now time.Duration) {
	if l.server == nil {
		return
	}
	c := l.server.cluster
	c.lock(now)
	defer c.unlock()
	if c.leases.valid(l.id) {
		l.server.changeSessions(0, 1)
		c.release(l, false, "")
	}
}

func (l *Lease) end(now time.Duration, failed bool, why string) {
	if l.server == nil {
		return
	}
	c := l.server.cluster
	c.lock(now)
	defer c.unlock()
	c.release(l, failed, why)
}

// release releases a lease that is out.
func (c *Cluster) release(l *Lease, failed bool, why string) {
	if !c.leases.release(l.id) {
		return
	}
	s := l.server
	s.addSessions(-1)
	if s.probationLease == l.id {
		s.probationLease = leaseID{}
		s.updateSlots()
	}
	if failed {
		s.failures++
		for _, p := range s.placements {
			if p.level.key == int(l.level) {
				p.level.backOff(p.slot)
			}
		}
		c.recordFailure(s, why)
	}
	c.publishChanges()
}

// leaseID identifies an entry of the lease table. The zero value identifies none.
type leaseID struct{ entry, generation uint32 }

// leaseTable records which leases are out. Entries are reused. The generation of an entry is odd while its lease is
// out, and changes at each use, so a copied lease cannot be released twice.
type leaseTable struct {
	generations []uint32
	free        []uint32
	out         int
}

func (g *leaseTable) acquire() leaseID {
	g.out++
	if n := len(g.free); n > 0 {
		e := g.free[n-1]
		g.free = g.free[:n-1]
		g.generations[e]++
		return leaseID{e, g.generations[e]}
	}
	g.generations = append(g.generations, 1)
	return leaseID{uint32(len(g.generations) - 1), 1}
}

func (g *leaseTable) valid(c leaseID) bool {
	return int(c.entry) < len(g.generations) && g.generations[c.entry] == c.generation
}

// release reports whether the lease was out.
func (g *leaseTable) release(c leaseID) bool {
	if !g.valid(c) {
		return false
	}
	g.out--
	g.generations[c.entry]++
	g.free = append(g.free, c.entry)
	return true
}
