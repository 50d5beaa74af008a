package l4

// The way down of a flow: what its socket says of the server, and the server's replies to the client.

import (
	"math"

	"golang.org/x/sys/unix"
)

// handleEvent takes in what has happened to the socket towards the server.
func (f *flow) wake(l *loop, events uint32) {
	if f.fd < 0 || f.frozen {
		return
	}
	failed := errno(0)
	if events&unix.EPOLLERR != 0 {
		failed = socketError(f.fd)
		discardErrors(f.fd)
	}
	id := f.id
	if e := f.read(l); e != 0 {
		failed = e
	}
	if f.id == id && f.fd >= 0 && isRefusal(failed) {
		f.failed(l, failed)
	}
}

// failed goes on to the next server after a refusal, and sends it the last datagram that is not answered.
func (f *flow) failed(l *loop, e errno) {
	if !f.refused(l, e) {
		f.inlet.drop(f.dropped(), 1)
		return
	}
	if f.kept == nil {
		return
	}
	f.pack(l)
	f.push(l)
}

// pack puts the kept datagram into the outbox, and nothing else.
func (f *flow) pack(l *loop) {
	m := l.datagrams
	m.up.clear()
	m.headers = m.headers[:0]
	var tlvs []byte
	if f.said != nil {
		tlvs = f.said.tlvs
	}
	m.up.add(f, &run{data: f.kept.data[:f.kept.size]}, 0, f.header(m, tlvs), false)
	f.unanswered, f.owed = 1, uint32(f.set.Responses)
}

// read takes in replies and puts them into the outbox of the listening socket. It returns what the socket says about
// earlier datagrams.
func (f *flow) read(l *loop) errno {
	m := l.datagrams
	for round := 0; ; round++ {
		if m.from != f.inlet || batchSize-m.used < roomWanted {
			l.deliver()
			m.from = f.inlet
		}
		n, e := recvMany(f.fd, m.in[m.used:])
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
		f.answered(l)
		for i := first; i < first+n; i++ {
			p, _, whole := m.take(i)
			if !whole {
				f.inlet.drop(DropTruncated, 1)
				continue
			}
			if f.reply(l, &p) {
				return 0
			}
		}
		if n < asked {
			return 0
		}
		f.crowded = true
		if round == roundsMax-1 { // others first: to be told again is to be edge-triggered again
			epollControl(l.epfd, unix.EPOLL_CTL_MOD, f.fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(f.slot)|flowBit, int32(uint32(f.id)))
			return 0
		}
	}
}

// answered notes that the server is there.
func (f *flow) answered(l *loop) {
	f.activeAt = l.now
	f.touch(l)
	if !f.standing {
		f.standing = true
		took := l.now - f.sentAt
		f.lease.Established(l.now, took)
		if t := f.stats; t != nil {
			store(&t.connectNanos, t.connectNanos+uint64(took))
		}
	}
	if f.waiting {
		f.inlet.table.settle(f)
		if f.firstByte == 0 {
			f.firstByte.set(l.now - f.begun)
		}
	}
	if f.trial != nil {
		l.attemptsPool.put(f.trial)
		f.trial = nil
	}
}

// reply passes on what the server has said. It reports true when that was the last of it and has ended the flow.
func (f *flow) reply(l *loop, p *run) bool {
	n := uint32(p.datagrams())
	if f.owed > 0 && n > f.owed {
		n = f.owed
		p.data = p.data[:int(n)*p.size]
	}
	m := l.datagrams
	apart := p.size > int(f.joinDown)
	if !m.down.room(p, apart) {
		l.sendDown()
	}
	m.down.add(f, p, int(f.joinDown), nil, apart)
	f.bytesDown += uint64(len(p.data))
	if f.unanswered -= min(n, f.unanswered); f.unanswered == 0 && f.kept != nil {
		l.kept.drop(f)
	}
	if f.owed > 0 {
		if f.owed -= n; f.owed == 0 {
			f.finish(l, RelayResponses)
			return true
		}
	}
	if f.farewell != NotEnded && f.unanswered == 0 {
		f.finish(l, f.farewell)
		return true
	}
	return false
}

// flush sends all replies, and has their buffers free again.
func (l *loop) deliver() {
	l.sendDown()
	l.datagrams.used = 0
}

// sendDown sends the replies that have gathered.
func (l *loop) sendDown() {
	m := l.datagrams
	o := &m.down
	for again := false; !o.empty(); {
		e := o.send(m.from.fd)
		if e == 0 {
			break
		}
		a := &o.about[o.sent]
		lost, bytes := a.segments, a.total
		switch {
		case a.segments > 1 && cannotJoin(e):
			if a.flow.id == a.id {
				a.flow.joinDown = joinBelow(a.flow.joinDown, a.size, e)
			}
			lost, bytes, e = o.sendApart(m.from.fd)
		case isRefusal(e) && !again: // perhaps what the network says about an earlier reply
			again = true
			continue
		default:
			o.sent++
		}
		again = false
		if lost > 0 {
			m.from.drop(dropOf(e), lost)
			if a.flow.id == a.id {
				a.flow.bytesDown -= uint64(bytes)
			}
		}
	}
	o.clear()
}

// addressed says in a message that it goes to the client, and from which address.
func (f *flow) addressed(h *unix.Msghdr, name *sockaddr, c *control) int {
	in := f.inlet
	local := f.key.local()
	h.Namelen = name.put(in.family, f.key.ip(), f.key.port(), f.key.scope())
	if !in.wild || *local == [16]byte{} {
		return 0
	}
	scope := uint32(0)
	if local[0] == 0xfe && local[1]&0xc0 == 0x80 { // link-local: of the interface where the client is
		scope = f.key.scope()
	}
	return c.putSource(0, in.family, local, scope)
}
