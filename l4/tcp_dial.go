package l4

// The start of a TCP session, from an accepted client to a connected server. The only step back in a session is here:
// from a failed dial to the next pick.

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// dialer is the state that a session needs until it is connected, borrowed from its loop.
type dialer struct {
	startedAt     time.Duration  // try_timeout counts from here
	dest          netip.AddrPort // destination in the client's PROXY header; zero = none
	tlvs          []byte         // of the header, to be forwarded
	proxyLocal    bool           // the header has the command LOCAL
	attempts      balance.Attempts
	waiter        balance.Waiter
	wakes         uint32 // waits that have ended; tells a late wake-up from one for the current wait
	held          holdState
	greeting      greetingState
	queueDeadline time.Duration // end of the wait for a full server; 0 = has not waited
	target        *Target
	address       int           // index of the target's address that is being dialled
	attemptAt     time.Duration // start of the attempt
	lastFailure   Reason        // of the last attempt
}

type dialerPool struct {
	free       []*dialer
	helloBytes int // kept by the dialers in use, of ClientHellos
}

func (p *dialerPool) get() *dialer {
	if n := len(p.free); n > 0 {
		d := p.free[n-1]
		p.free = p.free[:n-1]
		return d
	}
	return new(dialer)
}

func (p *dialerPool) put(d *dialer) {
	p.helloBytes -= d.greeting.hello
	if len(p.free) < maxFreeDialers {
		sent := d.greeting.sent[:0]
		if cap(sent) > maxFreeSent {
			sent = nil
		}
		*d = dialer{tlvs: d.tlvs[:0], greeting: greetingState{sent: sent, refusal: d.greeting.refusal[:0]}}
		p.free = append(p.free, d)
	}
}

const (
	maxFreeDialers = 256
	maxFreeSent    = 4 << 10 // bytes of a client that a free dialer has room for
)

// start makes the session of an accepted client and registers its socket.
func (s *session) start(l *loop, c *acceptedClient) {
	ln, fd := c.ln, c.fd
	s.listener, s.set, s.claim = ln, c.set, c.claim
	s.clientAddr.set(c.addr)
	if c.cameFrom != nil {
		s.setHop(l, c.cameFrom, -1, netip.AddrPort{})
	}
	l.readClock()
	s.startedAt, s.clientActiveAt, s.serverActiveAt = l.now, l.now, l.now
	local := !c.addr.IsValid()
	s.client = socket{fd: fd, nodelay: true, ackDelayed: !local && c.set.delaysAck(), local: local} // as inherited
	s.server = socket{fd: -1}
	counters := s.counters(l)
	store(&counters.Sessions, counters.Sessions+1)
	s.phase = PhaseAccept
	if c.set.AcceptProxy {
		s.awaitHeader(l)
	}
	if !l.register(s, clientSide, fd) {
		s.finish(l, ReasonLocalShortage)
	}
}

// accept handles the first event of the client's socket, then picks a server. The client may have reset the connection
// meanwhile; if it has sent bytes, the dial can save a segment.
func (s *session) accept(l *loop) {
	if s.client.failed {
		s.finish(l, ReasonClientReset)
		return
	}
	s.dialer = l.dialers.get()
	s.dialer.startedAt = s.startedAt
	if s.set.Routes != nil {
		s.route(l)
		return
	}
	s.startAttempts(nil)
	s.pick(l)
}

// startAttempts sets the levels and the hash key for picks. header is the client's PROXY header; nil = none.
func (s *session) startAttempts(header *proxy.Header) {
	t := &s.dialer.attempts
	t.Levels, t.Hold = s.set.Levels, s.set.HoldTimeout > 0
	if s.set.Hash == HashServerName {
		name := s.serverName()
		t.Key, t.Keyed = balance.HashKey([]byte(name)), name != ""
		return
	}
	t.Key, t.Keyed = s.set.hashKey(s.clientAddr.get(), s.destination, header)
}

// pick acquires a lease on a server and starts to dial it. After a failure that is known at once it picks the next
// server.
func (s *session) pick(l *loop) {
	d := s.dialer
	s.phase = PhaseDial
	for {
		lease, err := s.set.Cluster.Pick(l.now, &d.attempts)
		if err != nil {
			s.noServer(l, err)
			return
		}
		s.lease = lease
		if e := s.attempt(l); e == 0 || !s.mayRetry(l, e) {
			return
		}
	}
}

// noServer ends a session for which no server is left, or makes it wait: for a full server in the queue, else for any.
func (s *session) noServer(l *loop, err error) {
	d := s.dialer
	switch {
	case errors.Is(err, balance.ErrFull) && s.set.QueueTimeout > 0:
		s.waitForServer(l)
	case errors.Is(err, balance.ErrHold):
		s.hold(l)
	case d.held.ended == ReasonHoldTimeout:
		s.finishHeld(l)
	case d.lastFailure != ReasonNone:
		s.finish(l, d.lastFailure) // more specific than no_server
	default:
		s.finish(l, ReasonNoServer)
	}
}

