package l4

// From server to client: replies and errors of a flow's socket.

import (
	"math"

	"golang.org/x/sys/unix"
)

// handleEvent handles an event of the socket that is connected to the server.
func (f *flow) handleEvent(l *loop, events uint32) {
	if f.fd < 0 || f.frozen {
		return
	}
	failed := errno(0)
	if events&unix.EPOLLERR != 0 {
		failed = socketError(f.fd)
		discardErrors(f.fd)
	}
	id := f.id
	if e := f.receiveReplies(l); e != 0 {
		failed = e
	}
	if f.id == id && f.fd >= 0 && isRefusal(failed) && !f.lingering {
		f.handleRefusal(l, failed)
	}
}

// handleRefusal connects to the next server and resends the last unanswered datagram.
func (f *flow) handleRefusal(l *loop, e errno) {
	if !f.nextServer(l, e) {
		f.socket.drop(f.dropReason(), 1)
		return
	}
	if f.kept == nil {
		return
	}
	f.batchKept(l)
	f.sendUp(l)
}

// batchKept makes the kept datagram the only content of the send batch.
func (f *flow) batchKept(l *loop) {
	m := l.udp
	m.up.clear()
	m.headers = m.headers[:0]
	var tlvs []byte
	if f.header != nil {
		tlvs = f.header.tlvs
	}
	m.up.add(f, &run{data: f.kept.data[:f.kept.size]}, 0, f.serverHeader(m, tlvs), false)
	f.unanswered, f.repliesLeft = 1, uint32(f.set.Responses)
}

// receiveReplies receives replies into the send batch of the listen socket. It returns the socket's error about earlier
// datagrams.
func (f *flow) receiveReplies(l *loop) errno {
	m := l.udp
	for round := 0; ; round++ {
		if m.downSocket != f.socket || batchSize-m.used < minFreeBuffers {
			l.flushReplies()
			m.downSocket = f.socket
		}
		n, e := recvMany(f.fd, m.msgs[m.used:])
		if e == eagain {
			return 0
		}
		if e != 0 {
			discardErrors(f.fd)
			return e
		}
		asked := batchSize - m.used
		first := m.used
		m.used += n
		l.joinable += n - 1
		if !f.lingering {
			f.replyReceived(l)
		}
		for i := first; i < first+n; i++ {
			p, _, whole := m.received(i)
			if !whole {
				f.socket.drop(DropTruncated, 1)
				continue
			}
			if f.queueReply(l, &p) {
				return 0
			}
		}
		if f.consider(l); n < asked {
			return 0
		}
		f.mayOverflow = true
		if round == maxRounds-1 { // others first; registering again triggers the edge again
			epollControl(l.epfd, unix.EPOLL_CTL_MOD, f.fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(f.slot)|flowBit, int32(uint32(f.id)))
			return 0
		}
	}
}

// replyReceived marks the server as established and the flow as active.
func (f *flow) replyReceived(l *loop) {
	f.activeAt = l.now
	f.markDirty(l)
	switch f.server {
	case serverEstablished:
		f.joinReplies()
	case serverPending:
		f.server = serverEstablished
		took := l.now - f.sentAt
		f.lease.Established(l.now, took)
		if t := f.target.counts(l); t != nil {
			store(&t.connectNanos, t.connectNanos+uint64(took))
		}
	}
	if f.stage == stageUnanswered {
		f.socket.table.setStage(f, stageUnconfirmed, l.now)
		if f.firstByte == 0 {
			f.firstByte.set(l.now - f.startedAt)
			if f.set.Cluster.MeasuresAnswers() {
				f.lease.Answered(l.now, l.now-f.sentAt)
			}
		}
	}
	if f.attempts != nil {
		l.attemptsPool.put(f.attempts)
		f.attempts = nil
	}
}

// joinReplies lets the kernel join replies that arrive together. The system call is saved for flows that end after one
// batch of replies, and for those with few responses.
func (f *flow) joinReplies() {
	f.server = serverJoined
	if f.set.Responses == 0 || f.set.Responses > fewResponses {
		setOption(f.fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	}
}

// queueReply adds a reply to the send batch. It reports true if that was the flow's last reply and the flow has ended.
func (f *flow) queueReply(l *loop, p *run) bool {
	n := uint32(p.datagrams())
	if f.repliesLeft > 0 && n > f.repliesLeft {
		n = f.repliesLeft
		p.data = p.data[:int(n)*p.size]
	}
	m := l.udp
	split := p.size > int(f.maxSegmentDown)
	if !m.down.fits(p, split) {
		l.sendReplies()
	}
	m.down.add(f, p, int(f.maxSegmentDown), nil, split)
	f.bytesDown += uint64(len(p.data))
	if f.lingering {
		return false
	}
	if f.unanswered -= min(n, f.unanswered); f.unanswered == 0 && f.kept != nil {
		l.kept.drop(f)
	}
	if f.repliesLeft > 0 {
		if f.repliesLeft -= n; f.repliesLeft == 0 {
			f.finish(l, ReasonResponsesComplete)
			return true
		}
	}
	if f.pendingReason != ReasonNone && f.unanswered == 0 {
		f.finish(l, f.pendingReason)
		return true
	}
	return false
}

// flushReplies sends all replies and frees their buffers.
func (l *loop) flushReplies() {
	l.sendReplies()
	l.udp.used = 0
}

// sendReplies sends the gathered replies.
func (l *loop) sendReplies() {
	m := l.udp
	o := &m.down
	if o.empty() {
		return
	}
	defer o.countTaken(&m.downSocket.counters.DatagramsDown)
	for again := false; !o.empty(); {
		e := o.send(m.downSocket.fd)
		if e == 0 {
			break
		}
		a := &o.messages[o.sent]
		lost, bytes := a.segments, a.total
		switch {
		case a.segments > 1 && isSegmentError(e):
			if a.flow.id == a.id {
				a.flow.maxSegmentDown = smallerSegment(a.flow.maxSegmentDown, a.size, e)
			}
			lost, bytes, e = o.sendSingly(m.downSocket.fd)
		case isRefusal(e) && !again: // perhaps an ICMP error of an earlier reply
			again = true
			continue
		default:
			o.sent++
		}
		again = false
		if lost > 0 {
			m.downSocket.drop(dropOf(e), lost)
			if a.flow.id == a.id {
				a.flow.bytesDown -= uint64(bytes)
			}
		}
	}
	o.clear()
}

// setAddresses stores the client's address and the source address in a message. It returns the size of the control
// data.
func (f *flow) setAddresses(h *unix.Msghdr, name *sockaddr, c *control) int {
	u := f.socket
	local := f.key.local()
	h.Namelen = name.put(u.family, f.key.ip(), f.key.port(), f.key.scope())
	if !u.wildcard || *local == [16]byte{} {
		return 0
	}
	scope := uint32(0)
	if local[0] == 0xfe && local[1]&0xc0 == 0x80 { // link-local: on the client's interface
		scope = f.key.scope()
	}
	return c.putSource(0, u.family, local, scope)
}
