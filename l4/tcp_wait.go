package l4

// Listeners whose clients wait in the kernel's queue while a limit is reached (Settings.WaitWhenFull). The slots of a client are
// acquired before it is accepted. Each loop has a listen socket of its own, so all loops look for clients when a slot becomes
// free: the kernel may have queued the next client at any of them.

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// waitRetry is how often sockets that wait look for a slot. They need not: whatever frees a slot wakes them, except for
// descriptors of pipes that other loops close.
const waitRetry = 100 * time.Millisecond

// reserve acquires the slots of a client that is accepted next. Without a slot the socket waits for one.
func (l *loop) reserve(s *listenSocket, c *acceptedClient) bool {
	c.set = c.ln.set.Load()
	a, p := &c.set.Admission, l.plane
	if !acquireCount(&a.State.sessions, int64(a.MaxSessions)) {
		l.waitForSlot(s)
		a.State.waiting.Store(p)
		if int(a.State.sessions.Load()) < a.MaxSessions { // released before that could be seen
			l.resumeWaiting()
		}
		return false
	}
	c.claim.reserved = true
	if l.acquireSession() {
		return true
	}
	a.release(&c.claim, netip.Addr{})
	l.waitForSlot(s)
	p.waiting.Store(true)
	if p.sessions.Load() < p.sessionLimit() {
		l.resumeWaiting()
	}
	return false
}

// cancelReservation releases the slots of a client that gets no session.
func (l *loop) cancelReservation(c *acceptedClient) {
	if c.claim.reserved {
		c.set.Admission.release(&c.claim, netip.Addr{})
		l.plane.releaseSession()
	}
}

// waitForSlot stops watching the socket until resumeWaiting.
func (l *loop) waitForSlot(s *listenSocket) {
	s.waiting = true
	l.waitingSockets = append(l.waitingSockets, s)
	l.waitingSince = l.now
	epollControl(l.epfd, unix.EPOLL_CTL_MOD, s.fd, 0, markListenSocket, s.number)
}

// resumeWaiting watches the sockets that wait for a slot.
func (l *loop) resumeWaiting() {
	if l.acceptPaused { // resumeAccept watches them
		return
	}
	waiting := l.waitingSockets
	l.waitingSockets = nil
	for _, s := range waiting {
		s.waiting = false
		if l.listenSockets[s.number] == s && !s.paused {
			l.watch(s)
		}
	}
}

// resumeWaiting makes all loops look for clients that wait.
func (p *Plane) resumeWaiting() { p.postAll((*loop).resumeWaiting) }

// Waiting returns how many clients are in the kernel's queue because a limit is reached. It is 0 for unix sockets, whose queue
// the kernel does not show. The loops must run.
func (ln *Listener) Waiting() int {
	if ln.udp || !ln.set.Load().WaitWhenFull {
		return 0
	}
	var n atomic.Int64
	ln.plane.runOnLoops(func(l *loop) {
		for _, s := range l.waitingSockets {
			var info unix.TCPInfo
			if s.ln == ln && l.listenSockets[s.number] == s && readTCPInfo(s.fd, &info) == 0 {
				n.Add(int64(info.Unacked)) // of a listen socket: the length of its queue
			}
		}
	})
	return int(n.Load())
}
