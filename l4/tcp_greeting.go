package l4

// Servers that accept a connection and refuse the session with their first bytes (greeting). Such an attempt has failed, and
// the next server is tried. The bytes are peeked in the kernel's queue, so the relay reads what follows as usual.
//
// A MySQL server speaks first: the session stays in PhaseDial until the server's first packet is there, and what its
// client has sent stays in the kernel. A Redis client may speak first: the session relays, and keeps its dialer and what it
// has sent until the server's first byte. Redis refuses before it reads a command, so nothing is executed twice.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// greetingState is the part of a dialer that concerns the server's first bytes.
type greetingState struct {
	awaited  bool   // PhaseDial: the server is connected, and its first packet is awaited
	retry    bool   // PhaseDial: the server has refused, and the next pick is in the run queue
	accepted bool   // PhaseRelay: the server counts as connected
	partial  bool   // the server has sent the beginning of what may be a refusal
	sent     []byte // read from the client, of which sentTo bytes were taken by the server
	sentTo   int
	hello    int    // how much of sent was read before a server was picked: a ClientHello
	refusal  []byte // the last one, as the server sent it
	took     time.Duration
}

// sentMax is how much of what a client has sent is kept. With more, there is no retry.
const sentMax = 16 << 10

// established continues a session whose server is connected.
func (s *session) established(l *loop) {
	d := s.dialer
	if s.lease.Server().RoleLost() { // after it was picked; from here on a cut finds the session
		s.server.close(true)
		s.lease.Done(l.now)
		s.pick(l)
		return
	}
	d.greeting.took = l.now - d.attemptAt
	if d.target.sendProxy != 0 {
		s.sendHeader(l)
	}
	switch s.set.Greeting {
	case GreetingMySQL:
		s.awaitGreeting(l)
		return
	case NoGreeting:
		s.accepted(l)
		s.moveKept(l)
		s.dropDialer(l)
	}
	s.startRelay(l)
}

// accepted counts the server of the session as connected.
func (s *session) accepted(l *loop) {
	d := s.dialer
	if d.greeting.accepted {
		return
	}
	d.greeting.accepted = true
	took := d.greeting.took
	s.lease.Established(l.now, took)
	s.endHold(balance.HoldConnected)
	l.dialTime.add(took)
	if c := d.target.counts(l); c != nil {
		c.connected(took)
	}
}

func (s *session) dropDialer(l *loop) {
	l.dialers.put(s.dialer)
	s.dialer = nil
}

// startRelay starts the relay. With a dialer, the server may still refuse.
func (s *session) startRelay(l *loop) {
	s.phase = PhaseRelay
	s.serverCounts = targetOf(s.lease.Server()).counts(l)
	s.connected.set(l.now - s.startedAt)
	s.clientActiveAt, s.serverActiveAt = l.now, l.now
	if l.now-s.startedAt >= ackDelay {
		s.client.acknowledge()
	}
	if s.client.ackDelayed || s.server.ackDelayed {
		l.wheel.arm(&s.timer, l.now+ackDelay)
	} else {
		l.wheel.arm(&s.timer, l.now+keepaliveDelay)
	}
	s.pace(l)
	s.chargeHello(l)
	s.relay(l)
}

// chargeHello counts a ClientHello that was read before the relay towards the client's rate.
func (s *session) chargeHello(l *loop) {
	n := 0
	if b := s.up.held; b != nil {
		n = b.to - b.from - int(s.up.headerBytes)
	}
	if s.dialer != nil {
		n += s.dialer.greeting.hello
	}
	s.chargeUp(l, n)
}

// awaitGreeting waits for the first packet of a MySQL server, for at most greeting_timeout.
func (s *session) awaitGreeting(l *loop) {
	d := s.dialer
	d.greeting.awaited = true
	l.readClock()
	until := l.now + s.set.GreetingTimeout
	if t := s.set.TryTimeout; t > 0 {
		until = min(until, d.startedAt+t)
	}
	l.wheel.arm(&s.timer, until)
	s.readGreeting(l)
}

