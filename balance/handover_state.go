package balance

import "time"

// HandoverState is the short-lived state of a server that an upgrade passes to the new process on the same timeline. It
// is not part of SavedState because it is useless later.
type HandoverState struct {
	Server  string        `json:"server"`
	Growing bool          `json:"growing,omitempty"` // slow start is in progress
	Since   time.Duration `json:"since,omitempty"`   // start of the slow start
	Connect float64       `json:"connect,omitempty"` // the smoothed connect time, in nanoseconds; 0 = never measured
	At      time.Duration `json:"at,omitempty"`      // time of its last measurement

	Answer     float64       `json:"answer,omitempty"` // the smoothed time to the first byte of an answer
	AnsweredAt time.Duration `json:"answered_at,omitempty"`
}

// HandoverStates returns the state of every server that has one.
func (c *Cluster) HandoverStates(now time.Duration) []HandoverState {
	c.lock(now)
	defer c.unlock()
	var list []HandoverState
	for name, s := range c.servers {
		if s.inSlowStart || s.times.connect.took > 0 {
			p := HandoverState{Server: name, Growing: s.inSlowStart, Connect: s.times.connect.took, At: s.times.connect.at, Answer: s.times.answer.took, AnsweredAt: s.times.answer.at}
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
			s.times.connect = smoothedTime{p.Connect, min(p.At, c.now)}
		}
		if p.Answer >= 1 {
			s.times.answer = smoothedTime{p.Answer, min(p.AnsweredAt, c.now)}
		}
		s.publishTimes()
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
