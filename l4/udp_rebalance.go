package l4

// Balancing a flow again: after max_flow_age or a number of requests, when its server has drained, and when a better level
// is back. Replies to the old socket are delivered for another second by a lingering flow, which has only that socket: it
// is in no table, holds no lease and no slot of the listener, and no observer sees it.

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

const (
	// lingerTimeout is how long replies to an old socket are delivered.
	lingerTimeout = time.Second
	// maxLingering is the most lingering flows of a loop; the oldest ends for a new one.
	maxLingering = 1024
	// rebalancePause is how long a flow stays with its server after no other was found.
	rebalancePause = time.Second
)

// mustRebalance reports whether the flow's next datagram is balanced again.
func (f *flow) mustRebalance(l *loop) bool {
	set := f.set
	if set.Requests > 0 && f.requests >= uint32(set.Requests) || set.MaxFlowAge > 0 && l.now-f.balancedAt >= set.MaxFlowAge {
		return true
	}
	if moves := uint32(set.Cluster.Moves()); moves != f.moves {
		f.moves, f.leaveAt = moves, 0
		if at, leave := set.Cluster.LeaveAt(&f.lease, set.Levels, set.Drain); leave {
			f.leaveAt = max(at, 1)
		}
	}
	return f.leaveAt > 0 && l.now >= f.leaveAt
}

// rebalance picks a server for the datagrams that follow. If there is none, or it is the same one, the flow keeps its
// socket.
func (f *flow) rebalance(l *loop) {
	t := &l.attempts
	f.startAttempts(t)
	f.requests, f.balancedAt = 0, l.now
	lease, err := f.set.Cluster.Pick(l.now, t)
	if err != nil {
		f.leaveAt = l.now + rebalancePause
		return
	}
	f.leaveAt, f.moves = 0, 0
	if lease.Server() == f.lease.Server() {
		f.lease.Done(l.now)
		f.lease = lease
		return
	}
	f.linger(l)
	f.releaseServer(l)
	f.searchedAt = l.now
	f.useLease(l, t, lease)
}

// linger gives the flow's socket to a lingering flow. Without room the socket closes with releaseServer.
func (f *flow) linger(l *loop) {
	if l.lingering.n >= maxLingering {
		l.lingering.oldest.finishLingering(l)
	}
	if f.fd < 0 || l.stopping || !l.plane.acquireSession() {
		return
	}
	f.demote(l, DemotedServer)
	o, slot := l.flows.acquire()
	l.lastID++
	o.id, o.slot = l.lastID*uint64(len(l.plane.loops))+uint64(l.index), slot
	o.socket, o.set, o.key, o.header = f.socket, f.set, f.key, f.header
	o.target = f.target
	o.fd, o.touchedIndex, o.local, o.maxSegmentDown = f.fd, -1, f.local, f.maxSegmentDown
	o.overflowed, o.mayOverflow = f.overflowed, f.mayOverflow
	o.startedAt, o.activeAt, o.stage, o.server, o.lingering = f.startedAt, l.now, stageConfirmed, serverEstablished, true
	o.timer.owner = o
	f.fd = -1
	f.socket.ln.flows.Add(1)
	l.live.Add(1)
	l.lingering.add(o)
	l.flowWheel.arm(&o.timer, l.now+lingerTimeout)
	if epollControl(l.epfd, unix.EPOLL_CTL_MOD, o.fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(o.slot)|flowBit, int32(uint32(o.id))) != 0 {
		o.finishLingering(l)
	}
}

// finishLingering closes the socket of a lingering flow. It receives nothing: the buffers may hold a batch of clients.
func (f *flow) finishLingering(l *loop) {
	l.flowWheel.stop(&f.timer)
	l.lingering.remove(f)
	f.disconnect(l)
	f.flushBytes(l)
	ln := f.socket.ln
	l.plane.releaseSession()
	l.flows.release(f.slot)
	l.live.Add(-1)
	ln.releaseFlow()
}

// useLease connects to the server of a lease, or else to the next one. It reports whether the flow has a server.
func (f *flow) useLease(l *loop, t *balance.Attempts, lease balance.Lease) bool {
	f.lease = lease
	e := f.attempt(l)
	if e == 0 {
		f.lastFailure = ReasonNone
		return true
	}
	f.releaseFailed(l, e)
	if isShortage(e) {
		f.clearServer(l)
		return false
	}
	return f.pick(l, t)
}
