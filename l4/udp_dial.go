package l4

// How a flow finds a server, and the next one after a refusal.

import (
	"math"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// findServer picks a server, regardless of those tried before. It reports whether the flow has one.
func (f *flow) findServer(l *loop) bool {
	if f.lastFailure != ReasonNone && l.now < f.searchedAt {
		return false
	}
	f.searchedAt = l.now
	f.requests, f.balancedAt, f.moves, f.leaveAt = 0, l.now, 0, 0
	f.startAttempts(&l.attempts)
	return f.pick(l, &l.attempts)
}

// startAttempts resets attempts to the flow's levels and hash key, with no server tried.
func (f *flow) startAttempts(t *balance.Attempts) {
	*t = balance.Attempts{Levels: f.set.Levels}
	var header *proxy.Header
	if f.header != nil {
		header = &proxy.Header{TLVs: f.header.tlvs}
	}
	t.Key, t.Keyed = f.set.hashKey(f.client(), f.localAddress, header)
}

// pick acquires a lease on a server and connects to it. After a failure it picks the next one.
func (f *flow) pick(l *loop, t *balance.Attempts) bool {
	for {
		lease, err := f.set.Cluster.Pick(l.now, t)
		if err != nil {
			if f.lastFailure == ReasonNone || t.Count() == 0 {
				f.lastFailure = ReasonNoServer
			}
			break
		}
		f.lease = lease
		e := f.attempt(l)
		if e == 0 {
			f.lastFailure = ReasonNone
			if t == &l.attempts && t.Count() > 1 {
				f.attempts = l.attemptsPool.get()
				*f.attempts, l.attempts = *t, balance.Attempts{} // moves its memory
			}
			return true
		}
		f.releaseFailed(l, e)
		if isShortage(e) {
			break
		}
		if l.tryTimedOut(f.set, f.searchedAt) {
			f.lastFailure = ReasonTryTimeout
			break
		}
	}
	f.clearServer(l)
	return false
}

// clearServer leaves the flow without a server for retryPause.
func (f *flow) clearServer(l *loop) {
	l.attemptsPool.put(f.attempts)
	f.attempts = nil
	f.searchedAt = l.now + retryPause
	if f.kept != nil {
		l.kept.drop(f)
	}
	f.moveDeadline, f.pendingReason = 0, ReasonNone
	f.unanswered, f.repliesLeft = 0, 0
}

// attempt connects to the server of the lease.
func (f *flow) attempt(l *loop) errno {
	if f.attemptCount < math.MaxUint16 {
		f.attemptCount++
	}
	f.flushBytes(l)
	f.target = targetOf(f.lease.Server())
	f.server = serverPending
	counts := f.target.counts(l)
	counts.countAttempt(f.attemptCount)
	e := f.connectFrom(l, 0)
	if e == 0 {
		if counts != nil {
			store(&counts.sessions, counts.sessions+1)
		}
		l.flowWheel.arm(&f.timer, l.now+min(f.set.ConnectTimeout, f.set.FlowTimeout))
	}
	return e
}

// connectFrom connects to the first of the target's addresses, from the given index on, that works.
func (f *flow) connectFrom(l *loop, address int) errno {
	return f.target.connect(address, syscall.EDESTADDRREQ, func(address int) errno { return f.tryConnect(l, address) })
}

func (f *flow) tryConnect(l *loop, address int) errno {
	if address >= unknownAddress { // more than f.address can hold
		return syscall.EAFNOSUPPORT
	}
	to, e := f.target.socketAddress(address, f.wantedPort)
	if e != 0 {
		return e
	}
	fd, e := f.target.openUDP(address, f.client().Addr(), f.set.Responses > 0 && f.set.Responses <= fewResponses)
	if e != 0 {
		return e
	}
	if e = connectSocket(fd, to); e == 0 {
		e = epollControl(l.epfd, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(f.slot)|flowBit, int32(uint32(f.id)))
	}
	if e != 0 {
		closeFD(fd)
		return e
	}
	f.local = l.plane.flowAddresses.add(ownAddressOf(fd))
	f.fd, f.address, f.maxSegmentUp, f.overflowed = fd, uint8(address), l.maxSegment, 0
	f.moveDeadline, f.pendingReason = 0, ReasonNone
	f.server = min(f.server, serverEstablished)
	if f.connected == 0 {
		f.connected.set(l.now - f.startedAt)
	}
	f.sentAt = l.now
	return 0
}

// nextServer leaves a server that has refused, and connects to its next address or to the next server. It reports
// whether the flow has one. It sends nothing.
func (f *flow) nextServer(l *loop, e errno) bool {
	f.disconnect(l)
	if f.connectFrom(l, int(f.address)+1) == 0 {
		return true
	}
	if f.attempts == nil {
		f.attempts = l.attemptsPool.get()
		f.startAttempts(f.attempts)
		f.attempts.Add(&f.lease)
		f.searchedAt = l.now
	}
	f.releaseFailed(l, e)
	if l.tryTimedOut(f.set, f.searchedAt) {
		f.lastFailure = ReasonTryTimeout
		f.clearServer(l)
		return false
	}
	return f.pick(l, f.attempts)
}

// releaseFailed releases the lease of a failed attempt.
func (f *flow) releaseFailed(l *loop, e errno) {
	f.lastFailure = l.releaseFailed(&f.lease, f.set, f.target.counts(l), e)
}

// unknownAddress stands for an address that the target does not have any more.
const unknownAddress = math.MaxUint8

// serverAddress returns the address of the server.
func (f *flow) serverAddress() netip.AddrPort { return f.target.at(int(f.address), f.wantedPort()) }

// serverMoved reports whether the server has had another address for the drain time, so that the flow must follow: at
// the old address, datagrams may be lost without an error.
func (f *flow) serverMoved(l *loop) bool {
	now := targetOf(f.lease.Server())
	if now == nil || now.departed {
		return false
	}
	if f.target == nil || f.target.departed {
		f.setTarget(now)
	}
	if now == f.target && f.address != unknownAddress {
		return false
	}
	if f.address != unknownAddress {
		if _, has := now.find(f.serverAddress(), f.wantedPort()); has {
			f.moveDeadline = 0
			return false
		}
	}
	if f.moveDeadline == 0 {
		f.moveDeadline = l.now + f.socket.ln.set.Load().Drain
	}
	return l.now >= f.moveDeadline
}

// reconnect connects to the server's current address, for datagrams that arrive from now on.
func (f *flow) reconnect(l *loop) {
	f.linger(l)
	f.disconnect(l)
	l.kept.drop(f)
	f.unanswered, f.repliesLeft, f.server, f.requests = 0, 0, serverPending, 0
	f.target = targetOf(f.lease.Server())
	f.lease.Follow()
	if f.connectFrom(l, 0) != 0 {
		f.releaseServer(l)
		return
	}
	l.flowWheel.arm(&f.timer, l.now+min(f.set.ConnectTimeout, f.set.FlowTimeout))
}

// releaseServer leaves a server that is out of service. The client's next datagram picks another.
func (f *flow) releaseServer(l *loop) {
	f.disconnect(l)
	f.flushBytes(l)
	f.lease.Done(l.now)
	l.kept.drop(f)
	l.attemptsPool.put(f.attempts)
	f.attempts, f.target, f.lease = nil, nil, balance.Lease{}
	f.moveDeadline, f.pendingReason = 0, ReasonNone
	f.unanswered, f.repliesLeft = 0, 0
}

func (f *flow) disconnect(l *loop) {
	f.demote(l, DemotedServer)
	f.promotion = promotionOpen
	if f.fd >= 0 {
		f.countOverflow()
		f.socket.ln.plane.flowAddresses.remove(f.local)
		closeFD(f.fd)
		f.fd = -1
	}
}

// countOverflow counts replies for which the kernel had no room. There are some only if more were waiting than fit a
// batch.
func (f *flow) countOverflow() {
	if f.fd < 0 || !f.mayOverflow {
		return
	}
	f.mayOverflow = false
	now := overflows(f.fd)
	if n := now - f.overflowed; n > 0 {
		f.overflowed = now
		f.socket.drop(DropOverflow, int(n))
	}
}

// attemptsPool holds Attempts for flows whose server has refused.
type attemptsPool struct {
	free []*balance.Attempts
}

func (p *attemptsPool) get() *balance.Attempts {
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t
	}
	return new(balance.Attempts)
}

// put returns Attempts to the pool; nil is none.
func (p *attemptsPool) put(t *balance.Attempts) {
	if t != nil && len(p.free) < 256 {
		*t = balance.Attempts{}
		p.free = append(p.free, t)
	}
}
