package l4

// The TLS ClientHello that routes of a listener may ask for. The server gets every byte unchanged. A ClientHello that is there
// at the first look, as nearly all are, stays in the kernel's queue, and its session needs no buffer. Others are read piece by
// piece and kept, like what a client sends before its server's greeting: to peek n small segments takes the kernel n² steps,
// which a client could use to stop the loop.

import (
	"syscall"

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
	s.awaitNoMore()
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
	hello, need, err := s.receiveHello(l)
	switch client := s.clientAddr.get().Addr(); {
	case err == nil:
		s.setServerName(string(hello.ServerName))
		s.useRoute(l, s.set.Routes.choose(client, s.id, &hello))
	case err == clienthello.ErrNotHello:
		s.useRoute(l, s.set.Routes.choose(client, s.id, nil))
	case err == clienthello.ErrTooLong:
		s.finish(l, ReasonHelloTooLong)
	case err == syscall.ENOMEM:
		s.finish(l, ReasonLocalShortage)
	case err != clienthello.ErrIncomplete:
		s.finish(l, ReasonClientReset)
	case s.client.fin: // incomplete for ever
		s.useRoute(l, s.set.Routes.Default)
	default:
		s.client.readable = false
		s.awaitBytes(need - len(s.dialer.greeting.sent))
	}
}

const (
	// helloWindow is how much of the queue is peeked: more than most ClientHellos have, and few enough segments.
	helloWindow = 2 << 10
	// maxHelloBytes limits what a loop keeps of all incomplete ClientHellos.
	maxHelloBytes = 16 << 20
)

// receiveHello parses what the client has sent. If that is incomplete, it is kept for the server. The result is valid until the next
// read. The error is one of clienthello, that of the socket, or ENOMEM if the loop keeps too much.
func (s *session) receiveHello(l *loop) (hello clienthello.Hello, need int, err error) {
	if len(s.dialer.greeting.sent) == 0 {
		if hello, need, err = s.peekHello(l); err != clienthello.ErrIncomplete {
			return hello, need, err
		}
	}
	if e := s.keepHello(l); e != 0 {
		return hello, 0, e
	}
	return s.keptHello(l)
}

// peekHello parses the first bytes in the socket's queue.
func (s *session) peekHello(l *loop) (hello clienthello.Hello, need int, err error) {
	switch n, e := peekBytes(s.client.fd, l.scratch[:helloWindow]); {
	case e == eagain:
		return hello, 0, clienthello.ErrIncomplete
	case e != 0:
		return hello, 0, e
	default:
		return clienthello.Parse(l.scratch[:n])
	}
}

// keepHello reads from the socket and keeps the bytes for the server.
func (s *session) keepHello(l *loop) errno {
	g := &s.dialer.greeting
	for room := clienthello.MaxStream - len(g.sent); room > 0; {
		n, e := recvBytes(s.client.fd, l.scratch[:room])
		switch {
		case e == eagain:
			return 0
		case e != 0:
			return e
		case n == 0:
			s.client.fin = true
			return 0
		case !l.dialers.keepHello(g, n):
			return syscall.ENOMEM
		}
		g.sent = append(g.sent, l.scratch[:n]...)
		if n < room {
			return 0
		}
		room -= n
	}
	return 0
}

// keptHello parses what was kept.
func (s *session) keptHello(l *loop) (hello clienthello.Hello, need int, err error) {
	n := copy(l.scratch[:], s.dialer.greeting.sent)
	return clienthello.Parse(l.scratch[:n])
}

// keepHello counts n further bytes of a ClientHello that are kept, unless they are too many.
func (p *dialerPool) keepHello(g *greetingState, n int) bool {
	if p.helloBytes+n > maxHelloBytes {
		return false
	}
	p.helloBytes += n
	g.hello += n
	return true
}

// awaitBytes makes the client's socket report when it has need further bytes: a client that sends its ClientHello in small pieces
// does not make weir read it again and again. The kernel enlarges the receive buffer if necessary, and reports earlier
// if it runs out of room.
func (s *session) awaitBytes(need int) {
	if s.client.local || need <= 0 {
		return
	}
	s.note(lowWater, true)
	s.wakeAt(need)
}

// awaitNoMore ends the effect of awaitBytes.
func (s *session) awaitNoMore() {
	if s.has(lowWater) {
		s.wakeAt(1)
		s.note(lowWater, false)
	}
}

// wakeAt makes the client's socket report when it has n bytes.
func (s *session) wakeAt(n int) { setOption(s.client.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) }

// routed returns the settings that apply to a session that has no server yet, after those of its listener have changed. Its
// ClientHello was kept, or is still in the kernel's queue.
func (s *session) routed(l *loop, set *Settings) *Settings {
	r := set.Routes
	if r == nil {
		return set
	}
	client := s.clientAddr.get().Addr()
	if r.Hello {
		read := s.peekHello
		if len(s.dialer.greeting.sent) > 0 {
			read = s.keptHello
		}
		if hello, _, err := read(l); err == nil {
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