// attempt starts to dial the server of the lease.
func (s *session) attempt(l *loop) errno {
	d := s.dialer
	s.resetGreeting(l)
	if s.attemptCount < 1<<16-1 {
		s.attemptCount++
	}
	d.target = targetOf(s.lease.Server())
	l.readClock()
	d.attemptAt = l.now
	d.target.counts(l).countAttempt(s.attemptCount)
	e := s.connectFrom(l, 0, syscall.EDESTADDRREQ)
	if e != 0 {
		d.target.source.warnUnusable(l, s, e)
	}
	return e
}

// connectFrom starts to connect to the first of the target's addresses, from the given index on, that does not fail at
// once.
func (s *session) connectFrom(l *loop, address int, last errno) errno {
	return s.dialer.target.connect(address, last, func(address int) errno { return s.tryConnect(l, address) })
}

func (s *session) tryConnect(l *loop, address int) errno {
	d := s.dialer
	d.address = address
	to, e := d.target.socketAddress(address, s.wantedPort)
	if e != 0 {
		return e
	}
	if d.target.samePort {
		s.setServerAddress(to.ip())
	}
	fd, e := d.target.openTCP(d.address, s.set, s.clientAddr.get().Addr())
	if e != 0 {
		return e
	}
	s.server = socket{fd: fd, nodelay: d.target.isUnix(), local: d.target.isUnix()}
	if (s.client.readable && s.set.Greeting != GreetingMySQL || d.target.sendProxy != 0) && !s.server.local {
		// The first bytes follow at once and carry the last acknowledgement of the handshake (acknowledge).
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		s.server.ackDelayed = true
	}
	e = connectSocket(fd, to)
	if e != 0 && e != einprogress {
		s.server.close(true)
		if e == eagain && d.target.isUnix() {
			return syscall.ECONNREFUSED // the backlog is full
		}
		return e
	}
	s.dialHop(l, to)
	if !l.register(s, serverSide, fd) {
		s.server.close(true)
		return syscall.ENOMEM
	}
	// The remaining addresses share the remaining time equally.
	until := d.attemptAt + s.set.ConnectTimeout
	if t := s.set.TryTimeout; t > 0 {
		until = min(until, d.startedAt+t)
	}
	left := max(until-l.now, wheelTick)
	l.wheel.arm(&s.timer, l.now+left/time.Duration(d.target.remaining(d.address)))
	return 0
}

// dial handles events between connect and connected.
func (s *session) dial(l *loop) {
	switch {
	case s.dialer.greeting.retry:
		s.retryNow(l)
	case s.dialer.greeting.awaited:
		s.readGreeting(l)
	case s.client.failed:
		s.finish(l, ReasonClientReset)
	case s.server.failed:
		e := socketError(s.server.fd)
		if e == 0 {
			e = syscall.ECONNREFUSED
		}
		if n, _ := peekBytes(s.server.fd, l.scratch[:1]); n > 0 { // connected, sent bytes and was reset before this event
			s.server.fail(e)
			s.established(l)
			return
		}
		s.dialFailed(l, e)
	case s.server.fin && !s.server.writable: // a unix socket closed by the server
		s.dialFailed(l, syscall.ECONNREFUSED)
	case s.server.writable:
		s.established(l)
	}
}

// dialFailed continues with the target's next address, else with the next server.
func (s *session) dialFailed(l *loop, e errno) {
	s.server.close(true)
	d := s.dialer
	if s.tryTimedOut(l) {
		s.releaseFailed(l, e)
		s.finish(l, ReasonTryTimeout)
		return
	}
	if d.address+1 < d.target.addresses() && !isShortage(e) {
		if e = s.connectFrom(l, d.address+1, e); e == 0 {
			return
		}
	}
	if s.mayRetry(l, e) {
		s.pick(l)
	}
}

func (s *session) dialExpired(l *loop) {
	if s.dialer.greeting.awaited {
		s.greetingFailed(l, syscall.ETIMEDOUT)
		return
	}
	s.dialFailed(l, syscall.ETIMEDOUT)
}

// tryTimedOut reports whether try_timeout has expired.
func (s *session) tryTimedOut(l *loop) bool { return l.tryTimedOut(s.set, s.dialer.startedAt) }

// tryTimedOut reports whether the try_timeout of an attempt that began at a time has expired.
func (l *loop) tryTimedOut(set *Settings, began time.Duration) bool {
	return set.TryTimeout > 0 && l.timeUp(began+set.TryTimeout)
}

// mayRetry releases the lease of a failed attempt and reports whether another server may be tried. If not, the session
// has ended, or is held once more: a held session waits for descriptors as it waits for a server.
func (s *session) mayRetry(l *loop, e errno) bool {
	s.releaseFailed(l, e)
	switch {
	case isShortage(e):
		l.pauseForShortage()
		if t := &s.dialer.attempts; t.Held() && t.Hold {
			s.hold(l)
		} else {
			s.finish(l, ReasonLocalShortage)
		}
		return false
	case s.tryTimedOut(l):
		s.finish(l, ReasonTryTimeout)
		return false
	}
	return true
}

// releaseFailed releases the lease of a failed attempt.
func (s *session) releaseFailed(l *loop, e errno) {
	s.dialer.lastFailure = l.releaseFailed(&s.lease, s.set, s.dialer.target.counts(l), e)
}
