package vip

import "time"

// Gate decides whether one address is wanted: once nothing has blocked it for some time, until something does.
type Gate struct {
	open  bool
	free  bool          // nothing blocked it at the last step
	since time.Duration // of free
}

// NewGate returns a gate. An open one stays open as long as nothing blocks it, without a wait.
func NewGate(open bool) Gate { return Gate{open: open} }

// Step moves the gate to a time that is not before that of the last step. blocked reports that a condition is false now, hold
// is how long all must be true. It returns whether the address is wanted and, if it waits, how long it still does.
func (g *Gate) Step(now time.Duration, blocked bool, hold time.Duration) (open bool, wait time.Duration) {
	switch {
	case blocked:
		g.open, g.free = false, false
	case g.open:
	case !g.free:
		g.free, g.since = true, now
	}
	if !g.free || g.open {
		return g.open, 0
	}
	wait = g.since + hold - now
	if wait <= 0 {
		g.open, wait = true, 0
	}
	return g.open, wait
}
