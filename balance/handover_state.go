package balance

import "time"

// HandoverState is how a server is getting on at the moment, for a cluster of another process that goes on from here on the same
// timeline. It is worth nothing later: a Memory does without.
type HandoverState struct {
	Server  string        `json:"server"`
	Growing bool          `json:"growing,omitempty"` // a slow start is under way
	Since   time.Duration `json:"since,omitempty"`   // when that began
	Connect float64       `json:"connect,omitempty"` // the smoothed connect time, in nanoseconds; 0 = never measured
	At      time.Duration `json:"at,omitempty"`      // when that was last measured
}

// HandoverStates returns those of the servers about which there is something to say.
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

// RestoreHandover has a cluster that has not been used yet go on from there, after Recall. A server that is not in service, or
// that is not to be slow any more, does not grow.
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
