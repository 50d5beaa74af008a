package l4

// Which sessions can move to the new process of an upgrade, and which will.

import (
	"sync/atomic"
	"time"
)

// refusalTime is how long after a connection is established a server may refuse it: those that do so do not wait for the client.
const refusalTime = 3 * time.Second

// canHandOver reports whether the session waits, or relays and neither side has failed. The time in which the server may
// refuse ends before.
func (s *session) canHandOver(now time.Duration) bool {
	if s.waits() {
		return !s.client.failed
	}
	if s.mayBeRefused(now) || s.phase == PhaseRelay && s.dialer != nil && s.dialer.greeting.partial {
		return false
	}
	return s.phase == PhaseRelay && !s.client.failed && !s.server.failed && !s.up.stopped && !s.down.stopped
}

// mayBeRefused reports whether the session relays to a server that has just accepted the connection and may still refuse it.
func (s *session) mayBeRefused(now time.Duration) bool {
	d := s.dialer
	return s.phase == PhaseRelay && d != nil && now < d.attemptAt+d.greeting.took+refusalTime
}

// willMove reports whether the session can move, or will be able to within a timeout of its own unless it ends: it waits for a PROXY
// header or a ClientHello, connects, or may still be refused.
func (s *session) willMove(now time.Duration) bool {
	switch s.phase {
	case PhaseAccept, PhaseProxyHeader, PhaseAdmit, PhaseClientHello, PhaseDial:
		return true
	}
	return s.mayBeRefused(now) || s.canHandOver(now)
}

// WillMove returns the number of sessions that can move to another process, or will be able to within a timeout of their own.
func (p *Plane) WillMove() int {
	var n atomic.Int64
	p.runOnLoops(func(l *loop) {
		l.readClock()
		l.eachSession(func(s *session) {
			if s.willMove(l.now) {
				n.Add(1)
			}
		})
	})
	return int(n.Load())
}
