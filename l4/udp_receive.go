package l4

// The listening sockets of UDP: clients' datagrams come in here, in batches, find their flow or begin one, and replies
// leave from here. A passing error never ends it and never spins.

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/internal/proxy"
)

// Drop is why a datagram was not relayed. Its text is what metrics show.
type Drop uint8

// The reasons for drops.
const (
	DropOverflow  Drop = iota // the listening socket or the flow's was full: counted by the kernel
	DropTruncated             // it did not fit the buffer
	DropRejected              // its client was not let in: see Refusal
	DropHeader                // it does not begin with the PROXY header that is asked for
	DropNoServer              // no server could be had, or all that could be tried refused
	DropShortage              // this machine was short of descriptors, ports or memory
	DropTooLarge              // larger than what can be sent
	DropSend                  // the socket had no room, or the network refused it
	dropCount
)

var dropTexts = [dropCount]string{
	"receive_buffer", "truncated", "refused", "proxy_header", "no_server", "local_shortage", "too_large", "send",
}

func (d Drop) String() string { return dropTexts[d] }

// Drops are all the reasons; a Drop is its own index into Counters.Dropped.
func Drops() []Drop {
	all := make([]Drop, dropCount)
	for d := range all {
		all[d] = Drop(d)
	}
	return all
}

// inlet is a listening socket of UDP as its loop sees it.
type inlet struct {
	ln      *Listener
	tally   *Counters // the loop's for the listener
	fd      int32
	number  int32 // tells its events from those of others
	family  int
	wild    bool // it has all addresses of the host: every datagram says for which it is
	closing bool // no new flows

	table      flowTable
	overflowed uint32        // datagrams lost in the kernel that are counted already
	resume     time.Duration // when to look again after an error
	resting    bool

	newcomers []newcomer   // wait for room that other loops are asked to make
	asking    bool         // they have been asked and not all have answered
	needed    atomic.Int32 // flows that the others are to part with
	asks      uint8        // on behalf of the newcomer that is being let in
}

