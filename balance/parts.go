package balance

// Parts of max_sessions, for a process that shares the limits of servers with others. A part applies to the limit that
// results from all layers, before slow start.

import "time"

// noSessions is the session limit of a server whose part is 0.
const noSessions = -1

// Use is how much of its session limit a server uses.
type Use struct {
	Server   string
	Limit    int  // before slow start and without parts; 0 = the server has none, or has left the cluster
	Sessions int  // with those of the other process of an upgrade
	Peak     int  // most since the last call
	Refused  bool // since the last call a session was refused because the server and others were full, or it waits
}

// SetParts sets what the process may use of the session limits of its servers, by name: nothing of those that parts lacks,
// and nothing of any from the time until on; 0 = never. Parts are part of the state of the servers, whatever the
// specification; they apply with Spec.Divided. Sessions above a part continue.
func (c *Cluster) SetParts(parts map[string]int, until, now time.Duration) {
	c.lock(now)
	defer c.unlock()
	if until == 0 {
		until = never
	}
	c.partsUntil = until
	changed := false
	for name, s := range c.servers {
		part := parts[name]
		if until <= c.now {
			part = 0
		}
		changed = s.setPart(part) || changed
	}
	c.nextTimer = min(c.nextTimer, c.partsUntil)
	if changed {
		c.serveWaiters(true)
		c.releaseHeld()
	}
}

// setPart sets the part of a server and reports whether it has changed.
func (s *Server) setPart(part int) bool {
	if s.part == part {
		return false
	}
	s.part = part
	s.updateSlots()
	return true
}

// expireParts ends the parts when their time has come.
func (c *Cluster) expireParts() {
	if c.now < c.partsUntil {
		c.nextTimer = min(c.nextTimer, c.partsUntil)
		return
	}
	c.partsUntil = never
	for _, s := range c.servers {
		s.setPart(0)
	}
}

// isDivided reports whether the part limits the sessions of the server.
func (s *Server) isDivided() bool { return s.cluster.spec.Divided && s.layers.maxSessions() > 0 }

// limit returns the session limit.
func (s *Server) limit() int {
	limit := s.layers.maxSessions()
	if s.isDivided() {
		if limit = min(limit, s.part); limit == 0 {
			return noSessions
		}
	}
	return percentOf(limit, s.percent)
}

// TakeUses returns what the servers use: those with a limit, and those that have left and still have sessions.
func (c *Cluster) TakeUses() (list []Use) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.servers {
		u := Use{Server: name, Limit: s.layers.maxSessions(), Sessions: s.sessions + s.elsewhere, Peak: s.peak}
		for _, p := range s.placements {
			u.Refused = u.Refused || s.full() && (p.level.refused || c.queue.n > 0)
		}
		if s.peak = u.Sessions; u.Limit > 0 {
			list = append(list, u)
		}
	}
	for name, s := range c.departed {
		if c.servers[name] == nil {
			list = append(list, Use{Server: name, Sessions: s.sessions + s.elsewhere})
		}
	}
	for _, l := range c.levels {
		l.refused = false
	}
	return list
}

// Names returns the names of the servers, in no particular order.
func (c *Cluster) Names() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.servers {
		list = append(list, name)
	}
	return list
}
