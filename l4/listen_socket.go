package l4

// A listen socket: a listener's socket in one loop, for TCP and UDP alike. It is watched level-triggered. After an error
// it is paused, because a level-triggered event would repeat at once, and then watched again.

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenSocket is owned by its loop.
type listenSocket struct {
	ln       *Listener
	fd       int32
	number   int32         // identifies the socket in events
	resumeAt time.Duration // when a paused socket is watched again
	paused   bool
	waiting  bool       // for a slot (tcp_wait.go)
	burst    int        // TCP: clients to accept before other events are handled; follows the load
	udp      *udpSocket // nil for TCP
}

const (
	// shortageBackoff pauses the TCP sockets of a loop when an accepted client cannot be served because the process or the
	// host has run out of a resource. Sessions that end meanwhile free some.
	shortageBackoff = 100 * time.Millisecond
	// errorBackoffStep, times the number of paused sockets, is how long a socket is paused after an error that may last:
	// the retries per second do not grow with the number of sockets. A client waits at most that long after the error is over.
	errorBackoffStep = 5 * time.Millisecond
)

// errorBackoff returns how long the next socket that reports an error is paused.
func (l *loop) errorBackoff() time.Duration {
	return min(time.Duration(1+len(l.pausedSockets))*errorBackoffStep, shortageBackoff)
}

// addListenSocket makes fd a listen socket of the loop, which owns it from now on.
func (l *loop) addListenSocket(ln *Listener, fd int32) {
	s := &listenSocket{burst: 1}
	if ln.udp {
		s = &l.newUDPSocket(ln, fd).listenSocket
	}
	l.lastListenSocket++
	s.ln, s.fd, s.number = ln, fd, l.lastListenSocket
	l.listenSockets[s.number] = s
	if s.udp == nil && !l.acceptPaused || s.udp != nil && !l.plane.receivePaused.Load() {
		l.watch(s)
	}
}

// watch registers the socket with epoll. A socket that cannot be registered is paused.
func (l *loop) watch(s *listenSocket) {
	e := epollControl(l.epfd, unix.EPOLL_CTL_ADD, s.fd, unix.EPOLLIN, markListenSocket, s.number)
	if e == syscall.EEXIST {
		e = epollControl(l.epfd, unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN, markListenSocket, s.number)
	}
	if e != 0 {
		l.plane.warnLimited("cannot watch a listen socket", "address", s.ln.at.String(), "error", e)
		l.pauseSocket(s, l.errorBackoff())
	}
}

func (l *loop) unwatch(s *listenSocket) {
	epollControl(l.epfd, unix.EPOLL_CTL_DEL, s.fd, 0, markListenSocket, s.number)
}

// pauseSocket stops watching the socket for a time.
func (l *loop) pauseSocket(s *listenSocket, pause time.Duration) {
	s.resumeAt = l.now + pause
	if !s.paused {
		s.paused = true
		l.pausedSockets = append(l.pausedSockets, s)
		epollControl(l.epfd, unix.EPOLL_CTL_MOD, s.fd, 0, markListenSocket, s.number)
	}
}

// pauseForShortage pauses the TCP sockets of the loop: a client that is accepted now could not be served.
func (l *loop) pauseForShortage() {
	for _, s := range l.listenSockets {
		if s.udp == nil {
			l.pauseSocket(s, shortageBackoff)
		}
	}
}

// resumePaused watches the sockets whose pause is over.
func (l *loop) resumePaused() {
	if l.acceptPaused {
		return
	}
	paused := l.pausedSockets
	l.pausedSockets = nil
	for _, s := range paused {
		switch {
		case l.listenSockets[s.number] != s: // closed meanwhile
		case l.now < s.resumeAt:
			l.pausedSockets = append(l.pausedSockets, s)
		default:
			s.paused = false
			if !s.waiting {
				l.watch(s)
			}
		}
	}
}

// pauseAccept stops watching all listen sockets until resumeAccept, also TCP sockets that are added meanwhile. Clients wait in the sockets' queues for another
// process that has the same sockets. Replies to UDP clients still leave.
func (l *loop) pauseAccept() {
	l.acceptPaused = true
	for _, s := range l.listenSockets {
		l.unwatch(s)
	}
}

func (l *loop) resumeAccept() {
	l.acceptPaused = false
	l.resumeWaiting()
	for _, s := range l.listenSockets {
		if !s.paused && (s.udp == nil || !l.plane.receivePaused.Load()) {
			l.watch(s)
		}
	}
}

// resumeUDP watches the UDP sockets that were added while receiving was paused.
func (l *loop) resumeUDP() {
	for _, s := range l.listenSockets {
		if s.udp != nil && !s.paused {
			l.watch(s)
		}
	}
}

// eachUDPSocket calls f for the loop's sockets of a UDP listener.
func (l *loop) eachUDPSocket(ln *Listener, f func(*udpSocket)) {
	for _, s := range l.listenSockets {
		if s.ln == ln && s.udp != nil {
			f(s.udp)
		}
	}
}

// closeListenSockets accepts the clients that are queued at a TCP listener's sockets, then closes these.
func (l *loop) closeListenSockets(ln *Listener) {
	for _, s := range l.listenSockets {
		if s.ln != ln {
			continue
		}
		for n := 0; n < 2*burstMax+ln.set.Load().Backlog && l.acceptOne(s, &acceptedClient{ln: ln}) == 0; n++ {
		}
		l.closeListenSocket(s)
	}
}

// abandonListenSockets closes the TCP sockets without accepting the clients that are queued: another process has the
// same sockets. UDP sockets stay open for the flows that stay in this process.
func (l *loop) abandonListenSockets() {
	for _, s := range l.listenSockets {
		if s.udp == nil {
			l.closeListenSocket(s)
		}
	}
}

func (l *loop) closeListenSocket(s *listenSocket) {
	delete(l.listenSockets, s.number)
	closeFD(s.fd)
}
