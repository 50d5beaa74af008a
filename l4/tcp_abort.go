package l4

// The abort of a session that cannot end cleanly: one side was reset, or the session is cut. Received bytes are
// delivered and acknowledged first, within bounds, and then both sides are reset: a reset overtakes bytes that are
// queued in the kernel, and a peer must not lose bytes that were received for it.

import "time"

const (
	// StopFlush limits the wait for acknowledgements when weir must stop at once and cuts the remaining sessions.
	StopFlush = 50 * time.Millisecond
	// CutFlush limits it for other cuts, counted from the last acknowledged byte: a client on a path with a round trip of
	// half a second gets what was received for it. After cutMaxPolls polls, about five seconds, it is not extended any
	// more, and it never is at the drain deadline of a stop.
	CutFlush    = time.Second
	cutMaxPolls = 83
	// No event reports that all bytes were acknowledged, so an aborting session polls, at intervals that double.
	flushPoll    = time.Millisecond
	flushPollMax = 64 * time.Millisecond
)

// startAbort starts the abort.
func (s *session) startAbort(l *loop, reason Reason) {
	s.endUnconfirmed(l)
	s.unpace(l)
	s.end = Termination{s.phase, reason}
	s.phase = PhaseAbort
	s.extendAbort(l)
	s.abort(l)
}

// cutMode limits the time of an abort, or says how a session that is closed without one ends.
type cutMode uint8

const (
	notCut        cutMode = iota
	cutDelivering         // cut: queued bytes are delivered while the peer reads
	cutNow                // weir stops: Plane.stopFlush
	closedQuietly         // with a FIN on both sides
	closedCrossed         // a request crossed the FIN: the client's side is reset
)

// limitAbort limits an abort, started or about to start, because of a cut.
func (s *session) limitAbort(l *loop, reason Reason) {
	s.polls = 0
	if reason == ReasonCutShutdown {
		s.cutMode = cutNow
		s.abortDeadline = l.now + time.Duration(l.plane.stopFlush.Load())
	} else {
		s.cutMode = max(s.cutMode, cutDelivering)
		s.extendAbort(l)
	}
}

// extendAbort restarts the time for the next byte to be acknowledged.
func (s *session) extendAbort(l *loop) {
	switch {
	case s.cutMode == notCut:
		s.abortDeadline = l.now + s.set.HalfClose
	case s.cutMode == cutDelivering && s.polls < cutMaxPolls:
		s.abortDeadline = l.now + CutFlush
	}
}

// abort delivers received bytes. It ends the session when none are left.
func (s *session) abort(l *loop) {
	if s.server.failed {
		s.up.discard(l) // it takes no more bytes
	} else {
		s.down.stopped = true // bytes that it sends from now on have no receiver
	}
	if s.client.failed {
		s.down.discard(l)
	} else {
		s.up.stopped = true
	}
	before := s.up.bytes + s.down.bytes
	result := s.transfer(l)
	if s.up.bytes+s.down.bytes != before {
		s.extendAbort(l) // a slow reader gets more time while it reads
	}
	if result == moreWork {
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

// armAbortPoll arms the next check of unacknowledged bytes.
func (s *session) armAbortPoll(l *loop) {
	wait := min(flushPoll<<min(s.polls, 8), flushPollMax)
	s.polls = min(s.polls+1, cutMaxPolls)
	l.wheel.arm(&s.timer, min(l.now+wait, s.abortDeadline))
}

// flushed reports whether a stopped stream has nothing left to deliver.
func (st *stream) flushed(l *loop, dst *socket) bool {
	if dst.failed {
		st.discard(l)
		return true
	}
	if !st.eof && !st.stopped || st.holding() {
		return false
	}
	if st.eof { // it was complete before the abort: forward its FIN before the reset
		st.propagateFIN(dst)
	}
	return unacked(dst.fd) == 0
}
