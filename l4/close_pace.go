package l4

// How fast, when and how often the sessions of a cluster are closed from outside.

import (
	"sync/atomic"
	"time"
)

// Closer paces and counts the closing of the sessions of one cluster. All loops share it. It lives as long as the name of the
// cluster does, across reloads.
type Closer struct {
	// Settings, in nanoseconds, set by Configure.
	interval atomic.Int64 // between two closes; 0 = no limit
	quiet    atomic.Int64
	deadline atomic.Int64

	next    atomic.Int64 // time of the next close, on the plane's clock
	expired atomic.Int64 // sessions that have reached their maximum age and are open
	closed  [closeCauses][2]atomic.Uint64
	before  [closeCauses][2]atomic.Uint64 // counted by another process
}

// ClosePace is how the sessions of a cluster are closed.
type ClosePace struct {
	Interval time.Duration `json:"interval"` // between two closes; 0 = no limit
	Quiet    time.Duration `json:"quiet"`    // without a byte before a gentle close
	Deadline time.Duration `json:"deadline"` // for sessions of an order without a deadline of its own
}

// Pace returns the settings.
func (c *Closer) Pace() ClosePace {
	return ClosePace{time.Duration(c.interval.Load()), time.Duration(c.quiet.Load()), time.Duration(c.deadline.Load())}
}

// SetPace changes the settings to those of another closer.
func (c *Closer) SetPace(p ClosePace) {
	c.interval.Store(int64(p.Interval))
	c.quiet.Store(int64(p.Quiet))
	c.deadline.Store(int64(p.Deadline))
}

// Configure sets how many sessions are closed per second (0 = no limit), how long no byte must have moved before a gentle
// close, and how long sessions of an order without a deadline of its own may wait.
func (c *Closer) Configure(rate int, quiet, deadline time.Duration) {
	interval := time.Duration(0)
	if rate > 0 {
		interval = max(1, time.Second/time.Duration(rate))
	}
	c.SetPace(ClosePace{interval, quiet, deadline})
}

// Paced reports whether there is a limit on closes per second.
func (c *Closer) Paced() bool { return c.interval.Load() > 0 }

// Gentle reports whether sessions are closed before a deadline that was set for them: a pace or a quiet time is configured.
func (c *Closer) Gentle() bool { return c.Paced() || c.quiet.Load() > 0 }

// Deadline returns the configured deadline, from the time when a cause to close sessions began.
func (c *Closer) Deadline() time.Duration { return time.Duration(c.deadline.Load()) }

// minQuiet is the least time without a byte before a gentle close: the parts of one reply follow each other sooner.
const minQuiet = 5 * time.Millisecond

func (c *Closer) quietTime() time.Duration { return max(minQuiet, time.Duration(c.quiet.Load())) }

// paceSlack is how much earlier than its turn a session may be closed if the one before was late: loops look for sessions
// at intervals.
const paceSlack = 2 * sweepInterval

// nextTurn returns the time of the next close.
func (c *Closer) nextTurn() time.Duration {
	if !c.Paced() {
		return 0
	}
	return time.Duration(c.next.Load())
}

// takeTurn reports whether a session may be closed now, and counts it.
func (c *Closer) takeTurn(now time.Duration) bool {
	interval := c.interval.Load()
	for interval > 0 {
		next := c.next.Load()
		if int64(now) < next {
			return false
		}
		if c.next.CompareAndSwap(next, max(next, int64(now-paceSlack))+interval) {
			return true
		}
	}
	return true
}

// closeCauses is the number of causes.
const closeCauses = 6

// CloseCauses returns the reasons with which sessions are closed by order or because of their age.
func CloseCauses() [closeCauses]Reason {
	return [closeCauses]Reason{ReasonCutServerDown, ReasonCutServerRemoved, ReasonCutDrain, ReasonCutAge, ReasonCutFailback, ReasonCutRebalance}
}

func causeIndex(reason Reason) int {
	for i, r := range CloseCauses() {
		if r == reason {
			return i
		}
	}
	return 0
}

// Count counts sessions that were closed for a reason: at a quiet moment, or by force.
func (c *Closer) Count(reason Reason, quiet bool, n int) {
	if n > 0 {
		c.closed[causeIndex(reason)][countIndex(quiet)].Add(uint64(n))
	}
}

func countIndex(quiet bool) int {
	if quiet {
		return 0
	}
	return 1
}

// Closed returns how many sessions were closed for a reason, at quiet moments and by force.
func (c *Closer) Closed(reason Reason) (quiet, forced uint64) {
	counts, before := &c.closed[causeIndex(reason)], &c.before[causeIndex(reason)]
	return counts[0].Load() + before[0].Load(), counts[1].Load() + before[1].Load()
}

// SetBaseline adds what another process has counted for a reason. A later call replaces an earlier one.
func (c *Closer) SetBaseline(reason Reason, quiet, forced uint64) {
	before := &c.before[causeIndex(reason)]
	before[0].Store(quiet)
	before[1].Store(forced)
}

// Expired returns the number of sessions that have reached their maximum age and wait to be closed.
func (c *Closer) Expired() int { return int(c.expired.Load()) }
