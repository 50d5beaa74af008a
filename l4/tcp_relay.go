package l4

// The middle of a session: bytes both ways, and the two ends of the streams.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settleAfter is how long a session must have lived before its sockets get keepalive: short sessions save the calls and
// the kernel's timers, and no keepalive interval is anywhere near as short.
const settleAfter = 20 * time.Millisecond

// relay moves bytes both ways, passes on the ends of the streams, and finishes when both have ended.
func (s *session) relay(l *loop) {
	left := s.move(l)
	if s.client.failed || s.server.failed {
		s.beginAbort(l, s.failedEnd())
		return
	}
	if (s.up.eof || s.down.eof) && s.passEnds(l) {
		return
	}
	if left == moreLeft {
		l.later(s)
	}
}

// move gives both directions their turn and notes the times by which idle sessions are known: bytes moving either way
// on a side are activity of that side.
func (s *session) move(l *loop) moved {
	upBytes, downBytes := s.up.bytes, s.down.bytes
	left := s.down.turn(l, &s.server, &s.client)
	left |= s.up.turn(l, &s.client, &s.server)
	if s.up.took || s.down.bytes != downBytes {
		s.clientAt, s.clientQueue = l.now, 0
	}
	if s.down.took || s.up.bytes != upBytes {
		s.serverAt, s.serverQueue = l.now, 0
	}
	s.up.took, s.down.took = false, false
	if s.up.bytes == upBytes && s.down.bytes == downBytes {
		return left
	}
	if s.firstByte == 0 && s.down.bytes > 0 {
		s.firstByte.set(l.now - s.begun)
	}
	if !s.dirty {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
	return left
}

// passEnds passes a FIN on once everything before it was delivered. It reports true when that finished the session: two
// sockets that are both done are closed without a shutdown first.
func (s *session) passEnds(l *loop) bool {
	upDone := s.up.eof && !s.up.holding()
	downDone := s.down.eof && !s.down.holding()
	if upDone && downDone {
		end := RelayClientClosed
		if s.down.shut {
			end = RelayServerClosed
		}
		s.finish(l, end)
		return true
	}
	if s.halfAt == 0 {
		s.halfAt = l.now
		s.rearm(l)
	}
	if upDone {
		s.up.passEnd(&s.server)
	}
	if downDone {
		s.down.passEnd(&s.client)
	}
	if s.client.failed || s.server.failed {
		l.later(s) // no event will tell
	}
	return false
}

// failedEnd names the party whose socket failed and how.
func (s *session) failedEnd() End {
	party, timeout, reset := &s.server, RelayServerTimeout, RelayServerReset
	if !s.server.failed {
		party, timeout, reset = &s.client, RelayClientTimeout, RelayClientReset
	}
	if party.err == 0 {
		party.err = uint8(socketError(party.fd))
	}
	if errno(party.err) == syscall.ETIMEDOUT {
		return timeout
	}
	return reset
}

// relayExpired looks at every deadline of the phase.
func (s *session) relayExpired(l *loop) {
	if !s.settled {
		s.settled = true
		if s.set.Keepalive > 0 {
			s.set.keepalive(s.server.fd)
			setOption(s.server.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			setOption(s.client.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		}
	}
	if at, _ := s.relayDeadline(); at == 0 {
		return
	}
	s.look(l)
	if at, end := s.relayDeadline(); l.now >= at {
		s.finish(l, end)
		return
	}
	s.rearm(l)
}

// look counts it as activity of a side when its host has acknowledged some of what the kernel still holds for it: a slow
// reader is not idle while it reads what was moved long ago.
func (s *session) look(l *loop) {
	progress := func(fd int32, shut bool, queue *uint32, at *time.Duration) {
		now := uint32(unacked(fd))
		if shut && now > 0 { // a FIN is no byte
			now--
		}
		if now < *queue {
			*at = l.now
		}
		*queue = now
	}
	progress(s.client.fd, s.down.shut, &s.clientQueue, &s.clientAt)
	progress(s.server.fd, s.up.shut, &s.serverQueue, &s.serverAt)
}

// How many times in an idle timeout a queue in the kernel is looked at: while there is one, and while none is known of. A
// queue is told from a stalled one by two looks, so the first comes long before the deadline.
const (
	looks      = 16
	firstLooks = 8
)

// relayDeadline is the nearest moment at which the session would be ended for idleness, and how; 0 when there is none.
// It only ever moves later while bytes move, so nothing is armed anew then: a timer that fires too early looks again.
func (s *session) relayDeadline() (at time.Duration, end End) {
	sooner := func(t time.Duration, e End) {
		if at == 0 || t < at {
			at, end = t, e
		}
	}
	if t := s.set.ClientIdle; t > 0 {
		sooner(s.clientAt+lenient(t), RelayClientIdle)
	}
	if t := s.set.ServerIdle; t > 0 {
		sooner(s.serverAt+lenient(t), RelayServerIdle)
	}
	if s.halfAt > 0 {
		sooner(max(s.halfAt, s.clientAt, s.serverAt)+lenient(s.set.HalfClose), RelayHalfClose)
	}
	return at, end
}

// lenient is how long an idle timeout really waits: a little more, because the byte that it counts from was handled here
// before whoever sent or got it could look at a clock. Nobody sees a session end before its time.
func lenient(t time.Duration) time.Duration { return t + min(t/50, 50*time.Millisecond) }

// rearm arms the nearest deadline of the relay, or the next look at what the kernel holds before it.
func (s *session) rearm(l *loop) {
	if !s.settled {
		return // the timer is armed, and looks at everything when it fires
	}
	at, end := s.relayDeadline()
	if at == 0 {
		return
	}
	often := time.Duration(firstLooks)
	if s.clientQueue|s.serverQueue != 0 || s.halfAt == l.now {
		often = looks
	}
	l.wheel.arm(&s.timer, min(at, l.now+max(s.timeout(end)/often, wheelTick)))
}

// timeout is the setting behind an end.
func (s *session) timeout(end End) time.Duration {
	switch end {
	case RelayClientIdle:
		return s.set.ClientIdle
	case RelayServerIdle:
		return s.set.ServerIdle
	}
	return s.set.HalfClose
}
