package l4

// The end of a session that cannot end cleanly: one side was reset, or it is cut from outside. What was received is
// still delivered and acknowledged, within bounds, and only then are both sides reset: a reset overtakes what is queued
// in the kernel, and a peer must not lose bytes that were received for it.

import "time"

const (
	// cutFlush bounds the wait for queued bytes to be acknowledged when a session is cut from outside.
	cutFlush = 50 * time.Millisecond
	// No event tells that everything was acknowledged, so an aborting session looks, at intervals that double.
	flushPoll    = time.Millisecond
	flushPollMax = 64 * time.Millisecond
)

// beginAbort starts the last phase, which lasts for at most the time given after the last byte moved.
func (s *session) beginAbort(l *loop, end End, within time.Duration) {
	s.phase = phaseAbort
	s.end = end
	s.abortAt = l.now + within
	s.abort(l)
}

// abort goes on delivering. It finishes the session when nothing is left to deliver.
func (s *session) abort(l *loop) {
	if s.server.failed {
		s.up.stop(l) // it takes nothing any more
	} else {
		s.down.dead = true // nobody is left to take an answer to what it says from now on
	}
	if s.client.failed {
		s.down.stop(l)
	} else {
		s.up.dead = true
	}
	before := s.up.bytes + s.down.bytes
	left := s.move(l)
	if !s.end.cut() && s.up.bytes+s.down.bytes != before {
		s.abortAt = l.now + s.set.HalfClose // a slow reader is given the time it needs while it reads
	}
	if left == moreLeft {
		l.later(s)
	} else if s.up.flushed(l, &s.server) && s.down.flushed(l, &s.client) {
		s.finish(l, s.end)
		return
	}
	if s.polls == 0 {
		s.pollLater(l)
	}
}

func (s *session) abortExpired(l *loop) {
	clientAt, serverAt := s.clientAt, s.serverAt
	s.look(l)
	if !s.end.cut() && (s.clientAt != clientAt || s.serverAt != serverAt) {
		s.abortAt = l.now + s.set.HalfClose
	}
	if l.now >= s.abortAt {
		s.finish(l, s.end)
		return
	}
	s.pollLater(l)
	s.abort(l)
}

// pollLater arms the next look at what is unacknowledged.
func (s *session) pollLater(l *loop) {
	wait := min(flushPoll<<s.polls, flushPollMax)
	if s.polls < 8 {
		s.polls++
	}
	l.wheel.arm(&s.timer, min(l.now+wait, s.abortAt))
}

// flushed reports whether a stream that must not go on has nothing left to deliver to its target.
func (st *stream) flushed(l *loop, dst *socket) bool {
	if dst.failed {
		st.stop(l)
		return true
	}
	if !st.eof && !st.dead || st.holding() {
		return false
	}
	if st.eof { // it was complete before the other side aborted: its end is passed on before the reset
		st.passEnd(dst)
	}
	return unacked(dst.fd) == 0
}
