package l4

// The relay of a TCP session: bytes in both directions, FINs, and the timeouts of established sessions.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keepaliveDelay is the age at which a session gets keepalive. Short sessions save the calls and the kernel's timers,
// and every keepalive interval is much longer.
const keepaliveDelay = 20 * time.Millisecond

// ackDelay is how long a relay delays acknowledgements. A client that waits for one before it sends the rest of a request
// (Nagle's algorithm), or a server of its answer, waits no longer than that; the kernel alone would delay it by 40 ms.
const ackDelay = 5 * time.Millisecond

// relay moves bytes in both directions, forwards FINs, and ends the session when both sides have closed.
func (s *session) relay(l *loop) {
	if s.dialer != nil {
		s.relayUnconfirmed(l)
		return
	}
	result := s.transfer(l)
	if s.client.failed || s.server.failed {
		s.startAbort(l, s.failure())
		return
	}
	if (s.up.eof || s.down.eof) && s.propagateFINs(l) {
		return
	}
	if result == moreWork {
		l.schedule(s)
	}
}

// transfer runs both streams and updates the idle times: bytes that move in either direction on a side are activity of
// that side.
func (s *session) transfer(l *loop) transferResult {
	upBytes, downBytes, askedAt := s.up.bytes, s.down.bytes, s.clientActiveAt
	var result transferResult
	if p := s.pacing(l); p != nil {
		result = p.transfer(l)
	} else {
		result = s.down.transfer(l, &s.server, &s.client, noLimit)
		result |= s.up.transfer(l, &s.client, &s.server, noLimit)
	}
	if s.up.hasRead || s.down.bytes != downBytes {
		s.clientActiveAt, s.clientQueue = l.now, 0
	}
	if s.down.hasRead || s.up.bytes != upBytes {
		s.serverActiveAt, s.serverQueue = l.now, 0
	}
	if s.up.hasRead {
		s.facts |= askedLast
	} else if s.down.hasRead {
		s.facts &^= askedLast
	}
	s.up.hasRead, s.down.hasRead = false, false
	if s.up.bytes == upBytes && s.down.bytes == downBytes {
		return result
	}
	if s.firstByte == 0 && s.down.bytes > 0 {
		s.firstByte.set(l.now - s.startedAt)
		if s.set.Cluster.MeasuresAnswers() {
			s.lease.Answered(l.now, l.now-askedAt)
		}
	}
	if !s.dirty {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
	return result
}

// propagateFINs forwards a FIN once every byte before it was delivered. It reports true if the session has ended: two
// sockets that are both done are closed without a shutdown first.
func (s *session) propagateFINs(l *loop) bool {
	upDone := s.up.eof && !s.up.holding()
	downDone := s.down.eof && !s.down.holding()
	if upDone && downDone {
		reason := ReasonClientClosed
		if s.down.finSent {
			reason = ReasonServerClosed
		}
		s.finish(l, reason)
		return true
	}
	if s.halfClosedAt == 0 {
		s.halfClosedAt = l.now
		s.rearm(l)
	}
	if upDone {
		s.up.propagateFIN(&s.server)
	}
	if downDone {
		s.down.propagateFIN(&s.client)
	}
	if s.client.failed || s.server.failed {
		l.schedule(s) // no event follows
	}
	return false
}

// failure returns which side failed and how.
func (s *session) failure() Reason {
	party, timeout, stalled, reset := &s.server, ReasonServerTimeout, ReasonServerStalled, ReasonServerReset
	if !s.server.failed {
		party, timeout, stalled, reset = &s.client, ReasonClientTimeout, ReasonClientStalled, ReasonClientReset
	}
	if party.err == 0 {
		party.err = uint8(socketError(party.fd))
	}
	switch {
	case errno(party.err) != syscall.ETIMEDOUT:
		return reset
	case s.stalled(party):
		return stalled
	}
	return timeout
}

// relayExpired sets keepalive on a new session, looks for hosts that have vanished, and checks the deadlines of the
// phase.
func (s *session) relayExpired(l *loop) {
	if s.client.ackDelayed || s.server.ackDelayed {
		s.client.acknowledge()
		s.server.acknowledge()
		l.wheel.arm(&s.timer, l.now+keepaliveDelay-ackDelay)
		return
	}
	look := l.now + silenceCheck
	if s.has(keepaliveSet) {
		look = s.checkSilence(l)
	} else {
		s.facts |= keepaliveSet
		if s.dialer != nil { // a refusal would have come by now
			s.accepted(l)
		}
		if s.set.Keepalive > 0 {
			s.set.keepalive(s.server.fd)
			setOption(s.server.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			setOption(s.client.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		}
	}
	if s.client.failed || s.server.failed {
		s.startAbort(l, s.failure())
		return
	}
	s.watchAge(l)
	s.notePause(l)
	if at, _ := s.relayDeadline(); at > 0 {
		s.checkProgress(l)
		if at, reason := s.relayDeadline(); l.now >= at {
			s.finish(l, reason)
			return
		}
		s.rearm(l)
	}
	if look > 0 {
		s.lookBy(l, look)
	}
}

// checkProgress counts acknowledged bytes as activity of the side: a slow reader is not idle while it reads bytes that
// were moved long ago.
func (s *session) checkProgress(l *loop) {
	progress := func(fd int32, shut bool, queue *uint32, at *time.Duration) {
		now := uint32(unacked(fd))
		if shut && now > 0 { // the FIN counts as a byte
			now--
		}
		if now < *queue {
			*at = l.now
		}
		*queue = now
	}
	progress(s.client.fd, s.down.finSent, &s.clientQueue, &s.clientActiveAt)
	progress(s.server.fd, s.up.finSent, &s.serverQueue, &s.serverActiveAt)
}

// Number of checks of the kernel's queues per idle timeout: progressChecks while there is a queue, else firstProgressChecks.
// Only two checks tell a moving queue from a stalled one, so the first is long before the deadline.
const (
	progressChecks      = 16
	firstProgressChecks = 8
)

// relayDeadline returns the nearest idle or half-close deadline and its reason; 0 = none. The deadline only moves later
// while bytes move, so the timer is not moved then: when it fires early, it is armed again.
func (s *session) relayDeadline() (at time.Duration, reason Reason) {
	sooner := func(t time.Duration, r Reason) {
		if at == 0 || t < at {
			at, reason = t, r
		}
	}
	if t := s.set.ClientIdle; t > 0 {
		sooner(s.clientActiveAt+withSlack(t), ReasonClientIdle)
	}
	if t := s.set.ServerIdle; t > 0 {
		sooner(s.serverActiveAt+withSlack(t), ReasonServerIdle)
	}
	if s.halfClosedAt > 0 {
		sooner(max(s.halfClosedAt, s.clientActiveAt, s.serverActiveAt)+withSlack(s.set.HalfClose), ReasonHalfClose)
	}
	return at, reason
}

// withSlack returns how long an idle timeout really lasts. It is slightly longer than configured, because the loop
// handles the byte it counts from before its sender or receiver reads a clock: no peer sees a session end early.
func withSlack(t time.Duration) time.Duration { return t + min(t/50, 50*time.Millisecond) }

// rearm arms the timer for the nearest deadline, or for the next progress check before it.
func (s *session) rearm(l *loop) {
	if !s.has(keepaliveSet) {
		return // the keepalive timer is armed, and then checks all deadlines
	}
	at, reason := s.relayDeadline()
	if at == 0 {
		s.watchAge(l)
		return
	}
	often := time.Duration(firstProgressChecks)
	if s.clientQueue|s.serverQueue != 0 || s.halfClosedAt == l.now {
		often = progressChecks
	}
	l.wheel.arm(&s.timer, min(at, l.now+max(s.timeout(reason)/often, wheelTick)))
	s.watchAge(l)
}

// timeout returns the setting whose expiry has the given reason.
func (s *session) timeout(reason Reason) time.Duration {
	switch reason {
	case ReasonClientIdle:
		return s.set.ClientIdle
	case ReasonServerIdle:
		return s.set.ServerIdle
	}
	return s.set.HalfClose
}
