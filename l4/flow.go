package l4

// A UDP flow: what one client and one server say to each other. It begins with a client's first datagram (inlet.go), has
// a connected socket of its own towards its server, and ends when nothing has been said for a while. Nothing of a flow
// is kept anywhere but in this struct, in the datagram that is kept of it and in the trial that it may have borrowed.

import (
	"math"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/internal/proxy"
)

// flow is one client's passage. All of it is owned by its loop. It is kept small: there are as many as strangers make.
type flow struct {
	id     uint64 // unique among sessions; 0 = free
	inlet  *inlet
	set    *Settings // as it was when the flow began
	lease  balance.Lease
	target *Target
	stats  *serverTally   // the loop's for the server
	trial  *balance.Trial // who was tried, after a refusal, until a server has answered
	kept   *keptDatagram  // the last datagram, while it is not answered
	said   *introduction  // nil where clients come without a PROXY header
	timer  timer[*flow]

	next         *flow // in its chain of the table
	older, newer *flow // among those without an answer

	bytesUp, bytesDown     uint64
	flushedUp, flushedDown uint64 // bytes that are counted

	begun    time.Duration
	activeAt time.Duration // last datagram, either way
	soughtAt time.Duration // when it began to look for a server; with no server, when it may look again
	sentAt   time.Duration // last datagram to the server

	connected since // 0 = not yet
	firstByte since // when the first reply was passed on; 0 = not yet

	hash       uint32 // of the key
	slot       uint32
	fd         int32  // the socket towards the server; -1 = there is no server
	unanswered uint32 // datagrams of the client that have had no reply
	owed       uint32 // replies that end the flow, with Settings.Responses

	first, last int32 // of the batch's runs; first < 0 = none
	turn        int32 // its place among the flows that the batch is for

	attempts         uint16
	joinUp, joinDown uint16 // the largest datagrams that may leave in one send; 0 = none
	address          uint8  // which of the target's addresses is in use
	fault            End    // why there is no server
	pass             pass   // what it holds of the listener's gate
	key              flowKey

	listed   bool // in the table: the client's next datagram finds it
	waiting  bool // among those without an answer
	standing bool // the server has answered, or not refused for long enough
	dirty    bool // has moved bytes that are not counted yet
	frozen   bool // on its way to another process: nothing touches it
}

// introduction is what a PROXY header says of a flow's client.
type introduction struct {
	client, dest netip.AddrPort // zero = the socket's own
	local        bool           // the proxy speaks for itself
	tlvs         []byte         // of the last datagram
}

// named is the client that the header names; zero without one.
func (i *introduction) named() netip.AddrPort {
	if i == nil {
		return netip.AddrPort{}
	}
	return i.client
}

func (f *flow) named() netip.AddrPort { return f.said.named() }

// client is who speaks, as far as is known.
func (f *flow) client() netip.AddrPort {
	if named := f.said.named(); named.IsValid() {
		return named
	}
	return f.key.client()
}

const (
	// joinAny lets datagrams of any size leave in one send.
	joinAny = math.MaxUint16
	// seekPause is how long a flow for which no server could be had does not look again: one client must not be able to
	// have servers dialled in a frenzy.
	seekPause = 20 * time.Millisecond
)

func (f *flow) phase() string {
	switch {
	case f.fd < 0:
		return "unserved"
	case f.waiting:
		return "unanswered"
	}
	return "relay"
}

// begin makes a flow of a client that is counted in.
func (f *flow) begin(l *loop, in *inlet, set *Settings, key *flowKey, hash uint32) {
	l.lastID++
	f.id = l.lastID*uint64(len(l.plane.loops)) + uint64(l.index)
	f.inlet, f.set, f.key, f.hash = in, set, *key, hash
	f.fd, f.first = -1, -1
	f.begun, f.activeAt = l.now, l.now
	f.joinDown = l.join
	f.timer.owner = f
	in.table.insert(f)
	in.table.await(f)
	in.ln.flows.Add(1)
	store(&in.tally.Sessions, in.tally.Sessions+1)
	l.live.Add(1)
	l.flowWheel.arm(&f.timer, l.now+set.FlowTimeout)
}

