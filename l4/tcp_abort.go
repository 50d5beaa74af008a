package l4

// The end of a session that cannot end cleanly: one side was reset, or it is cut from outside. What was received is
// still delivered and acknowledged, within bounds, and only then are both sides reset: a reset overtakes what is queued
// in the kernel, and a peer must not lose bytes that were received for it.

import "time"

const (
	// cutFlush bounds the wait for queued bytes to be acknowledged when weir stops and cuts what is left.
	cutFlush = 50 * time.Millisecond
	// cutPatience bounds it when a session is cut for another reason, from the last byte that was acknowledged; after cutLooks
	// looks, some two seconds, it counts from the cut. A slow reader gets what was received for it, and one that does not read
	// holds nothing up.
	cutPatience = 200 * time.Millisecond
	cutLooks    = 36
	// No event tells that everything was acknowledged, so an aborting session looks, at intervals that double.
	flushPoll    = time.Millisecond
	flushPollMax = 64 * time.Millisecond
)

// beginAbort starts the last phase.
func (s *session) beginAbort(l *loop, end End) {
	s.phase = phaseAbort
	s.end = end
	s.waitOn(l)
	s.abort(l)
}

// hurry is how much time a session has left once it is cut from outside.
type hurry uint8

const (
	unhurried hurry = iota
	hurried         // what is queued is delivered as long as somebody reads it
	rushed          // weir stops
)

// cutShort bounds the last phase from outside, whether it has begun or is about to.
func (s *session) cutShort(l *loop, end End) {
	s.polls = 0
	if end == CutShutdown {
		s.hurry = rushed
		s.abortAt = l.now + cutFlush
	} else {
		s.hurry = max(s.hurry, hurried)
		s.waitOn(l)
	}
}

// waitOn gives the target of an abort its time for the next byte, from now on.
func (s *session) waitOn(l *loop) {
	switch {
	case s.hurry == unhurried:
		s.abortAt = l.now + s.set.HalfClose
	case s.hurry == hurried && s.polls < cutLooks:
		s.abortAt = l.now + cutPatience
	}
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
	if s.up.bytes+s.down.bytes != before {
		s.waitOn(l) // a slow reader is given the time it needs while it reads
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
	if s.clientAt != clientAt || s.serverAt != serverAt {
		s.waitOn(l)
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
	wait := min(flushPoll<<min(s.polls, 8), flushPollMax)
	s.polls = min(s.polls+1, cutLooks)
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
