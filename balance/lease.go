package balance

import "time"

// Lease is a session's claim on a server. It is a value and may be copied; whatever is done with the copies, it is
// given back once, and what comes after that has no effect. The zero Lease is no lease.
type Lease struct {
	server     *Server
	id         leaseID
	level      int32
	lastResort bool // the server was out for failed dials, and all others had failed the session
}

// Server returns whom the lease is on, also after it has been given back; nil for the zero Lease.
func (l *Lease) Server() *Server { return l.server }

// Level returns the key of the level that the server was picked from.
func (l *Lease) Level() int { return int(l.level) }

// Adopt hands out a lease to a session that has its server already, from another process: neither the server's state nor
// its limit is asked. It reports false when the cluster has no such server.
func (c *Cluster) Adopt(server string, level int, now time.Duration) (Lease, bool) {
	c.lock(now)
	defer c.unlock()
	s := c.servers[server]
	if s == nil {
		return Lease{}, false
	}
	s.addSessions(1)
	return Lease{server: s, id: c.leases.acquire(), level: int32(level)}, true
}

// Established tells that the server answered the dial, which took so long. It ends the server's probation, or a trip of
// one that was picked nevertheless: because protection spared it, or as a last resort. The lease stays out.
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
	s.connect.add(now, took)
	s.publishConnectTime()
	c.recordSuccess(s, l.lastResort, "connected")
	if s.probationLease == l.id {
		s.probationLease = leaseID{}
		s.updateSlots()
	}
	c.publishChanges()
}

// Fail tells that the attempt failed by the server's fault, and why: refused, timed out or unreachable. It counts towards
// max_fails, halves the server's effective weight, and gives the lease back.
func (l *Lease) Fail(now time.Duration, why string) { l.end(now, true, why) }

// Done gives the lease back without judging the server: the session has ended, or the attempt was given up for reasons
// of our own.
func (l *Lease) Done(now time.Duration) { l.end(now, false, "") }

func (l *Lease) end(now time.Duration, failed bool, why string) {
	if l.server == nil {
		return
	}
	s, c := l.server, l.server.cluster
	c.lock(now)
	defer c.unlock()
	if !c.leases.release(l.id) {
		return
	}
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

// leaseID is a lease's entry in the ledger; the zero claim is none.
type leaseID struct{ entry, generation uint32 }

// leases knows which leases are out. An entry is used again and again; its term, odd while it is out, tells its uses
// apart, so that a lease that was copied cannot be given back twice.
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

// wakeWaiter reports whether the claim was still out.
func (g *leaseTable) release(c leaseID) bool {
	if !g.valid(c) {
		return false
	}
	g.out--
	g.generations[c.entry]++
	g.free = append(g.free, c.entry)
	return true
}
