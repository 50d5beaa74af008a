package l4

// The PROXY header that a client must send first on a listener with accept_proxy. It is peeked in the kernel's queue
// (MSG_PEEK) until it is complete, and then read to the byte. A client that sends it slowly costs no memory but its
// session, and the relay reads what follows as if there had been no header.

import (
	"net/netip"

	"weir/conf"
	"weir/internal/proxy"
)

// trusts reports whether a peer may send PROXY headers. Clients of unix sockets may: the mode of the file controls
// access.
func (set *Settings) trusts(peer netip.Addr) bool {
	return !peer.IsValid() || set.TrustedProxies.Contains(peer)
}

// awaitHeader starts the wait for the header, which must be complete within proxy_timeout.
func (s *session) awaitHeader(l *loop) {
	s.phase = PhaseProxyHeader
	l.wheel.arm(&s.timer, s.startedAt+s.set.ProxyTimeout)
}

// readHeader parses the header if it is complete.
func (s *session) readHeader(l *loop) {
	if s.client.failed {
		s.finish(l, ReasonClientReset)
		return
	}
	if !s.client.readable {
		return
	}
	window := l.scratch[:proxy.MaxV2]
	n, e := peekBytes(s.client.fd, window)
	switch {
	case e == eagain:
		s.client.readable = false
		return
	case e != 0:
		s.finish(l, ReasonClientReset)
		return
	case n == 0:
		s.finish(l, ReasonClientClosed)
		return
	}
	h, size, err := proxy.Parse(window[:n])
	switch {
	case err == proxy.ErrIncomplete && s.client.fin:
		s.finish(l, ReasonTruncatedHeader)
		return
	case err == proxy.ErrIncomplete:
		s.client.readable = false // until more arrives
		s.awaitBytes(proxy.Need(window[:n]))
		return
	case err != nil:
		s.finish(l, headerReason(err))
		return
	}
	s.awaitNoMore()
	// The same bytes are read into the same place: the TLVs of h still point to them.
	if got, e := recvBytes(s.client.fd, window[:size]); e != 0 || got != size {
		s.finish(l, ReasonClientReset)
		return
	}
	c := &s.client
	c.headerSize = uint16(size)
	c.readable = n > size || n == len(window) || c.fin || c.local || c.urgent // after a short read the socket is empty
	s.useHeader(l, &h)
}

// useHeader takes the client and destination from the header.
func (s *session) useHeader(l *loop, h *proxy.Header) {
	d := l.dialers.get()
	s.dialer = d
	d.startedAt = l.now
	d.proxyLocal = h.Local
	d.tlvs = append(d.tlvs, h.TLVs...)
	if len(h.TLVs) > 0 {
		s.setProxyFacts(proxyFacts(h.TLVs))
	}
	if client, dest, ok := h.Addresses(proxy.Stream); ok {
		s.clientAddr.set(client)
		d.dest = dest
	}
	if s.set.Routes == nil {
		s.startAttempts(h)
	}
	s.admit(l)
}

// admit checks the client that the header names. If a limit is reached, the client is pending, as after an accept.
func (s *session) admit(l *loop) {
	s.phase = PhaseAdmit
	why := s.acquireClaim(l)
	if why.temporary() {
		l.wheel.stop(&s.timer)
		l.addPendingSession(s)
		return
	}
	s.admitted(l, why)
}

func (s *session) acquireClaim(l *loop) Rejection {
	return s.set.Admission.acquireReserved(&s.claim, s.clientAddr.get().Addr(), s.dialer.tlvs, l.now)
}

// admitted continues a session once its client has passed admission or failed it.
func (s *session) admitted(l *loop, why Rejection) {
	if why != Admitted {
		l.countRejection(s.listener, why)
		s.finish(l, why.reason())
		return
	}
	if s.set.Routes != nil {
		s.route(l)
		return
	}
	s.pick(l)
}

func headerReason(err error) Reason {
	switch err {
	case proxy.ErrNoHeader:
		return ReasonNoHeader
	case proxy.ErrTooLong:
		return ReasonHeaderTooLong
	case proxy.ErrChecksum:
		return ReasonBadChecksum
	}
	return ReasonMalformedHeader
}

// destination returns what the client connected to: the destination of its PROXY header, else of its socket; zero for a
// unix socket. It is known until the session is connected.
func (s *session) destination() netip.AddrPort {
	if at := s.dialer.dest; at.IsValid() {
		return at
	}
	var local rawAddr
	if localAddr(s.client.fd, &local) != 0 {
		return netip.AddrPort{}
	}
	return local.ip()
}

// wantedPort returns the port that the client wanted: that of its destination, or that of the listener if its header names
// port 0. It is 0 for a client of a unix socket without a destination.
func (s *session) wantedPort() uint16 {
	if port := s.dialer.dest.Port(); port != 0 {
		return port
	}
	var local rawAddr
	if localAddr(s.client.fd, &local) != 0 {
		return 0
	}
	return local.ip().Port()
}

// sendHeader sends the PROXY header that the server expects, as the first bytes and in one segment. If the client has
// sent bytes already, they follow in the same segment.
func (s *session) sendHeader(l *loop) {
	d := s.dialer
	h := proxy.Header{Version: d.target.sendProxy, Local: d.proxyLocal, Transport: proxy.Stream, Source: s.clientAddr.get(), Dest: s.destination(), TLVs: d.tlvs, Pass: d.target.proxyTLVs}
	text := h.Append(l.scratch[:0])
	n, e := 0, errno(0)
	if c := &s.client; s.set.Greeting != GreetingMySQL && c.readable && !c.fin && !c.urgent && !c.local {
		n, e = s.server.sendBefore(text) // the relay reads and sends more at once
	} else {
		n, e = s.server.send(text, 0)
	}
	if n < len(text) && (e == 0 || e == eagain) {
		b := l.buffers.get()
		b.to = copy(b.data[:], text[n:])
		s.up.held, s.up.headerBytes = b, uint16(b.to)
	}
}

// SendProxy makes connections to the target begin with a PROXY header of version 1 or 2; 0 = none. pass selects the TLVs
// of the client's header that are passed on.
func (t *Target) SendProxy(version uint8, pass conf.TLVTypes) {
	t.sendProxy = version
	if pass.Limited {
		t.proxyTLVs = new(proxy.TypeSet)
		for _, typ := range pass.Types {
			t.proxyTLVs.Add(typ)
		}
	}
}