// readGreeting handles events while the first packet is awaited.
func (s *session) readGreeting(l *loop) {
	if s.client.failed {
		s.finish(l, ReasonClientReset)
		return
	}
	if s.up.held != nil && !s.server.failed {
		s.up.flush(l, &s.server) // the rest of a PROXY header
	}
	switch verdict, r, e := s.peekGreeting(l); {
	case e != 0:
		s.greetingFailed(l, e)
	case verdict == greetingServes:
		s.dialer.greeting.awaited = false
		s.accepted(l)
		s.moveKept(l)
		s.dropDialer(l)
		s.startRelay(l)
	case verdict == greetingRefuses:
		s.refused(l, r)
	}
}

// peekGreeting returns what the first bytes of the server mean. It returns an error if the connection has ended without one.
func (s *session) peekGreeting(l *loop) (greetingVerdict, refusal, errno) {
	if !s.server.readable {
		return greetingIncomplete, refusal{}, 0
	}
	n, e := peekBytes(s.server.fd, l.scratch[:greetingWindow])
	switch {
	case e == eagain:
		s.server.readable = false
		return greetingIncomplete, refusal{}, 0
	case e != 0:
		s.server.fail(e) // the kernel reports it once: the next read would look like a FIN
		return greetingIncomplete, refusal{}, e
	case n == 0:
		return greetingIncomplete, refusal{}, syscall.ECONNRESET
	}
	verdict, r := s.set.Greeting.parse(l.scratch[:n], s.server.fin || s.server.failed)
	if verdict == greetingIncomplete {
		s.server.readable = false // until more arrives
		s.dialer.greeting.partial = true
	}
	return verdict, r, 0
}

// greetingFailed continues with the next server after the connection has ended, or greeting_timeout expired, without the
// server's first packet.
func (s *session) greetingFailed(l *loop, e errno) {
	s.releaseFailed(l, e)
	if e == syscall.ETIMEDOUT {
		s.dialer.lastFailure = ReasonGreetingTimeout
	}
	s.retry(l)
}

// refused continues with the next server after one has refused the session.
func (s *session) refused(l *loop, r refusal) {
	d := s.dialer
	text := l.scratch[:r.size]
	if n, e := recvBytes(s.server.fd, text); e == 0 {
		d.greeting.refusal = append(d.greeting.refusal[:0], text[:n]...)
	}
	d.lastFailure = ReasonServerRefused
	if r.counts {
		s.lease.Fail(l.now, r.text)
		if c := d.target.counts(l); c != nil {
			store(&c.fails, c.fails+1)
		}
	} else {
		s.lease.Done(l.now)
	}
	s.retry(l)
}

// retry closes the connection to a server that has refused, and picks the next one after the other events of this round: one
// of them may be of the closed socket.
func (s *session) retry(l *loop) {
	s.flushBytes(l)
	s.server.close(true)
	s.serverCounts, s.connected, s.halfClosedAt = nil, 0, 0
	s.note(keepaliveSet, false)
	l.forgetSilence(s)
	l.wheel.stop(&s.timer)
	s.phase = PhaseDial
	s.dialer.greeting.retry = true
	l.schedule(s)
}

// retryNow picks the next server.
func (s *session) retryNow(l *loop) {
	switch {
	case s.client.failed:
		s.finish(l, ReasonClientReset)
	case s.queued: // an event before its turn in the run queue
	case s.tryTimedOut(l):
		s.finish(l, ReasonTryTimeout)
	default:
		s.pick(l)
	}
}

// resetGreeting prepares the session for another server: all that the client has sent is sent again.
func (s *session) resetGreeting(l *loop) {
	g := &s.dialer.greeting
	g.awaited, g.retry, g.accepted, g.partial, g.sentTo = false, false, false, false, 0
	s.up.release(l)
	s.up.bytes, s.flushedUp, s.up.headerBytes, s.up.finSent = 0, 0, 0, false
}

// relayUnconfirmed is relay until the first byte of a server that may still refuse.
func (s *session) relayUnconfirmed(l *loop) {
	if s.confirm(l) {
		return
	}
	if s.dialer != nil {
		s.forwardKept(l)
		if s.server.failed && s.confirm(l) { // it may have refused and closed meanwhile
			return
		}
	}
	if s.dialer == nil || s.client.failed || s.server.failed || s.client.urgent || s.up.stopped {
		s.endUnconfirmed(l)
		s.relay(l)
		return
	}
	if s.up.eof && s.dialer.greeting.sentTo == len(s.dialer.greeting.sent) && s.up.held == nil {
		s.propagateFINs(l)
	}
}

