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
