package l4

// A TCP session: its state, and how events reach the method of its phase. A session passes through the files in this
// order: tcp_accept.go, tcp_proxy_header.go, tcp_client_hello.go, tcp_hold.go, tcp_queue.go, tcp_dial.go, tcp_relay.go, tcp_abort.go, and finish below. Its state is in
// this struct and in the dialer it has borrowed, nowhere else.

import (
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// session is one client's TCP session, owned by its loop. There are many and most are idle, so it is small.
type session struct {
	sessionCore
	listener     *Listener
	dialer       *dialer       // nil once connected to a server that can no longer refuse
	extra        *extra        // what few sessions need; nil = nothing
	serverCounts *serverCounts // the loop's for the server, once connected
	timer        timer[*session]

	client, server socket
	up, down       stream

	flushedUp, flushedDown uint64 // bytes counted so far

	clientActiveAt time.Duration // last byte moved on the client's side
	serverActiveAt time.Duration // last byte moved on the server's side
	halfClosedAt   time.Duration // when the first FIN was seen; 0 = not yet
	abortDeadline  time.Duration // when an abort stops waiting

	clientQueue, serverQueue uint32 // unacknowledged bytes at the last check; 0 = unknown or none

	clientAddr compactAddr // of the client's socket, or of its PROXY header
	slot       uint32
	phase      Phase
	end        Termination // decided when the abort begins
	polls      uint8       // checks of unacknowledged bytes since the abort or the cut began
	cutMode    cutMode     // limits the time of an abort
	dirty      bool        // in loop.dirty
	queued     bool        // in the loop's run queue
	facts      facts
}

// facts is a set of facts about a session. A byte more would need the next size of the allocator: 352 instead of 320 bytes.
type facts uint8

const (
	keepaliveSet facts = 1 << iota // keepalive is set on both sockets
	askedLast                      // the last byte came from the client
	expired                        // in loop.sweep: the session has reached its maximum age
	lowWater                       // PhaseProxyHeader, PhaseClientHello: the client's socket reports when it has enough bytes
	paced                          // in loop.pacer: its rate is limited
)

// extra is what few sessions need.
type extra struct {
	serverName string      // in the client's ClientHello; "" = none
	proxy      *ProxyFacts // of the client's PROXY header; nil = none

	serverAddress netip.AddrPort // of a server that is reached at the client's port
}

// withExtra returns the session's extra.
func (s *session) withExtra() *extra {
	if s.extra == nil {
		s.extra = &extra{}
	}
	return s.extra
}

// setServerAddress keeps the address of the server for the session's record.
func (s *session) setServerAddress(at netip.AddrPort) { s.withExtra().serverAddress = at }

// serverAddress returns the argument of setServerAddress, or zero.
func (s *session) serverAddress() netip.AddrPort {
	if s.extra == nil {
		return netip.AddrPort{}
	}
	return s.extra.serverAddress
}

// counters returns the loop's counters of the listener.
func (s *session) counters(l *loop) *Counters { return &s.listener.counters[l.index] }

func (s *session) has(f facts) bool { return s.facts&f != 0 }

// note adds or removes a fact.
func (s *session) note(f facts, is bool) {
	s.facts &^= f
	if is {
		s.facts |= f
	}
}

// since is a time after the session began in microseconds, at most about 71 minutes; 0 = not yet.
type since uint32

func (s *since) set(d time.Duration) { *s = since(min(max(d.Microseconds(), 1), math.MaxUint32)) }

func (s since) duration() time.Duration { return time.Duration(s) * time.Microsecond }

const (
	clientSide = uint8(0)
	serverSide = uint8(1)
)

// handleEvent stores what an event reports about one of the two sockets, and continues the session.
func (s *session) handleEvent(l *loop, side uint8, events uint32) {
	sock := &s.client
	if side == serverSide {
		sock = &s.server
	}
	if events&unix.EPOLLIN != 0 {
		sock.readable = true
	}
	if events&unix.EPOLLOUT != 0 {
		sock.writable = true
	}
	if events&unix.EPOLLERR != 0 {
		sock.failed, sock.readable = true, true
	} else if events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 && !sock.failed { // a reset whose error was read looks the same
		sock.fin, sock.readable = true, true
	}
	if events&unix.EPOLLPRI != 0 && !sock.urgent {
		sock.inlineUrgent()
	}
	s.step(l)
}

// step runs the method of the phase.
func (s *session) step(l *loop) {
	switch s.phase {
	case PhaseProxyHeader:
		s.readHeader(l)
	case PhaseAccept:
		s.accept(l)
	case PhaseClientHello:
		s.readHello(l)
	case PhaseAdmit, PhaseQueue, PhaseHold: // a FIN does not end a wait
		if s.client.failed {
			s.finish(l, ReasonClientReset)
		}
	case PhaseDial:
		s.dial(l)
	case PhaseRelay:
		s.relay(l)
	case PhaseAbort:
		s.abort(l)
	}
}

// expire handles the session's timer.
func (s *session) expire(l *loop) {
	switch s.phase {
	case PhaseProxyHeader:
		s.finish(l, ReasonProxyTimeout)
	case PhaseClientHello:
		s.finish(l, ReasonPrereadTimeout)
	case PhaseQueue:
		if s.tryTimedOut(l) {
			s.finish(l, ReasonTryTimeout)
			return
		}
		s.finish(l, ReasonQueueTimeout)
	case PhaseHold:
		s.holdExpired(l)
	case PhaseDial:
		s.dialExpired(l)
	case PhaseRelay:
		s.relayExpired(l)
	case PhaseAbort:
		s.abortExpired(l)
	}
}

// cut ends a session from outside: it reads nothing more, delivers what was received and resets both sides.
func (s *session) cut(l *loop, reason Reason) {
	switch s.phase {
	case PhaseNone:
	case PhaseHandover: // takes effect if the session stays in this process
		s.end.Reason = reason
	case PhaseRelay:
		s.up.stopped, s.down.stopped = true, true
		s.limitAbort(l, reason)
		s.startAbort(l, reason)
	case PhaseAbort:
		s.limitAbort(l, reason)
		s.abort(l)
	case PhaseDial:
		if reason.ofServer() { // no byte has been sent to that server yet
			s.server.close(true)
			s.lease.Done(l.now)
			s.pick(l)
			return
		}
		s.finish(l, reason)
	case PhaseQueue, PhaseHold:
		if !reason.ofServer() { // the lease is that of a server that was tried before
			s.finish(l, reason)
		}
	default:
		s.finish(l, reason)
	}
}

// finish is the one exit of every session: it closes both descriptors, releases the lease and the buffers, and writes
// one record. A session that did not end cleanly is closed with a reset, so that its peers do not take it for a clean
// end. The lease and the admission claim are released before the client can see the close: a client that reconnects at
// once finds a free slot.
func (s *session) finish(l *loop, reason Reason) {
	if s.phase != PhaseAbort {
		s.end = Termination{s.phase, reason}
	}
	l.wheel.stop(&s.timer)
	l.forgetSilence(s)
	server, level := s.lease.Server(), s.lease.Level()
	refusal := s.takeRefusal(reason)
	s.down.bytes += uint64(len(refusal))
	if s.dialer != nil {
		if s.connected > 0 {
			s.accepted(l)
		}
		s.dialer.cancelWait(l, s)
		s.endHold(holdOutcome(reason))
		l.dialers.put(s.dialer)
		s.dialer = nil
	}
	s.lease.Done(l.now)
	s.set.Admission.release(&s.claim, s.clientAddr.get().Addr())
	s.up.release(l)
	s.down.release(l)
	s.flushBytes(l)
	counters := s.counters(l)
	ended := &counters.Ended[s.end.index()]
	store(ended, *ended+1)
	counters.Lifetime.add(l.now - s.startedAt)
	l.recordSession(s, server, level)
	l.plane.releaseSession() // after counting: an observer that waits for the last session reads the counters next
	s.removeHop(l)
	if len(refusal) > 0 {
		s.deliverRefusal(l, refusal)
	}
	clean := s.end.Clean()
	s.client.close(clean || s.cutMode == closedQuietly)
	s.server.close(clean || s.cutMode == closedQuietly || s.cutMode == closedCrossed)
	l.freeSession(s)
}

// close closes an open socket, cleanly or with a reset.
func (s *socket) close(clean bool) {
	if s.fd < 0 {
		return
	}
	if clean {
		closeFD(s.fd)
	} else {
		resetFD(s.fd)
	}
	s.fd = -1
}
