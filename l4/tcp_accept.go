package l4

// Accepting: from the listening socket to a session in the right loop. A passing error never ends it and never spins.

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// door is a listening socket as its loop sees it. Clients come in here.
type door struct {
	ln      *Listener
	fd      int32
	number  int32         // tells its events from those of others
	burst   int           // how many to accept before looking at other events; follows the load
	resume  time.Duration // when to try again after a shortage
	waiting bool
}

// accepted is a client on its way into a loop.
type accepted struct {
	ln   *Listener
	set  *Settings
	fd   int32
	pass pass
	from netip.AddrPort
}

const (
	burstMax = 64
	// shortagePause is how long the listening sockets rest when somebody who was accepted cannot be served because the process
	// or the machine has run out of something. Sessions that end meanwhile make room.
	shortagePause = 100 * time.Millisecond
	// errorPause is how long a listening socket rests after an error that may go on for ever, for each that rests in the
	// loop: as many looks a second, however many there are. A client waits for no longer than this once the error is over.
	errorPause = 5 * time.Millisecond
)

// errorRest is how long the next listening socket rests that reports an error.
func (l *loop) errorRest() time.Duration {
	return min(time.Duration(1+len(l.paused)+len(l.resting))*errorPause, shortagePause)
}

func (l *loop) openDoor(ln *Listener, fd int32) {
	l.lastDoor++
	d := &door{ln: ln, fd: fd, number: l.lastDoor, burst: 1}
	l.doors[d.number] = d
	d.listen(l, unix.EPOLLIN, unix.EPOLL_CTL_ADD)
}

func (d *door) listen(l *loop, events uint32, op int) {
	if e := epollControl(l.epfd, op, d.fd, events, markListener, d.number); e != 0 {
		l.plane.complain("cannot watch a listening socket", "address", d.ln.at.String(), "error", e)
		l.pause(d, l.errorRest())
	}
}

// closeDoors takes in the clients that are queued at a listener's doors, then closes them.
func (l *loop) closeDoors(ln *Listener) {
	for number, d := range l.doors {
		if d.ln != ln {
			continue
		}
		for n := 0; n < 2*burstMax+ln.set.Load().Backlog && l.acceptOne(d) == 0; n++ {
		}
		delete(l.doors, number)
		d.close()
	}
}

// holdDoors looks at no door any more, until releaseDoors. Whoever knocks waits in the queue, for whoever else accepts
// from it.
func (l *loop) holdDoors() {
	l.held = true
	l.holdInlets()
	for _, d := range l.doors {
		epollControl(l.epfd, unix.EPOLL_CTL_DEL, d.fd, 0, markListener, d.number)
	}
}

func (l *loop) releaseDoors() {
	l.held = false
	l.releaseInlets()
	for _, d := range l.doors {
		if !d.waiting {
			d.listen(l, unix.EPOLLIN, unix.EPOLL_CTL_ADD)
		}
	}
}

// leaveDoors closes doors without taking in who is queued there: somebody else has the same sockets.
func (l *loop) leaveDoors() {
	for number, d := range l.doors {
		delete(l.doors, number)
		d.close()
	}
}

func (d *door) close() { closeFD(d.fd) }

// accept takes in a burst of clients. The socket is watched level-triggered, so whoever is left is reported again; the
// burst grows while there are more, and shrinks to what was found, which saves the calls that would find nothing.
func (l *loop) accept(d *door) {
	if d.waiting {
		return
	}
	for n := range d.burst {
		switch e := l.acceptOne(d); e {
		case 0, syscall.ECONNABORTED:
		case eagain:
			d.burst = max(1, n)
			return
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			l.plane.complain("cannot accept: out of descriptors or memory", "address", d.ln.at.String(), "error", e)
			l.pipes.trim(0)
			l.pause(d, l.errorRest())
			return
		default:
			l.plane.complain("cannot accept", "address", d.ln.at.String(), "error", e)
			l.pause(d, l.errorRest())
			return
		}
	}
	d.burst = min(d.burst*2, burstMax)
}

// pause stops watching a listening socket for a while: level-triggered readiness would spin.
func (l *loop) pause(d *door, d4 time.Duration) {
	d.resume = l.now + d4
	if !d.waiting {
		d.waiting = true
		l.paused = append(l.paused, d)
		epollControl(l.epfd, unix.EPOLL_CTL_MOD, d.fd, 0, markListener, d.number)
	}
}

// rest pauses every listening socket of the loop.
func (l *loop) rest() {
	for _, d := range l.doors {
		l.pause(d, shortagePause)
	}
}

// resume watches again what has rested.
func (l *loop) resume() {
	if l.held {
		return
	}
	resting := l.paused
	l.paused = nil
	for _, d := range resting {
		switch {
		case l.doors[d.number] != d: // closed meanwhile
		case l.now < d.resume:
			l.paused = append(l.paused, d)
		default:
			d.waiting = false
			epollControl(l.epfd, unix.EPOLL_CTL_ADD, d.fd, 0, markListener, d.number) // in case it never was
			d.listen(l, unix.EPOLLIN, unix.EPOLL_CTL_MOD)
		}
	}
}