// queue adds a run of the batch to what the flow is to forward.
func (f *flow) queue(m *mailroom, p *run) {
	i := int32(len(m.runs))
	m.runs = append(m.runs, *p)
	if f.first >= 0 {
		m.runs[f.last].next = i
	} else {
		f.first, f.turn = i, int32(len(m.touched))
		m.touched = append(m.touched, f)
	}
	f.last = i
}

func (f *flow) queued() bool { return f.first >= 0 }

// forward sends what the flow got in this batch to its server, after finding one if it has none.
func (f *flow) forward(l *loop) {
	m := l.datagrams
	first := f.first
	f.first = -1
	f.activeAt = l.now
	if f.fd >= 0 && f.lease.Server().Out() {
		f.leave(l)
	}
	if f.said != nil {
		f.said.tlvs = append(f.said.tlvs[:0], m.runs[f.last].tlvs...)
	}
	if f.fd < 0 && !f.seek(l) {
		f.lose(l, m, first)
		return
	}
	o := &m.up
	o.clear()
	m.headers = m.headers[:0]
	var header []byte
	var p *run
	for i := first; i >= 0; i = p.next {
		p = &m.runs[i]
		if header == nil || f.said != nil {
			header = f.header(m, p.tlvs)
		}
		apart := p.size > int(f.joinUp) || header != nil
		if !o.room(p, apart) && !f.push(l) {
			f.lose(l, m, i)
			return
		}
		n := uint32(p.datagrams())
		f.unanswered += n
		f.owed += n * uint32(f.set.Responses)
		f.bytesUp += uint64(len(p.data))
		o.add(f, p, int(f.joinUp), header, apart)
	}
	l.kept.keep(f, p.last())
	f.touch(l)
	f.push(l)
}

// header is the PROXY header that goes before each datagram to the server; nil = none.
func (f *flow) header(m *mailroom, tlvs []byte) []byte {
	if f.target.sendProxy == 0 {
		return nil
	}
	h := proxy.Header{Version: 2, Local: f.said != nil && f.said.local, Transport: proxy.Datagram, Source: f.client(), Dest: f.localAddress(), TLVs: tlvs}
	from := len(m.headers)
	m.headers = h.Append(m.headers)
	return m.headers[from:]
}

// lose counts the runs from the given one on as dropped.
func (f *flow) lose(l *loop, m *mailroom, first int32) {
	n := 0
	for i := first; i >= 0; i = m.runs[i].next {
		n += m.runs[i].datagrams()
	}
	f.inlet.drop(f.dropped(), n)
}

// dropped is why a flow without a server drops.
func (f *flow) dropped() Drop {
	if f.fault == DialLocalShortage {
		return DropShortage
	}
	return DropNoServer
}

// touch has the bytes counted within a second.
func (f *flow) touch(l *loop) {
	if !f.dirty {
		f.dirty = true
		l.dirtyFlows = append(l.dirtyFlows, f)
	}
}

