package l4

// The beginning of a session: from an accepted client to a connected server. The only step back in a session's life is
// here, from a failed dial to the next pick.

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// dialer is what a session needs only until it is connected, borrowed from its loop.
type dialer struct {
	startedAt     time.Duration  // when the search for a server began
	dest          netip.AddrPort // what the client connected to, as its PROXY header says; zero = the header did not, or there was none
	tlvs          []byte         // what else the header said, to pass on
	proxyLocal    bool           // the header was of a proxy that speaks for itself
	attempts      balance.Attempts
	waiter        balance.Waiter
	queueDeadline time.Duration // when the session stops waiting for room; 0 = it has not begun to
	target        *Target
	address       int           // which of the target's addresses is being dialled
	attemptAt     time.Duration // when the attempt began
	lastFailure   Reason        // how the last attempt failed
}

type dialerPool struct {
	free []*dialer
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
	if len(p.free) < 256 {
		*d = dialer{tlvs: d.tlvs[:0]}
		p.free = append(p.free, d)
	}
}

// start takes over a client that was accepted and looks for a server.
func (s *session) start(l *loop, c *acceptedClient) {
	ln, fd := c.ln, c.fd
	s.listener, s.set, s.claim = ln, c.set, c.claim
	s.clientAddr.set(c.addr)
	l.readClock()
	s.startedAt, s.clientActiveAt, s.serverActiveAt = l.now, l.now, l.now
	s.client = socket{fd: fd, nodelay: true, local: !c.addr.IsValid()} // TCP_NODELAY is inherited from the listening socket
	s.server = socket{fd: -1}
	s.counters = &ln.counters[l.index]
	store(&s.counters.Sessions, s.counters.Sessions+1)
	s.phase = PhaseAccept
	if c.set.AcceptProxy {
		s.awaitHeader(l)
	}
	if !l.register(s, clientSide, fd) {
		s.finish(l, ReasonLocalShortage)
	}
}

// accept looks for a server once the first event has told what the client is about: it may have gone again, and if it
// has already said something, the dial can save a segment.
func (s *session) accept(l *loop) {
	if s.client.failed {
		s.finish(l, ReasonClientReset)
		return
	}
	s.dialer = l.dialers.get()
	s.dialer.startedAt = s.startedAt
	s.startAttempts(nil)
	s.pick(l)
}

// startAttempts says what servers are picked by. said is what the client's PROXY header said; nil = it came without.
func (s *session) startAttempts(header *proxy.Header) {
	t := &s.dialer.attempts
	t.Levels = s.set.Levels
	t.Key, t.Keyed = s.hashKey(header)
}

// pick claims a server and starts to dial it. A failure that is known at once leads on to the next server.
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

// noServer ends a session for which no server is left, or lets it wait for one that is full.
func (s *session) noServer(l *loop, err error) {
	if errors.Is(err, balance.ErrFull) && s.set.QueueTimeout > 0 {
		s.waitForServer(l)
		return
	}
	if last := s.dialer.lastFailure; last != ReasonNone {
		s.finish(l, last) // the error of the last attempt says more
		return
	}
	s.finish(l, ReasonNoServer)
}

// attempt starts to dial the server of the lease.
func (s *session) attempt(l *loop) errno {
	d := s.dialer
	if s.attemptCount < 1<<16-1 {
		s.attemptCount++
	}
	d.target, _ = s.lease.Server().Handle().(*Target)
	l.readClock()
	d.attemptAt = l.now
	if t := d.target.counts(l); t != nil {
		store(&t.dials, t.dials+1)
		if s.attemptCount > 1 {
			store(&t.retries, t.retries+1)
		}
	}
	e := s.connectFrom(l, 0, syscall.EDESTADDRREQ)
	if e != 0 {
		d.target.source.warnUnusable(l, s, e)
	}
	return e
}

// connectFrom starts connecting to the first of the target's addresses, from the given one on, that does not fail at
// once. It returns why the last one failed, or 0 when an event will tell; an address that there is nowhere to dial from
// is passed over, and says nothing about the server.
func (s *session) connectFrom(l *loop, address int, last errno) errno {
	d := s.dialer
	for ; address < d.target.addresses(); address++ {
		d.address = address
		switch e := s.connect(l); {
		case e == 0 || isShortage(e):
			return e
		case e != syscall.EAFNOSUPPORT || last == syscall.EDESTADDRREQ:
			last = e
		}
	}
	return last
}

// connect opens a socket to the current address and starts connecting. A local address that is out of ports gives way
// to the next one.
func (s *session) connect(l *loop) errno {
	d := s.dialer
	e := s.tryConnect(l)
	for n := d.target.source.maxTries(d.target.addrs[d.address].family()); n > 1 && e == syscall.EADDRNOTAVAIL; n-- {
		e = s.tryConnect(l)
	}
	return e
}

