package balance

import "time"

// HandoverState is the short-lived state of a server that an upgrade passes to the new process on the same timeline. It
// is not part of SavedState because it is useless later.
type HandoverState struct {
	Server   string        `json:"server"`
	Sessions int           `json:"sessions,omitempty"`
	Growing  bool          `json:"growing,omitempty"` // slow start is in progress
	Since    time.Duration `json:"since,omitempty"`   // start of the slow start
	Connect  float64       `json:"connect,omitempty"` // the smoothed connect time, in nanoseconds; 0 = never measured
	At       time.Duration `json:"at,omitempty"`      // time of its last measurement

	Answer     float64       `json:"answer,omitempty"` // the smoothed time to the first byte of an answer
	AnsweredAt time.Duration `json:"answered_at,omitempty"`
}

// HandoverStates returns the state of every server that has one.
func (c *Cluster) HandoverStates(now time.Duration) []HandoverState {
	c.lock(now)
	defer c.unlock()
	var list []HandoverState
	for name, s := range c.servers {
		if s.inSlowStart || s.times.connect.took > 0 || s.sessions > 0 {
			p := HandoverState{Server: name, Sessions: s.sessions, Growing: s.inSlowStart, Connect: s.times.connect.took, At: s.times.connect.at, Answer: s.times.answer.took, AnsweredAt: s.times.answer.at}
			if s.inSlowStart {
				p.Since = s.slowStartBegan
			}
			list = append(list, p)
		}
	}
	return list
}

// RestoreHandover applies handover states to a cluster that has not been used yet, after Restore. Sessions of the other process count
// for the limits of servers until they are adopted: see LowerElsewhere. Slow start is not
// resumed for a server that is out of service or no longer has a slow start.
func (c *Cluster) RestoreHandover(list []HandoverState, now time.Duration) {
	c.lock(now)
	for _, p := range list {
		s := c.servers[p.Server]
		if s == nil {
			continue
		}
		s.changeSessions(0, p.Sessions)
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

// LowerElsewhere records that the other process of an upgrade has only n sessions of a server now: the others were adopted or have
// ended.
func (c *Cluster) LowerElsewhere(server string, n int, now time.Duration) {
	c.lock(now)
	defer c.unlock()
	if s := c.servers[server]; s != nil && s.elsewhere > n {
		s.changeSessions(0, n-s.elsewhere)
		c.publishChanges()
	}
}

// ForgetElsewhere forgets the sessions of the other process of an upgrade.
func (c *Cluster) ForgetElsewhere(now time.Duration) {
	c.lock(now)
	defer c.unlock()
	for _, s := range c.servers {
		s.changeSessions(0, -s.elsewhere)
	}
	c.publishChanges()
}

// maxLateNumbers is how many more sessions can have begun to wait in the old process of an upgrade after LastQueueNumber.
const maxLateNumbers = 1 << 20

// LastQueueNumber returns the position of the last session that has begun to wait.
func (c *Cluster) LastQueueNumber() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue.issued
}

// ContinueQueue makes sessions that begin to wait follow those of another process, whose LastQueueNumber was last.
func (c *Cluster) ContinueQueue(last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.issued = max(c.queue.issued, last+maxLateNumbers)
}

// QueueNumber returns the position of a session in the order of arrival of those that have waited; 0 = it has not.
func (t *Attempts) QueueNumber() uint64 { return t.queueNumber }

// AdoptQueueNumber gives a session the position that it had in another process.
func (t *Attempts) AdoptQueueNumber(n uint64) { t.queueNumber = n }