// confirm looks for the server's first byte. It reports true if the server has refused.
func (s *session) confirm(l *loop) bool {
	switch verdict, r, e := s.peekGreeting(l); {
	case e != 0 || verdict == greetingServes:
		s.endUnconfirmed(l)
	case verdict == greetingRefuses:
		s.refused(l, r)
		return true
	}
	return false
}

// forwardKept sends what the client sends, and keeps it, up to sentMax.
func (s *session) forwardKept(l *loop) {
	g := &s.dialer.greeting
	if s.up.held != nil && !s.up.flush(l, &s.server) { // the rest of a PROXY header
		return
	}
	for s.sendKept(l) && !s.up.eof && s.client.readable && !s.client.urgent {
		room := sentMax - len(g.sent)
		var n int
		var e errno
		if room > 0 {
			n, e = recvBytes(s.client.fd, l.scratch[:room])
		} else if n, e = peekBytes(s.client.fd, l.scratch[:1]); n > 0 {
			s.endUnconfirmed(l) // more than can be kept
			return
		}
		switch {
		case e == eagain:
			s.up.sourceEmpty(&s.client)
			return
		case e != 0:
			s.client.fail(e)
			return
		case n == 0:
			s.up.sourceEnded(&s.client)
			return
		}
		g.sent = append(g.sent, l.scratch[:n]...)
		s.chargeUp(l, n)
		s.clientActiveAt, s.clientQueue = l.now, 0
		s.facts |= askedLast
		switch c := &s.client; {
		case n == room || c.failed || c.local || c.urgent:
		case c.fin:
			s.up.eof = true
		default:
			c.readable = false
		}
	}
}

// sendKept sends what was kept and the server has not taken, and reports whether it has taken all.
func (s *session) sendKept(l *loop) bool {
	g := &s.dialer.greeting
	rest := g.sent[g.sentTo:]
	if len(rest) == 0 {
		return true
	}
	if !s.server.writable {
		return false
	}
	flags := 0
	if s.up.eof {
		flags = unix.MSG_MORE // the FIN follows in the same segment
	}
	n, _ := s.server.send(rest, flags)
	g.sentTo += n
	s.up.bytes += uint64(n)
	if n > 0 {
		s.serverActiveAt, s.serverQueue = l.now, 0
		if !s.dirty {
			s.dirty = true
			l.dirty = append(l.dirty, s)
		}
	}
	return n == len(rest)
}

// endUnconfirmed ends the time in which the server may refuse. What it has not taken of the kept bytes moves to the stream.
func (s *session) endUnconfirmed(l *loop) {
	if s.dialer == nil {
		return
	}
	s.accepted(l)
	s.moveKept(l)
	s.dropDialer(l)
}

// moveKept moves what the server has not taken of the kept bytes to the stream, after the rest of a PROXY header.
func (s *session) moveKept(l *loop) {
	g := &s.dialer.greeting
	rest := g.sent[g.sentTo:]
	if len(rest) == 0 {
		return
	}
	if s.up.held == nil {
		s.up.held = l.buffers.get()
	}
	b := s.up.held
	b.to += copy(b.data[b.to:], rest)
}

// takeRefusal returns the last refusal of a server, which the client gets if no server serves it, or nil.
func (s *session) takeRefusal(reason Reason) []byte {
	if s.dialer == nil || s.connected > 0 || s.client.failed || reason.isCut() {
		return nil
	}
	return s.dialer.greeting.refusal
}

// deliverRefusal sends a refusal and a FIN to the client. Unread bytes of it are dropped, because they would turn the FIN into
// a reset.
func (s *session) deliverRefusal(l *loop, text []byte) {
	s.client.send(text, unix.MSG_MORE)
	shutdownWrite(s.client.fd)
	for range 8 {
		if n, e := recvBytes(s.client.fd, l.scratch[:]); e != 0 || n < len(l.scratch) {
			break
		}
	}
	s.client.close(true)
}
