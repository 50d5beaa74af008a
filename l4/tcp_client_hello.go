package l4

// The TLS ClientHello that routes of a listener may ask for. Like a PROXY header it is peeked in the kernel's queue, but it
// stays there: the server gets every byte unchanged, and a session whose ClientHello is awaited has no buffer.

import (
	"golang.org/x/sys/unix"

	"weir/internal/clienthello"
	"weir/internal/proxy"
)

// route chooses the settings of an admitted session, at once or after its ClientHello.
func (s *session) route(l *loop) {
	r := s.set.Routes
	if !r.Hello {
		s.useRoute(l, r.choose(s.clientAddr.get().Addr(), s.id, nil))
		return
	}
	s.phase = PhaseClientHello
	l.readClock()
	l.wheel.arm(&s.timer, l.now+r.Timeout)
	s.readHello(l)
}

// useRoute continues a session with the settings that were chosen for it.
func (s *session) useRoute(l *loop, set *Settings) {
	s.set = set
	set.countRoute()
	if s.has(lowWater) {
		s.wakeAt(1)
		s.note(lowWater, false)
	}
	d := s.dialer
	l.readClock()
	d.startedAt = l.now // waiting for the ClientHello does not count for try_timeout
	s.startAttempts(&proxy.Header{TLVs: d.tlvs})
	s.pick(l)
}

// readHello chooses the settings if the ClientHello is complete, or if there will be none.
func (s *session) readHello(l *loop) {
	if s.client.failed {
		s.finish(l, ReasonClientReset)
		return
	}
	if !s.client.readable {
		return
	}
	hello, need, err := s.peekHello(l)
	switch client := s.clientAddr.get().Addr(); {
	case err == nil:
		s.setServerName(string(hello.ServerName))
		s.useRoute(l, s.set.Routes.choose(client, s.id, &hello))
	case err == clienthello.ErrNotHello:
		s.useRoute(l, s.set.Routes.choose(client, s.id, nil))
	case err == clienthello.ErrTooLong:
		s.finish(l, ReasonHelloTooLong)
	case err != clienthello.ErrIncomplete:
		s.finish(l, ReasonClientReset)
	case s.client.fin: // incomplete for ever
		s.useRoute(l, s.set.Routes.Default)
	default:
		s.client.readable = false
		s.awaitBytes(need)
	}
}

// peekHello parses the bytes that the client has sent. The result is valid until the next read. The error is one of
// clienthello, or that of the socket.
func (s *session) peekHello(l *loop) (hello clienthello.Hello, need int, err error) {
	window := l.scratch[:]
	n, e := peekBytes(s.client.fd, window)
	if e == 0 && n == len(window) { // a ClientHello of many short records may be longer
		if l.hellos == nil {
			l.hellos = make([]byte, clienthello.MaxStream)
		}
		window = l.hellos
		n, e = peekBytes(s.client.fd, window)
	}
	switch {
	case e == eagain:
		return hello, 0, clienthello.ErrIncomplete
	case e != 0:
		return hello, 0, e
	case n == 0:
		s.client.fin = true
		return hello, 0, clienthello.ErrIncomplete
	}
	return clienthello.Parse(window[:n])
}

// awaitBytes makes the client's socket report when it has need bytes: a client that sends its ClientHello in small pieces
// does not make weir read it again and again. The kernel enlarges the receive buffer if necessary, and reports earlier
// if it runs out of room.
func (s *session) awaitBytes(need int) {
	if s.client.local || need == 0 {
		return
	}
	s.note(lowWater, true)
	s.wakeAt(need)
}

// wakeAt makes the client's socket report when it has n bytes.
func (s *session) wakeAt(n int) { setOption(s.client.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) }

// routed returns the settings that apply to a session that has no server yet, after those of its listener have changed. Its
// ClientHello is still in the kernel's queue.
func (s *session) routed(l *loop, set *Settings) *Settings {
	r := set.Routes
	if r == nil {
		return set
	}
	client := s.clientAddr.get().Addr()
	if r.Hello {
		if hello, _, err := s.peekHello(l); err == nil {
			s.setServerName(string(hello.ServerName))
			return r.choose(client, s.id, &hello)
		}
	}
	return r.choose(client, s.id, nil)
}

// serverName returns the name in the session's ClientHello, if it has been read.
func (s *session) serverName() string {
	if s.extra == nil {
		return ""
	}
	return s.extra.serverName
}

func (s *session) setServerName(name string) {
	if s.extra != nil || name != "" {
		s.withExtra().serverName = name
	}
}