func (s *session) tryConnect(l *loop) errno {
	d := s.dialer
	fd, e := d.target.openTCP(d.address, s.set, s.clientAddr.get().Addr())
	if e != 0 {
		return e
	}
	s.server = socket{fd: fd, nodelay: d.target.isUnix(), local: d.target.isUnix()}
	if (s.client.readable || d.target.sendProxy != 0) && !s.server.local {
		// There is something to send at once: let it carry the last acknowledgement of the handshake.
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		s.server.ackDelayed = true
	}
	e = connectSocket(fd, &d.target.addrs[d.address])
	if e != 0 && e != einprogress {
		s.server.close(true)
		if e == eagain && d.target.isUnix() {
			return syscall.ECONNREFUSED // its queue is full
		}
		return e
	}
	if !l.register(s, serverSide, fd) {
		s.server.close(true)
		return syscall.ENOMEM
	}
	// Each address that is left gets an equal part of what is left of the time.
	until := d.attemptAt + s.set.ConnectTimeout
	if t := s.set.TryTimeout; t > 0 {
		until = min(until, d.startedAt+t)
	}
	left := max(until-l.now, wheelTick)
	l.wheel.arm(&s.timer, l.now+left/time.Duration(d.target.addresses()-d.address))
	return 0
}

// dial is the phase between connect and connected.
func (s *session) dial(l *loop) {
	switch {
	case s.client.failed:
		s.finish(l, ReasonClientReset)
	case s.server.failed:
		e := socketError(s.server.fd)
		if e == 0 {
			e = syscall.ECONNREFUSED
		}
		if n, _ := peekBytes(s.server.fd, l.scratch[:1]); n > 0 { // it was connected, has spoken, and was reset before this loop looked
			s.server.fail(e)
			s.established(l)
			return
		}
		s.dialFailed(l, e)
	case s.server.fin && !s.server.writable: // a unix socket that hung up
		s.dialFailed(l, syscall.ECONNREFUSED)
	case s.server.writable:
		s.established(l)
	}
}

// dialFailed goes on with the target's next address, else with the next server.
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

func (s *session) dialExpired(l *loop) { s.dialFailed(l, syscall.ETIMEDOUT) }

// tryTimedOut reports whether try_timeout has run out.
func (s *session) tryTimedOut(l *loop) bool {
	t := s.set.TryTimeout
	return t > 0 && l.now >= s.dialer.startedAt+t
}

// mayRetry gives the lease back as the error asks, and reports whether another server may be tried.
func (s *session) mayRetry(l *loop, e errno) bool {
	s.releaseFailed(l, e)
	switch {
	case isShortage(e):
		l.pauseForShortage()
		s.finish(l, ReasonLocalShortage)
		return false
	case s.tryTimedOut(l):
		s.finish(l, ReasonTryTimeout)
		return false
	}
	return true
}

// releaseFailed gives the lease back: a failed dial is the server's failure unless this machine was short of something.
func (s *session) releaseFailed(l *loop, e errno) {
	s.dialer.lastFailure = dialReason(e)
	if isShortage(e) || isLocal(e) {
		if e != syscall.EAFNOSUPPORT { // which explain tells
			l.plane.warnLimited("cannot dial: this host lacks an address, a port, a descriptor or memory", "cluster", s.set.ClusterName,
				"server", s.lease.Server().Name(), "error", e)
		}
		s.lease.Done(l.now)
	} else {
		s.lease.Fail(l.now, e.Error())
		if t := s.dialer.target.counts(l); t != nil {
			store(&t.fails, t.fails+1)
		}
	}
}

// established turns a dial into a relay.
func (s *session) established(l *loop) {
	d := s.dialer
	took := l.now - d.attemptAt
	s.lease.Established(l.now, took)
	l.dialTime.add(took)
	if s.serverCounts = d.target.counts(l); s.serverCounts != nil {
		store(&s.serverCounts.sessions, s.serverCounts.sessions+1)
		store(&s.serverCounts.connectNanos, s.serverCounts.connectNanos+uint64(took))
	}
	if d.target.sendProxy != 0 {
		s.sendHeader(l)
	}
	s.dialer = nil
	l.dialers.put(d)
	s.phase = PhaseRelay
	s.connected.set(l.now - s.startedAt)
	s.clientActiveAt, s.serverActiveAt = l.now, l.now
	l.wheel.arm(&s.timer, l.now+keepaliveDelay)
	s.relay(l)
}

// isShortage reports whether an error means that this machine is out of something: trying another server would meet
// the same shortage.
func isShortage(e errno) bool {
	switch e {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC:
		return true
	}
	return false
}

// isLocal reports whether an error is about this machine's address or ports towards one server: no failure of the
// server, but another one may do.
func isLocal(e errno) bool {
	switch e {
	case syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT,
		syscall.EINVAL, syscall.EAGAIN, syscall.EDESTADDRREQ:
		return true
	}
	return false
}

// dialReason returns the reason of a session whose last dial failed with e.
func dialReason(e errno) Reason {
	switch {
	case isShortage(e) || isLocal(e):
		return ReasonLocalShortage
	case e == syscall.ETIMEDOUT:
		return ReasonConnectTimeout
	case e == syscall.ECONNREFUSED || e == syscall.ECONNRESET || e == syscall.ENOENT:
		return ReasonRefused
	}
	return ReasonUnreachable
}
