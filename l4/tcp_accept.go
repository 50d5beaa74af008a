package l4

// Accepting: from the listening socket to a session in the right loop. A passing error never ends it and never spins.

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listenFD is a listening socket as its loop sees it. Clients come in here.
type listenSocket struct {
	ln       *Listener
	fd       int32
	number   int32         // tells its events from those of others
	burst    int           // how many to accept before looking at other events; follows the load
	resumeAt time.Duration // when to try again after a shortage
	paused   bool
}

// acceptedClient is a client on its way into a loop.
type acceptedClient struct {
	ln    *Listener
	set   *Settings
	fd    int32
	claim admissionClaim
	addr  netip.AddrPort
}

const (
	burstMax = 64
	// shortageBackoff is how long the listening sockets rest when somebody who was accepted cannot be served because the process
	// or the machine has run out of something. Sessions that end meanwhile make room.
	shortageBackoff = 100 * time.Millisecond
	// errorBackoffStep is how long a listening socket rests after an error that may go on for ever, for each that rests in the
	// loop: as many looks a second, however many there are. A client waits for no longer than this once the error is over.
	errorBackoffStep = 5 * time.Millisecond
)

// errorBackoff is how long the next listening socket rests that reports an error.
func (l *loop) errorBackoff() time.Duration {
	return min(time.Duration(1+len(l.pausedSockets)+len(l.pausedUDP))*errorBackoffStep, shortageBackoff)
}

func (l *loop) addListenSocket(ln *Listener, fd int32) {
	l.lastListenSocket++
	d := &listenSocket{ln: ln, fd: fd, number: l.lastListenSocket, burst: 1}
	l.listenSockets[d.number] = d
	d.watch(l, unix.EPOLLIN, unix.EPOLL_CTL_ADD)
}

func (d *listenSocket) watch(l *loop, events uint32, op int) {
	if e := epollControl(l.epfd, op, d.fd, events, markListener, d.number); e != 0 {
		l.plane.warnLimited("cannot watch a listening socket", "address", d.ln.at.String(), "error", e)
		l.pauseSocket(d, l.errorBackoff())
	}
}

// closeListenSockets takes in the clients that are queued at a listener's doors, then closes them.
func (l *loop) closeListenSockets(ln *Listener) {
	for number, d := range l.listenSockets {
		if d.ln != ln {
			continue
		}
		for n := 0; n < 2*burstMax+ln.set.Load().Backlog && l.acceptOne(d) == 0; n++ {
		}
		delete(l.listenSockets, number)
		d.close()
	}
}

// pauseAccept looks at no door any more, until resumeAccept. Whoever knocks waits in the queue, for whoever else accepts
// from it.
func (l *loop) pauseAccept() {
	l.acceptPaused = true
	l.pauseUDP()
	for _, d := range l.listenSockets {
		epollControl(l.epfd, unix.EPOLL_CTL_DEL, d.fd, 0, markListener, d.number)
	}
}

func (l *loop) resumeAccept() {
	l.acceptPaused = false
	l.resumeUDP()
	for _, d := range l.listenSockets {
		if !d.paused {
			d.watch(l, unix.EPOLLIN, unix.EPOLL_CTL_ADD)
		}
	}
}

// abandonListenSockets closes doors without taking in who is queued there: somebody else has the same sockets.
func (l *loop) abandonListenSockets() {
	for number, d := range l.listenSockets {
		delete(l.listenSockets, number)
		d.close()
	}
}

func (d *listenSocket) close() { closeFD(d.fd) }

// accept takes in a burst of clients. The socket is watched level-triggered, so whoever is left is reported again; the
// burst grows while there are more, and shrinks to what was found, which saves the calls that would find nothing.
func (l *loop) accept(d *listenSocket) {
	if d.paused {
		return
	}
	for n := range d.burst {
		switch e := l.acceptOne(d); e {
		case 0, syscall.ECONNABORTED:
		case eagain:
			d.burst = max(1, n)
			return
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			l.plane.warnLimited("cannot accept: out of descriptors or memory", "address", d.ln.at.String(), "error", e)
			l.pipes.trim(0)
			l.pauseSocket(d, l.errorBackoff())
			return
		default:
			l.plane.warnLimited("cannot accept", "address", d.ln.at.String(), "error", e)
			l.pauseSocket(d, l.errorBackoff())
			return
		}
	}
	d.burst = min(d.burst*2, burstMax)
}

// pauseSocket stops watching a listening socket for a while: level-triggered readiness would spin.
func (l *loop) pauseSocket(d *listenSocket, d4 time.Duration) {
	d.resumeAt = l.now + d4
	if !d.paused {
		d.paused = true
		l.pausedSockets = append(l.pausedSockets, d)
		epollControl(l.epfd, unix.EPOLL_CTL_MOD, d.fd, 0, markListener, d.number)
	}
}

// pauseAllSockets pauses every listening socket of the loop.
func (l *loop) pauseAllSockets() {
	for _, d := range l.listenSockets {
		l.pauseSocket(d, shortageBackoff)
	}
}

// resumeAt watches again what has rested.
func (l *loop) resumePaused() {
	if l.acceptPaused {
		return
	}
	resting := l.pausedSockets
	l.pausedSockets = nil
	for _, d := range resting {
		switch {
		case l.listenSockets[d.number] != d: // closed meanwhile
		case l.now < d.resumeAt:
			l.pausedSockets = append(l.pausedSockets, d)
		default:
			d.paused = false
			epollControl(l.epfd, unix.EPOLL_CTL_ADD, d.fd, 0, markListener, d.number) // msgs case it never was
			d.watch(l, unix.EPOLLIN, unix.EPOLL_CTL_MOD)
		}
	}
}