// push sends what is in the outbox to the server, and to the next one if this one turns out to refuse. It reports false
// when there is no server left; what was not sent is dropped then.
func (f *flow) push(l *loop) bool {
	o := &l.datagrams.up
	for again := false; ; {
		e := o.send(f.fd)
		if e == 0 {
			break
		}
		m := &o.about[o.sent]
		switch {
		case isRefusal(e): // of an earlier datagram: nothing has been sent now
			was := f.target.sendProxy
			if f.refused(l, e) && f.target.sendProxy == was {
				continue
			}
			n := 0
			for ; !o.empty(); o.sent++ {
				n += o.about[o.sent].segments
				f.bytesUp -= uint64(o.about[o.sent].total)
			}
			if f.fd >= 0 && f.kept != nil { // the header of the old server is not what this one wants
				n--
				f.pack(l)
				f.inlet.drop(f.dropped(), n)
				continue
			}
			f.inlet.drop(f.dropped(), n)
			o.clear()
			return false
		case m.segments > 1 && cannotJoin(e):
			f.joinUp = joinBelow(f.joinUp, m.size, e)
			lost, bytes, why := o.sendApart(f.fd)
			f.unsent(lost, bytes, why)
		case e == syscall.EMSGSIZE && !again: // perhaps said of an earlier datagram
			again = true
			discardErrors(f.fd)
			continue
		default:
			f.unsent(m.segments, m.total, e)
			o.sent++
		}
		again = false
	}
	o.clear()
	f.sentAt = l.now
	return true
}

// unsent counts datagrams that the socket did not take.
func (f *flow) unsent(n, bytes int, why errno) {
	if n > 0 {
		f.bytesUp -= uint64(bytes)
		f.inlet.drop(dropOf(why), n)
	}
}

func dropOf(e errno) Drop {
	if e == syscall.EMSGSIZE {
		return DropTooLarge
	}
	return DropSend
}

// cannotJoin reports whether an error may mean that the kernel cannot cut up this send, here or for this size.
func cannotJoin(e errno) bool {
	switch e {
	case syscall.EINVAL, syscall.EMSGSIZE, syscall.EIO, syscall.EOPNOTSUPP, syscall.ENOPROTOOPT:
		return true
	}
	return false
}

// joinBelow is what may still be joined after that.
func joinBelow(now uint16, size int, e errno) uint16 {
	if e == syscall.EINVAL || e == syscall.EMSGSIZE { // larger than what one packet holds on the way there
		return uint16(min(int(now), size-1))
	}
	return 0
}

// isRefusal reports whether an error of a connected socket says that the server, or the network on its behalf, has
// refused a datagram (icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c).
func isRefusal(e errno) bool {
	switch e {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENONET,
		syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EACCES:
		return true
	}
	return false
}

// seek looks for a server, whoever was tried before. It reports whether there is one.
func (f *flow) seek(l *loop) bool {
	if f.fault != NotEnded && l.now < f.soughtAt {
		return false
	}
	f.soughtAt = l.now
	f.aim(&l.trial)
	return f.pick(l, &l.trial)
}

// aim makes a trial that of this flow, with nobody tried yet.
func (f *flow) aim(t *balance.Trial) {
	*t = balance.Trial{Levels: f.set.Levels}
	switch f.set.Hash {
	case NoHash:
	case HashProxyTLV:
		if f.said != nil {
			h := proxy.Header{TLVs: f.said.tlvs}
			value, _ := h.TLV(f.set.HashTLV)
			t.Key, t.Keyed = balance.HashKey(value), len(value) > 0
		}
	case HashLocalAddress:
		t.Key, t.Keyed = f.set.addressKey(f.localAddress())
	default:
		t.Key, t.Keyed = f.set.addressKey(f.client())
	}
}

// pick claims a server and connects to it. A failure that is known at once leads on to the next one.
func (f *flow) pick(l *loop, t *balance.Trial) bool {
	for {
		lease, err := f.set.Cluster.Pick(l.now, t)
		if err != nil {
			if f.fault == NotEnded || t.Attempts() == 0 {
				f.fault = DialNoServer
			}
			break
		}
		f.lease = lease
		e := f.attempt(l)
		if e == 0 {
			f.fault = NotEnded
			if t == &l.trial && t.Attempts() > 1 {
				f.trial = l.trials.get()
				*f.trial, l.trial = *t, balance.Trial{} // what it holds in memory goes along
			}
			return true
		}
		f.judge(l, e)
		if isShortage(e) {
			l.plane.complain("cannot reach a server: out of descriptors or memory", "listener", f.set.Name, "error", e)
			break
		}
		if f.set.overTry(l.now - f.soughtAt) {
			f.fault = DialTryTimeout
			break
		}
	}
	f.forsake(l)
	return false
}