// acceptOne accepts one client and lets it in, or turns it away before there is a session.
func (l *loop) acceptOne(d *door) errno {
	var from rawAddr
	fd, e := acceptSocket(d.fd, &from)
	if e != 0 {
		return e
	}
	client := accepted{ln: d.ln, fd: fd, from: from.ip()}
	switch why := l.letIn(&client); {
	case why == Admitted:
		l.seat(&client)
	case why.passing() && l.hope(&client, why):
	default:
		l.turnAway(&client, why)
	}
	return 0
}

// letIn judges a client. Once it is let in, it is counted among the sessions.
func (l *loop) letIn(c *accepted) Rejection {
	c.set = c.ln.set.Load()
	a := &c.set.Admission
	var why Rejection
	switch {
	case !c.set.AcceptProxy:
		c.pass, why = a.enter(c.from.Addr(), l.now)
	case !c.set.trusts(c.from.Addr()):
		why = RejectedUntrusted
	default: // the client is judged when its header has told who it is: see session.enter
	}
	if why != Admitted {
		return why
	}
	arrived := l.plane.arrived()
	if !arrived && len(l.pipes.free) > 0 {
		l.pipes.trim(0)
		arrived = l.plane.arrived()
	}
	if !arrived {
		if c.pass != 0 {
			a.undo(&c.pass, c.from.Addr())
		}
		return RejectedProcessLimit
	}
	return Admitted
}

// turnAway resets a client that has no session.
func (l *loop) turnAway(c *accepted, why Rejection) {
	l.countRejection(c.ln, why)
	resetFD(c.fd)
	if why == RejectedUntrusted && l.plane.mayComplain() {
		l.plane.warn("turned away: not among trusted_proxies", "listener", c.set.Name, "client", c.from.String())
	}
}

// seat hands a client to a loop: this one, unless another has clearly fewer sessions. The kernel spreads clients by hash,
// which leaves a few long sessions unevenly spread.
func (l *loop) seat(c *accepted) {
	if other := l.other(); other != nil {
		other.live.Add(1)
		other.post(message{client: *c})
		return
	}
	l.live.Add(1)
	l.admit(c)
}

// hopeful is a client that came while there was no room. The session whose place it may have can be on its way out: one
// who closes a connection and opens another at once is not to be told that there are too many.
type hopeful struct {
	accepted
	why    Rejection
	until  time.Duration
	looked time.Duration // when last
	looks  int
}

const (
	hopeFor   = 50 * time.Millisecond // a server may take a moment to close; the refusal comes within 100 ms all the same
	hopeEvery = 2 * time.Millisecond
	// hopeLooks is how often there must have been a look before a client is refused: when the whole process was kept waiting
	// for a processor, the time is over before the session that ends had its turn.
	hopeLooks = 10
	// MaxPendingClients is how many such clients a loop has at most; others are refused without delay. Each holds a descriptor
	// and is no session yet.
	MaxPendingClients = 16
)

// hope keeps a client for a moment, unless there are too many such.
func (l *loop) hope(c *accepted, why Rejection) bool {
	if len(l.hopeful) >= MaxPendingClients || l.stopping {
		return false
	}
	l.hopeful = append(l.hopeful, hopeful{accepted: *c, why: why, until: l.now + hopeFor, looked: l.now})
	return true
}

// judgeAgain lets in those for whom there is room now, and turns away those who have waited long enough.
func (l *loop) judgeAgain() {
	left := l.hopeful[:0]
	for i := range l.hopeful {
		h := l.hopeful[i]
		if l.now-h.looked < hopeEvery {
			left = append(left, h)
			continue
		}
		h.looked = l.now
		h.looks++
		switch why := l.letIn(&h.accepted); {
		case why == Admitted:
			l.seat(&h.accepted)
		case why.passing() && (l.now < h.until || h.looks < hopeLooks):
			left = append(left, h)
		default:
			l.turnAway(&h.accepted, why)
		}
	}
	l.hopeful = left
}

// giveUp turns all of them away.
func (l *loop) giveUp() {
	for i := range l.hopeful {
		l.turnAway(&l.hopeful[i].accepted, RejectedStopping)
	}
	l.hopeful = nil
}

// other is a loop that has clearly fewer sessions than this one. One is looked at, in turn.
func (l *loop) other() *loop {
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

// admit begins the session of a client that this loop was given.
func (l *loop) admit(c *accepted) {
	a := &c.set.Admission
	if l.stopping {
		l.live.Add(-1)
		a.leave(&c.pass, c.from.Addr())
		l.plane.departed()
		l.turnAway(c, RejectedStopping)
		return
	}
	a.catchUp(&c.pass, c.from.Addr())
	l.open().begin(l, c)
}
