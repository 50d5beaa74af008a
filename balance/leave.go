package balance

import "time"

// When a session that can change its server should do so: its server drains, or a better level is back.

// Moves changes whenever LeaveAt may have another result. It takes no lock.
func (c *Cluster) Moves() uint64 { return c.moves.Load() }

// LeaveAt returns when a session that can change its server leaves the one of its lease: after its server has drained, or
// a better one of the session's levels has been usable, for the time wait. levels is Attempts.Levels. It reports false
// if there is no reason to leave.
func (c *Cluster) LeaveAt(lease *Lease, levels []int, wait time.Duration) (at time.Duration, leave bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := lease.server; s != nil && s.published.State == Draining {
		at, leave = s.since+wait, true
	}
	for i := range c.levelCount(levels) {
		l := c.levelAt(levels, i)
		if l == nil {
			continue
		}
		if l.key == lease.Level() {
			break
		}
		if back := l.usableSince + wait; l.usable && (!leave || back < at) {
			at, leave = back, true
		}
	}
	return at, leave
}

// updateUsable records since when each level may be used. A level that manual failback keeps out of use may not.
func (c *Cluster) updateUsable() {
	for i, l := range c.levels {
		usable := l.steady() >= l.minUp && !(c.held && i < c.level)
		if usable == l.usable {
			continue
		}
		l.usable, l.usableSince = usable, c.now
		c.moves.Add(1)
	}
}

// Behind returns the servers of the levels after the first one that new sessions may use, and since when the level that
// came back last can be used. leaves reports whether a session that began at a time in a level, by its key, has a better
// one since then, among those that it may use (Attempts.Levels). It continues to answer for the moment of this call.
func (c *Cluster) Behind() (servers []*Server, since time.Duration, leaves func(level int, levels []int, began time.Duration) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	usable, all := map[int]time.Duration{}, make([]int, 0, len(c.levels))
	for _, l := range c.levels {
		if len(usable) > 0 {
			for i := range l.slots {
				servers = append(servers, l.slots[i].server)
			}
		}
		if l.usable {
			usable[l.key] = l.usableSince
			since = max(since, l.usableSince)
		}
		all = append(all, l.key)
	}
	return servers, since, func(level int, levels []int, began time.Duration) bool {
		if len(levels) == 0 {
			levels = all
		}
		for _, key := range levels {
			if key == level {
				return false
			}
			if at, ok := usable[key]; ok && began <= at {
				return true
			}
		}
		return false
	}
}

// DrainDeadline is a server in drain that has a deadline.
type DrainDeadline struct {
	Server *Server
	At     time.Duration
}

// DrainDeadlines returns the servers in drain that have a deadline.
func (c *Cluster) DrainDeadlines() (list []DrainDeadline) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		if at := s.layers.Override.Deadline; at != 0 && s.published.State == Draining {
			list = append(list, DrainDeadline{s, at})
		}
	}
	return list
}

// DrainDeadline returns the deadline of the server's drain; 0 = it is not in drain, has left its cluster, or has none.
func (s *Server) DrainDeadline() time.Duration {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if len(s.placements) == 0 || s.published.State != Draining {
		return 0
	}
	return s.layers.Override.Deadline
}
