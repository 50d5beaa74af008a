package l4

// The end of a session that cannot end cleanly: one side was reset, or it is cut from outside. What was received is
// still delivered and acknowledged, within bounds, and only then are both sides reset: a reset overtakes what is queued
// in the kernel, and a peer must not lose bytes that were received for it.

import "time"

const (
	// shutdownFlush bounds the wait for queued bytes to be acknowledged when weir stops and cuts what is left.
	shutdownFlush = 50 * time.Millisecond
	// cutFlushTimeout bounds it when a session is cut for another reason, from the last byte that was acknowledged; after cutMaxPolls
	// looks, some two seconds, it counts from the cut. A slow reader gets what was received for it, and one that does not read
	// holds nothing up.
	cutFlushTimeout = 200 * time.Millisecond
	cutMaxPolls     = 36
	// No event tells that everything was acknowledged, so an aborting session looks, at intervals that double.
	flushPoll    = time.Millisecond
	flushPollMax = 64 * time.Millisecond
)

// startAbort starts the last phase.
func (s *session) startAbort(l *loop, reason Reason) {
	s.end = Termination{s.phase, reason}
	s.phase = PhaseAbort
	s.extendAbort(l)
	s.abort(l)
}

// cutMode is how much time a session has left once it is cut from outside.
type cutMode uint8

const (
	notCut        cutMode = iota
	cutDelivering         // what is queued is delivered as long as somebody reads it
	cutNow                // weir stops
)

// limitAbort bounds the last phase from outside, whether it has begun or is about to.
func (s *session) limitAbort(l *loop, reason Reason) {
	s.polls = 0
	if reason == ReasonCutShutdown {
		s.cutMode = cutNow
		s.abortDeadline = l.now + shutdownFlush
	} else {
		s.cutMode = max(s.cutMode, cutDelivering)
		s.extendAbort(l)
	}
}

// extendAbort gives the target of an abort its time for the next byte, from now on.
func (s *session) extendAbort(l *loop) {
	switch {
	case s.cutMode == notCut:
		s.abortDeadline = l.now + s.set.HalfClose
	case s.cutMode == cutDelivering && s.polls < cutMaxPolls:
		s.abortDeadline = l.now + cutFlushTimeout
	}
}

// abort goes on delivering. It finishes the session when nothing is left to deliver.
func (s *session) abort(l *loop) {
	if s.server.failed {
		s.up.discard(l) // it takes nothing any more
	} else {
		s.down.stopped = true // nobody is left to take an answer to what it says from now on
	}
	if s.client.failed {
		s.down.discard(l)
	} else {
		s.up.stopped = true
	}
	before := s.up.bytes + s.down.bytes
	left := s.transfer(l)
	if s.up.bytes+s.down.bytes != before {
		s.extendAbort(l) // a slow reader is given the time it needs while it reads
	}
	if left == moreWork {
		l.schedule(s)
	} else if s.up.flushed(l, &s.server) && s.down.flushed(l, &s.client) {
		s.finish(l, s.end.Reason)
		return
	}
	if s.polls == 0 {
		s.armAbortPoll(l)
	}
}

func (s *session) abortExpired(l *loop) {
	clientAt, serverAt := s.clientActiveAt, s.serverActiveAt
	s.checkProgress(l)
	if s.clientActiveAt != clientAt || s.serverActiveAt != serverAt {
		s.extendAbort(l)
	}
	if l.now >= s.abortDeadline {
		s.finish(l, s.end.Reason)
		return
	}
	s.armAbortPoll(l)
	s.abort(l)
}

// armAbortPoll arms the next look at what is unacknowledged.
func (s *session) armAbortPoll(l *loop) {
	wait := min(flushPoll<<min(s.polls, 8), flushPollMax)
	s.polls = min(s.polls+1, cutMaxPolls)
	l.wheel.arm(&s.timer, min(l.now+wait, s.abortDeadline))
}

// flushed reports whether a stream that must not go on has nothing left to deliver to its target.
func (st *stream) flushed(l *loop, dst *socket) bool {
	if dst.failed {
		st.discard(l)
		return true
	}
	if !st.eof && !st.stopped || st.holding() {
		return false
	}
	if st.eof { // it was complete before the other side aborted: its end is passed on before the reset
		st.propagateFIN(dst)
	}
	return unacked(dst.fd) == 0
}
