package l4

// Accepting TCP clients: from the listen socket to a session in the right loop. Temporary errors never stop it.

import (
	"net/netip"
	"syscall"
	"time"
)

// acceptedClient is a client on its way into a loop.
type acceptedClient struct {
	ln    *Listener
	set   *Settings
	fd    int32
	claim admissionClaim
	addr  netip.AddrPort

	cameFrom *hop // the session of this process that connects; nil = none
}

// burstMax is the most clients that are accepted at one socket before other events are handled.
const burstMax = 64

// accept accepts a burst of clients. The socket is level-triggered, so remaining clients cause another event. The burst
// grows while there are more clients and shrinks to the number found, which saves calls that find none.
func (l *loop) accept(s *listenSocket) {
	if s.paused || s.waiting {
		return
	}
	for n := range s.burst {
		client := acceptedClient{ln: s.ln}
		if s.ln.set.Load().WaitWhenFull && !l.reserve(s, &client) {
			return
		}
		switch e := l.acceptOne(s, &client); e {
		case 0, syscall.ECONNABORTED:
		case eagain:
			s.burst = max(1, n)
			return
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			l.plane.warnLimited("cannot accept: out of descriptors or memory", "address", s.ln.at.String(), "error", e)
			l.pipes.trim(0)
			l.pauseSocket(s, l.errorBackoff())
			return
		default:
			l.plane.warnLimited("cannot accept", "address", s.ln.at.String(), "error", e)
			l.pauseSocket(s, l.errorBackoff())
			return
		}
	}
	s.burst = min(s.burst*2, burstMax)
}

// acceptOne accepts and admits one client, which may have a reservation. A client that fails admission is rejected without a
// session.
func (l *loop) acceptOne(s *listenSocket, client *acceptedClient) errno {
	var from rawAddr
	fd, e := acceptSocket(s.fd, &from)
	if e != 0 {
		l.cancelReservation(client)
		return e
	}
	client.fd, client.addr = fd, from.ip()
	client.cameFrom = l.plane.hops.find(client)
	switch why := l.admit(client); {
	case why == Admitted:
		l.assign(client)
	case why.temporary() && l.addPending(client):
	default:
		l.reject(client, why)
	}
	return 0
}

// admit checks a client. An admitted client is counted as a session.
func (l *loop) admit(c *acceptedClient) Rejection {
	reserved := c.claim.reserved
	if !reserved {
		c.set = c.ln.set.Load()
	}
	a := &c.set.Admission
	var why Rejection
	switch {
	case c.cameFrom.passes(c.ln):
		why = RejectedLoop
	case !c.set.AcceptProxy:
		why = a.acquireReserved(&c.claim, c.addr.Addr(), nil, l.now)
	case !c.set.trusts(c.addr.Addr()):
		why = RejectedUntrusted
	default: // session.admit checks the client that the PROXY header names
	}
	if why != Admitted || reserved {
		return why
	}
	if !l.acquireSession() {
		if c.claim.session {
			a.cancel(&c.claim, c.addr.Addr())
		}
		return RejectedProcessLimit
	}
	return Admitted
}

// acquireSession counts a new session in the process, if necessary in place of free pipes of this loop.
func (l *loop) acquireSession() bool {
	acquired := l.plane.acquireSession()
	if !acquired && len(l.pipes.free) > 0 {
		l.pipes.trim(0)
		acquired = l.plane.acquireSession()
	}
	return acquired
}

// reject resets a client that has no session.
func (l *loop) reject(c *acceptedClient, why Rejection) {
	l.cancelReservation(c)
	l.countRejection(c.ln, why)
	resetFD(c.fd)
	if why == RejectedLoop && !c.ln.loopReported.Swap(true) {
		l.plane.warn("connection rejected: it comes from a session of the same listener", "listener", c.set.Name,
			"address", c.ln.at.String(), "client", c.addr.String())
	}
	if why == RejectedUntrusted && l.plane.allowWarning() {
		l.plane.warn("connection rejected: client not in trusted_proxies", "listener", c.set.Name, "client", c.addr.String())
	}
}

// assign hands a client to this loop, or to one that has clearly fewer sessions. The kernel spreads clients by hash,
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

// pendingClient waits briefly for a slot under a limit: the session that holds the slot may be about to end. A client that
// closes a connection and opens another at once must not be rejected.
type pendingClient struct {
	acceptedClient
	session  *session // of a client named by a PROXY header, in PhaseAdmit; nil = there is no session yet
	id       uint64   // the session's
	deadline time.Duration
	triedAt  time.Duration // the last attempt
	tries    int
}

const (
	// pendingTimeout gives a server time to close. A rejection still comes within 100 ms.
	pendingTimeout  = 50 * time.Millisecond
	pendingInterval = 2 * time.Millisecond
	// pendingMinTries attempts come before a rejection: if the whole process was not running, the timeout expires before
	// the session that ends was handled.
	pendingMinTries = 10
	// MaxPendingClients is how many pending clients without a session a loop has at most. Each holds a descriptor. Further
	// ones are rejected at once.
	MaxPendingClients = 16
)

// addPending makes an accepted client pending. It reports false if too many are.
func (l *loop) addPending(c *acceptedClient) bool {
	if l.pendingAccepted >= MaxPendingClients || l.stopping {
		return false
	}
	l.pendingAccepted++
	l.pending = append(l.pending, pendingClient{acceptedClient: *c, deadline: l.now + pendingTimeout, triedAt: l.now})
	return true
}

// addPendingSession makes a session pending whose client was named by a PROXY header.
func (l *loop) addPendingSession(s *session) {
	l.pending = append(l.pending, pendingClient{session: s, id: s.id, deadline: l.now + pendingTimeout, triedAt: l.now})
}

// retryPending admits the pending clients for which there is room now, and rejects those whose timeout has expired.
func (l *loop) retryPending() {
	left := l.pending[:0]
	for i := range l.pending {
		p := l.pending[i]
		if p.session != nil && (p.session.id != p.id || p.session.phase != PhaseAdmit) {
			continue // ended meanwhile
		}
		if l.now-p.triedAt >= pendingInterval {
			p.triedAt = l.now
			p.tries++
			if l.resolve(&p, l.now < p.deadline || p.tries < pendingMinTries) {
				if p.session == nil {
					l.pendingAccepted--
				}
				continue
			}
		}
		left = append(left, p)
	}
	clear(l.pending[len(left):])
	l.pending = left
}

// resolve tries to admit a pending client and reports whether it was admitted or rejected. With wait set, it stays pending
// after a temporary rejection.
func (l *loop) resolve(p *pendingClient, wait bool) bool {
	s := p.session
	var why Rejection
	if s == nil {
		why = l.admit(&p.acceptedClient)
	} else {
		why = s.acquireClaim(l)
	}
	switch {
	case why.temporary() && wait:
		return false
	case s != nil:
		s.admitted(l, why)
	case why == Admitted:
		l.assign(&p.acceptedClient)
	default:
		l.reject(&p.acceptedClient, why)
	}
	return true
}

// rejectPending rejects all pending clients. Those that have a session are not pending any more.
func (l *loop) rejectPending() {
	for i := range l.pending {
		if l.pending[i].session == nil {
			l.reject(&l.pending[i].acceptedClient, RejectedStopping)
		}
	}
	l.pending, l.pendingAccepted = nil, 0
}

// lessLoaded returns a loop that has clearly fewer sessions, or nil. Each call looks at one loop, in turn.
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

// startSession starts the session of a client that was assigned to this loop.
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