// forsake leaves a flow without a server, for a while.
func (f *flow) forsake(l *loop) {
	l.trials.put(f.trial)
	f.trial = nil
	f.soughtAt = l.now + seekPause
	if f.kept != nil {
		l.kept.drop(f)
	}
	f.unanswered, f.owed = 0, 0
}

// attempt connects to the server of the lease.
func (f *flow) attempt(l *loop) errno {
	if f.attempts < math.MaxUint16 {
		f.attempts++
	}
	f.flushBytes()
	f.target, _ = f.lease.Server().Handle().(*Target)
	f.stats = f.target.tally(l)
	f.standing = false
	if t := f.stats; t != nil {
		store(&t.dials, t.dials+1)
		if f.attempts > 1 {
			store(&t.retries, t.retries+1)
		}
	}
	e := f.connectFrom(l, 0)
	if e == 0 {
		if f.stats != nil {
			store(&f.stats.sessions, f.stats.sessions+1)
		}
		l.flowWheel.arm(&f.timer, l.now+min(f.set.ConnectTimeout, f.set.FlowTimeout))
	}
	return e
}

// connectFrom opens a socket towards the first of the target's addresses, from the given one on, that can be had.
func (f *flow) connectFrom(l *loop, address int) errno {
	e := syscall.EDESTADDRREQ
	for ; address < min(f.target.addresses(), math.MaxUint8); address++ {
		if e = f.connect(l, address); e == 0 || isShortage(e) {
			return e
		}
	}
	return e
}

// connect opens a socket to an address. A local address that is out of ports gives way to the next one.
func (f *flow) connect(l *loop, address int) errno {
	e := f.tryConnect(l, address)
	for n := f.target.from.tries(f.target.addrs[address].family()); n > 1 && (e == syscall.EADDRNOTAVAIL || e == eagain); n-- {
		e = f.tryConnect(l, address)
	}
	return e
}

func (f *flow) tryConnect(l *loop, address int) errno {
	fd, e := f.target.openDatagrams(address, f.client().Addr())
	if e != 0 {
		return e
	}
	if e = connectSocket(fd, &f.target.addrs[address]); e == 0 {
		e = epollControl(l.epfd, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(f.slot)|flowBit, int32(uint32(f.id)))
	}
	if e != 0 {
		closeFD(fd)
		return e
	}
	f.fd, f.address, f.joinUp = fd, uint8(address), l.join
	if f.connected == 0 {
		f.connected.set(l.now - f.begun)
	}
	f.sentAt = l.now
	return 0
}

// refused gives up a server that has refused, and connects to its next address or to the next server. It reports
// whether there is one. Nothing is sent.
func (f *flow) refused(l *loop, e errno) bool {
	f.disconnect()
	if f.address+1 < math.MaxUint8 && f.connectFrom(l, int(f.address)+1) == 0 {
		return true
	}
	if f.trial == nil {
		f.trial = l.trials.get()
		f.aim(f.trial)
		f.trial.Tried(&f.lease)
		f.soughtAt = l.now
	}
	f.judge(l, e)
	if f.set.overTry(l.now - f.soughtAt) {
		f.fault = DialTryTimeout
		f.forsake(l)
		return false
	}
	return f.pick(l, f.trial)
}

// judge gives the lease back: a refusal is the server's failure unless this machine was short of something.
func (f *flow) judge(l *loop, e errno) {
	f.fault = dialEnd(e)
	if isShortage(e) || isLocal(e) {
		f.lease.Done(l.now)
		return
	}
	f.lease.Fail(l.now)
	if t := f.stats; t != nil {
		store(&t.fails, t.fails+1)
	}
}