// acceptOne accepts one client and lets it in, or turns it away before there is a session.
func (l *loop) acceptOne(d *listenSocket) errno {
	var from rawAddr
	fd, e := acceptSocket(d.fd, &from)
	if e != 0 {
		return e
	}
	client := acceptedClient{ln: d.ln, fd: fd, addr: from.ip()}
	switch why := l.admit(&client); {
	case why == Admitted:
		l.assign(&client)
	case why.temporary() && l.addPending(&client, why):
	default:
		l.reject(&client, why)
	}
	return 0
}

// startSession judges a client. Once it is let in, it is counted among the sessions.
func (l *loop) admit(c *acceptedClient) Rejection {
	c.set = c.ln.set.Load()
	a := &c.set.Admission
	var why Rejection
	switch {
	case !c.set.AcceptProxy:
		c.claim, why = a.acquire(c.addr.Addr(), l.now)
	case !c.set.trusts(c.addr.Addr()):
		why = RejectedUntrusted
	default: // the client is judged when its header has told who it is: see session.enter
	}
	if why != Admitted {
		return why
	}
	arrived := l.plane.acquireSession()
	if !arrived && len(l.pipes.free) > 0 {
		l.pipes.trim(0)
		arrived = l.plane.acquireSession()
	}
	if !arrived {
		if c.claim != 0 {
			a.cancel(&c.claim, c.addr.Addr())
		}
		return RejectedProcessLimit
	}
	return Admitted
}

// reject resets a client that has no session.
func (l *loop) reject(c *acceptedClient, why Rejection) {
	l.countRejection(c.ln, why)
	resetFD(c.fd)
	if why == RejectedUntrusted && l.plane.allowWarning() {
		l.plane.warn("turned away: not among trusted_proxies", "listener", c.set.Name, "client", c.addr.String())
	}
}

// assign hands a client to a loop: this one, unless another has clearly fewer sessions. The kernel spreads clients by hash,
// which leaves a few long sessions unevenly spread.
func (l *loop) assign(c *acceptedClient) {
	if other := l.lessLoaded(); other != nil {
		other.live.Add(1)
		other.post(message{client: *c})
		return
	}
	l.live.Add(1)
	l.startSession(c)
}

// pendingClient is a client that came while there was no room. The session whose place it may have can be on its way out: one
// who closes a connection and opens another at once is not to be told that there are too many.
type pendingClient struct {
	acceptedClient
	rejection Rejection
	deadline  time.Duration
	triedAt   time.Duration // when last
	tries     int
}

const (
	pendingTimeout  = 50 * time.Millisecond // a server may take a moment to close; the refusal comes within 100 ms all the same
	pendingInterval = 2 * time.Millisecond
	// pendingMinTries is how often there must have been a look before a client is refused: when the whole process was kept waiting
	// for a processor, the time is over before the session that ends had its turn.
	pendingMinTries = 10
	// MaxPendingClients is how many such clients a loop has at most; others are refused without delay. Each holds a descriptor
	// and is no session yet.
	MaxPendingClients = 16
)

// addPending keeps a client for a moment, unless there are too many such.
func (l *loop) addPending(c *acceptedClient, why Rejection) bool {
	if len(l.pending) >= MaxPendingClients || l.stopping {
		return false
	}
	l.pending = append(l.pending, pendingClient{acceptedClient: *c, rejection: why, deadline: l.now + pendingTimeout, triedAt: l.now})
	return true
}

// retryPending lets in those for whom there is room now, and turns away those who have waited long enough.
func (l *loop) retryPending() {
	left := l.pending[:0]
	for i := range l.pending {
		h := l.pending[i]
		if l.now-h.triedAt < pendingInterval {
			left = append(left, h)
			continue
		}
		h.triedAt = l.now
		h.tries++
		switch why := l.admit(&h.acceptedClient); {
		case why == Admitted:
			l.assign(&h.acceptedClient)
		case why.temporary() && (l.now < h.deadline || h.tries < pendingMinTries):
			left = append(left, h)
		default:
			l.reject(&h.acceptedClient, why)
		}
	}
	l.pending = left
}

// rejectPending turns all of them away.
func (l *loop) rejectPending() {
	for i := range l.pending {
		l.reject(&l.pending[i].acceptedClient, RejectedStopping)
	}
	l.pending = nil
}

// lessLoaded is a loop that has clearly fewer sessions than this one. One is looked at, in turn.
func (l *loop) lessLoaded() *loop {
	loops := l.plane.loops
	if len(loops) == 1 {
		return nil
	}
	next := l.index + 1 + int(l.lastID)%(len(loops)-1)
	o := loops[next%len(loops)]
	mine, theirs := l.live.Load(), o.live.Load()
	if mine-theirs >= 1+theirs/8 {
		return o
	}
	return nil
}

// startSession begins the session of a client that this loop was given.
func (l *loop) startSession(c *acceptedClient) {
	a := &c.set.Admission
	if l.stopping {
		l.live.Add(-1)
		a.release(&c.claim, c.addr.Addr())
		l.plane.releaseSession()
		l.reject(c, RejectedStopping)
		return
	}
	a.countSource(&c.claim, c.addr.Addr())
	l.newSession().start(l, c)
}
