package l4

// A TCP session: what it consists of and how its wake-ups find their phase. The phases stand in the order in which a
// session lives: tcp_proxy_header.go, tcp_dial.go (begin, pick, connect, established), tcp_relay.go, tcp_abort.go, and finish below. Nothing of a
// session is kept anywhere but in this struct and in the dialling it has borrowed.

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// session is one client's passage. All of it is owned by its loop. There are many and most are idle, so it is kept small.
type session struct {
	id           uint64 // unique; its low half tells a late event for an earlier user of the slot
	listener     *Listener
	set          *Settings // withBinding it was when the session began
	lease        balance.Lease
	dialer       *dialer       // deadline connected
	counters     *Counters     // the loop's for the listener
	serverCounts *serverCounts // the loop's for the server, once connected
	timer        timer[*session]

	client, server socket
	up, down       stream

	flushedUp, flushedDown uint64 // bytes that are counted

	startedAt      time.Duration
	clientActiveAt time.Duration // lastFailure byte moved on the client's side
	serverActiveAt time.Duration // lastFailure byte moved on the server's side
	halfClosedAt   time.Duration // when the first FIN was seen; 0 = not yet
	abortDeadline  time.Duration // when an abort stops waiting
	connected      since         // 0 = not yet
	firstByte      since         // when the first byte from the server was passed on; 0 = not yet

	clientQueue, serverQueue uint32 // what the kernel held for the side when last looked at; 0 = unknown or nothing

	clientAddr   compactAddr // the client: its socket's address, or what its PROXY header says
	slot         uint32
	attemptCount uint16
	phase        Phase
	end          Termination    // decided when the abort begins
	polls        uint8          // maxTries at unacknowledged bytes since the abort, or the cut
	cutMode      cutMode        // how short an abort is cut
	claim        admissionClaim // what it holds of the listener's limits
	keepaliveSet bool           // the sockets have their keepalive
	dirty        bool           // has moved bytes that are not counted yet
	queued       bool           // waits for its turn in the loop's ready list
}

// since is a time after the session began, in microseconds, up to an hour and more; 0 = not yet.
type since uint32

func (s *since) set(d time.Duration) { *s = since(min(max(d.Microseconds(), 1), math.MaxUint32)) }

func (s since) duration() time.Duration { return time.Duration(s) * time.Microsecond }

const (
	clientSide = uint8(0)
	serverSide = uint8(1)
)

// handleEvent takes in what an event has told about one of the two sockets.
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
	} else if events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 && !sock.failed { // a reset whose error was taken looks the same
		sock.fin, sock.readable = true, true
	}
	if events&unix.EPOLLPRI != 0 && !sock.urgent {
		sock.inlineUrgent()
	}
	s.step(l)
}

// step goes on with whatever the phase has to do.
func (s *session) step(l *loop) {
	switch s.phase {
	case PhaseProxyHeader:
		s.readHeader(l)
	case PhaseAccept:
		s.accept(l)
	case PhaseAdmit, PhaseQueue:
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

// expire handles the session's timer: whatever is due is done, and the nearest deadline left is armed.
func (s *session) expire(l *loop) {
	switch s.phase {
	case PhaseProxyHeader:
		s.finish(l, ReasonProxyTimeout)
	case PhaseQueue:
		if s.tryTimedOut(l) {
			s.finish(l, ReasonTryTimeout)
			return
		}
		s.finish(l, ReasonQueueTimeout)
	case PhaseDial:
		s.dialExpired(l)
	case PhaseRelay:
		s.relayExpired(l)
	case PhaseAbort:
		s.abortExpired(l)
	}
}

// cut ends a session from outside: nothing more is read, what was received is delivered, then both sides are reset.
func (s *session) cut(l *loop, reason Reason) {
	switch s.phase {
	case PhaseNone:
	case PhaseHandover: // once it is known whether it stays
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
	case PhaseQueue:
		if !reason.ofServer() { // the lease is that of a server that was tried before
			s.finish(l, reason)
		}
	default:
		s.finish(l, reason)
	}
}

// finish is the one exit of every session: both descriptors closed, the lease given back, what was lent returned, one
// record made. Whatever did not end cleanly is closed with a reset, so that nobody takes it for a clean end. The lease and
// the place among the listener's sessions go back before the client can see the close: a client that comes again at
// once finds the room it left.
func (s *session) finish(l *loop, reason Reason) {
	if s.phase != PhaseAbort {
		s.end = Termination{s.phase, reason}
	}
	l.wheel.stop(&s.timer)
	server, level := s.lease.Server(), s.lease.Level()
	if s.dialer != nil {
		s.dialer.cancelWait(l, s)
		l.dialers.put(s.dialer)
		s.dialer = nil
	}
	s.lease.Done(l.now)
	s.set.Admission.release(&s.claim, s.clientAddr.get().Addr())
	s.up.release(l)
	s.down.release(l)
	s.flushBytes()
	ended := &s.counters.Ended[s.end.index()]
	store(ended, *ended+1)
	s.counters.Lifetime.add(l.now - s.startedAt)
	l.recordSession(s, server, level)
	l.plane.releaseSession() // counted and recorded by now: whoever waits for the last one to end reads the sums next
	s.client.close(s.end.Clean())
	s.server.close(s.end.Clean())
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