// leave parts with a server that is out of service; the client's next datagram finds another.
func (f *flow) leave(l *loop) {
	f.disconnect()
	f.flushBytes()
	f.lease.Done(l.now)
	l.kept.drop(f)
	l.trials.put(f.trial)
	f.trial, f.stats, f.target, f.lease = nil, nil, nil, balance.Lease{}
	f.unanswered, f.owed = 0, 0
}

func (f *flow) disconnect() {
	if f.fd >= 0 {
		closeFD(f.fd)
		f.fd = -1
	}
}

// wake takes in what has happened to the socket towards the server.
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
		l.trials.put(f.trial)
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
	return false
}

// deliver sends all replies, and has their buffers free again.
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

// expire handles the flow's timer: whatever is due is done, and the nearest deadline left is armed.
func (f *flow) expire(l *loop) {
	end := f.activeAt + f.set.FlowTimeout
	if l.now >= end && f.unanswered > 0 && f.fd >= 0 { // a reply may wait for its turn
		id := f.id
		if f.read(l); f.id != id {
			return
		}
		end = f.activeAt + f.set.FlowTimeout
	}
	if l.now >= end {
		if f.fd < 0 && f.fault != NotEnded {
			f.finish(l, f.fault)
			return
		}
		f.finish(l, RelayFlowTimeout)
		return
	}
	if f.fd >= 0 && !f.standing {
		// What a server does not refuse it is taken to have received: many never answer.
		if at := f.sentAt + f.set.ConnectTimeout; l.now >= at {
			f.standing = true
			f.lease.Established(l.now, f.set.ConnectTimeout)
		} else {
			end = min(end, at)
		}
	}
	l.flowWheel.arm(&f.timer, end)
}

// cut ends a flow from outside. One whose server has gone only loses that: there is nothing that could break.
func (f *flow) cut(l *loop, end End) {
	if f.frozen {
		return
	}
	if end == CutServerDown {
		f.leave(l)
		return
	}
	f.finish(l, end)
}

// finish is the one exit of every flow: its socket closed, the lease given back, what was lent returned, one record made.
func (f *flow) finish(l *loop, end End) {
	in := f.inlet
	if f.queued() {
		l.datagrams.touched[f.turn] = nil
	}
	l.flowWheel.stop(&f.timer)
	in.table.remove(f)
	in.table.settle(f)
	l.kept.drop(f)
	l.trials.put(f.trial)
	f.disconnect()
	f.flushBytes()
	server, level := f.lease.Server(), f.lease.Level()
	f.lease.Done(l.now)
	f.set.Admission.leave(&f.pass, f.client().Addr())
	store(&in.tally.Ended[end], in.tally.Ended[end]+1)
	in.tally.Lifetime.add(l.now - f.begun)
	if l.recorded(f.set, end) {
		l.plane.record(f.record(l.now, server, level, end))
	}
	l.plane.departed()
	l.flows.put(f)
	l.live.Add(-1)
	in.ln.flowEnded()
}

// flushBytes adds what the flow has moved since the last time to the counters.
func (f *flow) flushBytes() {
	up, down := f.bytesUp-f.flushedUp, f.bytesDown-f.flushedDown
	if up|down == 0 {
		return
	}
	f.flushedUp, f.flushedDown = f.bytesUp, f.bytesDown
	t := f.inlet.tally
	store(&t.BytesUp, t.BytesUp+up)
	store(&t.BytesDown, t.BytesDown+down)
	if f.stats != nil {
		store(&f.stats.up, f.stats.up+up)
		store(&f.stats.down, f.stats.down+down)
	}
}

// trialPool lends trials to flows whose server has refused.
type trialPool struct {
	free []*balance.Trial
}

func (p *trialPool) get() *balance.Trial {
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t
	}
	return new(balance.Trial)
}

// put takes a trial back; nil is none.
func (p *trialPool) put(t *balance.Trial) {
	if t != nil && len(p.free) < 256 {
		*t = balance.Trial{}
		p.free = append(p.free, t)
	}
}
