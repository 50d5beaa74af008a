package balance

import "time"

// HandoverState is the short-lived state of a server that an upgrade passes to the new process on the same timeline. It
// is not part of SavedState because it is useless later.
type HandoverState struct {
	Server  string        `json:"server"`
	Growing bool          `json:"growing,omitempty"` // slow start is in progress
	Since   time.Duration `json:"since,omitempty"`   // start of the slow start
	Connect float64       `json:"connect,omitempty"` // the smoothed connect time, in nanoseconds; 0 = never measured
	At      time.Duration `json:"at,omitempty"`      // time of the last measurement
}

// HandoverStates returns the state of every server that has one.
func (c *Cluster) HandoverStates(now time.Duration) []HandoverState {
	c.lock(now)
	defer c.unlock()
	var list []HandoverState
	for name, s := range c.servers {
		if s.inSlowStart || s.connect.took > 0 {
			p := HandoverState{Server: name, Growing: s.inSlowStart, Connect: s.connect.took, At: s.connect.at}
			if s.inSlowStart {
				p.Since = s.slowStartBegan
			}
			list = append(list, p)
		}
	}
	return list
}

// RestoreHandover applies handover states to a cluster that has not been used yet, after Restore. Slow start is not
// resumed for a server that is out of service or no longer has a slow start.
func (c *Cluster) RestoreHandover(list []HandoverState, now time.Duration) {
	c.lock(now)
	for _, p := range list {
		s := c.servers[p.Server]
		if s == nil {
			continue
		}
		if p.Connect >= 1 {
			s.connect = connectTime{p.Connect, min(p.At, c.now)}
			s.publishConnectTime()
		}
		if p.Growing && c.spec.SlowStart > 0 && canServe(s.merged.State) {
			s.inSlowStart, s.slowStartBegan = true, min(p.Since, c.now)
			s.percent, _ = slowStartPercent(s.slowStartBegan, c.now, c.spec.SlowStart)
			c.watch(s)
			c.markDirty(s)
		}
	}
	c.applyTimers()
	c.publishChanges()
	c.unlock()
}