func (l *loop) openInlet(ln *Listener, fd int32) {
	if l.datagrams == nil {
		l.datagrams = newMailroom()
		if setOption(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == 0 { // Linux 4.18 and later
			l.maxSegment = joinAny
		}
	}
	in := &inlet{ln: ln, tally: &ln.counters[l.index], fd: fd, family: unix.AF_INET6, table: newFlowTable(), overflowed: overflows(fd)}
	if ln.at.Addr.Addr().Is4() {
		in.family = unix.AF_INET
	}
	in.wild = ln.at.Addr.Addr().IsUnspecified()
	l.lastListenSocket++
	in.number = l.lastListenSocket
	l.udpSockets[in.number] = in
	if l.plane.receivePaused.Load() {
		return
	}
	if e := epollControl(l.epfd, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, markUDPSocket, in.number); e != 0 {
		l.plane.warnLimited("cannot watch a listening socket", "address", ln.at.String(), "error", e)
		in.rest(l)
	}
}

// closeInlet closes a listening socket and ends the flows that it has.
func (l *loop) closeInlet(in *inlet, end End) {
	for _, f := range l.flows.all {
		if f != nil && f.inlet == in {
			f.finish(l, end)
		}
	}
	if l.datagrams.from == in {
		l.deliver()
		l.datagrams.from = nil
	}
	in.countOverflow()
	delete(l.udpSockets, in.number)
	closeFD(in.fd)
}

// inletsOf calls f for the loop's sockets of a listener.
func (l *loop) inletsOf(ln *Listener, f func(*inlet)) {
	for _, in := range l.udpSockets {
		if in.ln == ln {
			f(in)
		}
	}
}

// holdInlets looks at no listening socket any more, until releaseInlets. Replies still leave from there.
func (l *loop) holdInlets() {
	for _, in := range l.udpSockets {
		epollControl(l.epfd, unix.EPOLL_CTL_DEL, in.fd, 0, markUDPSocket, in.number)
	}
}

func (l *loop) releaseInlets() {
	for _, in := range l.udpSockets {
		if !in.resting {
			epollControl(l.epfd, unix.EPOLL_CTL_ADD, in.fd, unix.EPOLLIN, markUDPSocket, in.number)
		}
	}
}

// pauseAllSockets stops watching for a while.
func (in *inlet) rest(l *loop) {
	in.resume = l.now + l.errorBackoff()
	if !in.resting {
		in.resting = true
		l.pausedUDP = append(l.pausedUDP, in)
		epollControl(l.epfd, unix.EPOLL_CTL_MOD, in.fd, 0, markUDPSocket, in.number)
	}
}

// resumeInlets watches again what has rested.
func (l *loop) resumeInlets() {
	if l.acceptPaused {
		return
	}
	resting := l.pausedUDP
	l.pausedUDP = nil
	for _, in := range resting {
		switch {
		case l.udpSockets[in.number] != in: // closed meanwhile
		case l.now < in.resume:
			l.pausedUDP = append(l.pausedUDP, in)
		default:
			in.resting = false
			epollControl(l.epfd, unix.EPOLL_CTL_ADD, in.fd, 0, markUDPSocket, in.number) // in case it never was
			epollControl(l.epfd, unix.EPOLL_CTL_MOD, in.fd, unix.EPOLLIN, markUDPSocket, in.number)
		}
	}
}

func (in *inlet) drop(why Drop, n int) {
	c := &in.tally.Dropped[why]
	store(c, *c+uint64(n))
}

// countOverflow takes in how many datagrams the kernel had no room for.
func (in *inlet) countOverflow() {
	now := overflows(in.fd)
	if n := now - in.overflowed; n > 0 {
		in.overflowed = now
		in.drop(DropOverflow, int(n))
	}
}

// receive takes in some batches of datagrams. The socket is watched level-triggered: what is left is reported again.
func (l *loop) receive(in *inlet) {
	m := l.datagrams
	for range roundsMax {
		l.deliver() // the buffers are needed
		n, e := recvMany(in.fd, m.in[:])
		switch e {
		case 0:
		case eagain:
			return
		case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE:
			continue // what the network says about an earlier reply is taken note of by reading it
		default:
			l.plane.warnLimited("cannot receive", "address", in.ln.at.String(), "error", e)
			in.rest(l)
			return
		}
		l.readClock()
		in.sort(l, n)
		if n < batchSize {
			return
		}
	}
}

// sort gives the datagrams of a batch to their flows, and then has every flow forward what it got.
func (in *inlet) sort(l *loop, n int) {
	m := l.datagrams
	set := in.ln.set.Load()
	m.runs, m.touched = m.runs[:0], m.touched[:0]
	var f *flow
	for i := range n {
		ip, port, scope, ok := m.names[i].get(m.in[i].hdr.Namelen)
		p, about, whole := m.take(i)
		if !ok || !whole {
			in.drop(DropTruncated, 1)
			continue
		}
		key := makeFlowKey(&ip, &about.local, port, scope)
		if set.Responses == 1 || set.AcceptProxy {
			in.sortApart(l, set, &key, &p)
			continue
		}
		if f == nil || !f.listed || f.key != key {
			if f = in.flowOf(l, set, &key, nil, &p); f == nil {
				continue
			}
		}
		f.queue(m, &p)
	}
	l.joinable += len(m.runs) - len(m.touched)
	l.forwardAll()
}

// sortApart looks at every datagram for itself. With a PROXY header each says for whom it comes. With one response to each
// request, each gets a flow of its own unless its client's has nothing under way: so each is balanced for itself.
func (in *inlet) sortApart(l *loop, set *Settings, key *flowKey, p *run) {
	if set.AcceptProxy && !set.trusts(key.client().Addr()) {
		in.refuse(l, RejectedUntrusted, p.datagrams())
		return
	}
	for data := p.data; ; {
		one := run{data: data, next: -1}
		if p.size > 0 && len(data) > p.size {
			one.data = data[:p.size]
		}
		data = data[len(one.data):]
		in.sortOne(l, set, key, &one)
		if len(data) == 0 {
			return
		}
	}
}

func (in *inlet) sortOne(l *loop, set *Settings, key *flowKey, one *run) {
	var said *introduction
	if set.AcceptProxy {
		h, payload, err := proxy.ParseDatagram(one.data)
		if err != nil {
			in.drop(DropHeader, 1)
			return
		}
		one.data, one.tlvs = payload, h.TLVs
		said = &l.header
		*said = introduction{local: h.Local, tlvs: said.tlvs[:0]}
		said.client, said.dest, _ = h.Addresses(proxy.Datagram)
	}
	if set.Responses == 1 {
		named := said.named()
		if f := in.table.find(key, named, in.table.hash(key, named)); f != nil && (f.unanswered > 0 || f.queued()) {
			in.table.remove(f) // it waits for its reply, and is found by the server's socket
		}
	}
	if f := in.flowOf(l, set, key, said, one); f != nil {
		f.queue(l.datagrams, one)
	}
}

// forwardAll has every flow forward what it got.
func (l *loop) forwardAll() {
	m := l.datagrams
	for i, f := range m.touched {
		if f != nil {
			m.touched[i] = nil
			f.forward(l)
		}
	}
}

// flowOf finds the flow of a client, or begins one, for what it has sent. said is what its PROXY header says; nil = it came
// without. nil means that the datagrams wait or are dropped.
func (in *inlet) flowOf(l *loop, set *Settings, key *flowKey, said *introduction, p *run) *flow {
	named := said.named()
	hash := in.table.hash(key, named)
	if f := in.table.find(key, named, hash); f != nil {
		return f
	}
	client := key.client().Addr()
	if named.IsValid() {
		client = named.Addr()
	}
	if len(in.newcomers) > 0 && in.awaits(key, named) {
		if !in.hold(l, key, said, p) {
			in.refuse(l, RejectedMaxFlows, p.datagrams())
		}
		return nil
	}
	held, why := in.admit(l, set, client)
	if why != Admitted {
		if why != RejectedMaxFlows && why != RejectedProcessLimit || !in.hold(l, key, said, p) {
			in.refuse(l, why, p.datagrams())
		}
		return nil
	}
	f, slot := l.flows.acquire()
	f.slot = slot
	if said != nil {
		f.said = new(introduction)
		*f.said = *said
		f.said.tlvs = nil
	}
	f.begin(l, in, set, key, hash)
	f.pass = held
	return f
}

// refuse counts datagrams whose client is not let in.
func (in *inlet) refuse(l *loop, why Rejection, n int) {
	for range n {
		l.countRejection(in.ln, why)
	}
	in.drop(DropRejected, n)
}

// startSession judges a client as one of TCP is judged, except that a full table parts with the oldest flow that no server has
// answered. If all of this loop's have been, the newcomer waits for those of the others, and else is turned away.
func (in *inlet) admit(l *loop, set *Settings, client netip.Addr) (admissionClaim, Rejection) {
	if in.closing || l.stopping {
		return 0, RejectedStopping
	}
	a := &set.Admission
	for {
		held, why := a.acquire(client, l.now)
		if why == Admitted {
			if l.plane.acquireSession() {
				return held, Admitted
			}
			a.cancel(&held, client)
			why = RejectedProcessLimit
		}
		if why == RejectedMaxSessions && set.EvictFlows {
			why = RejectedMaxFlows
		}
		if why != RejectedProcessLimit && why != RejectedMaxFlows || !in.evict(l) {
			return 0, why
		}
	}
}

// evict ends the oldest flow of this socket that has no answer; what it has got in this batch still goes out. It
// reports false when there is none: then those of other loops may make room (udp_pending.go).
func (in *inlet) evict(l *loop) bool {
	f := in.table.oldest
	if f == nil {
		return false
	}
	if f.queued() {
		l.datagrams.touched[f.turn] = nil
		id := f.id
		f.forward(l)
		if f.id != id { // that ended it
			return true
		}
	}
	f.finish(l, FlowEvicted)
	return true
}

// localAddress is what the client of a flow has sent to: what its PROXY header says, else what its datagram does.
func (f *flow) localAddress() netip.AddrPort {
	in := f.inlet
	switch {
	case f.said.named().IsValid():
		return f.said.dest
	case in.wild && *f.key.local() != [16]byte{}:
		return addrPort(f.key.local(), in.ln.at.Addr.Port())
	}
	return in.ln.at.Addr
}
