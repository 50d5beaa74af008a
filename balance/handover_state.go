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
		if s.growing || s.connect.took > 0 {
			p := HandoverState{Server: name, Growing: s.growing, Connect: s.connect.took, At: s.connect.at}
			if s.growing {
				p.Since = s.started
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
			s.connect = measure{p.Connect, min(p.At, c.now)}
			s.remeasure()
		}
		if p.Growing && c.spec.SlowStart > 0 && able(s.own.State) {
			s.growing, s.started = true, min(p.Since, c.now)
			s.percent, _ = growth(s.started, c.now, c.spec.SlowStart)
			c.watch(s)
			c.touch(s)
		}
	}
	c.ripen()
	c.settle()
	c.unlock()
}
