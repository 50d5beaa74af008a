package l4

// Receiving from UDP clients: datagrams arrive in batches at a listen socket, and find their flow or start one. Replies
// leave through the same socket.

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/internal/proxy"
)

// Drop is why a datagram was not forwarded. Its text is shown in metrics.
type Drop uint8

// The reasons for drops.
const (
	DropOverflow  Drop = iota // the receive buffer of the listen socket or the flow was full; counted by the kernel
	DropTruncated             // did not fit the buffer
	DropRejected              // the client failed admission: see Rejection
	DropHeader                // no valid PROXY header
	DropNoServer              // no eligible server, or all refused
	DropShortage              // this host lacked a descriptor, port or memory
	DropTooLarge              // larger than can be sent
	DropLoop                  // sent by a socket of this process or by a server of the cluster
	DropSend                  // the send buffer was full, or the network refused it
	dropCount
)

var dropTexts = [dropCount]string{
	"receive_buffer", "truncated", "refused", "proxy_header", "no_server", "local_shortage", "too_large", "loop", "send",
}

func (d Drop) String() string { return dropTexts[d] }

// Drops returns all reasons. A Drop is its own index into Counters.Dropped.
func Drops() []Drop {
	all := make([]Drop, dropCount)
	for d := range all {
		all[d] = Drop(d)
	}
	return all
}

// udpSocket is a listen socket of a UDP listener.
type udpSocket struct {
	listenSocket
	counters *Counters // the loop's for the listener
	family   int
	wildcard bool // bound to all addresses of the host: each datagram carries its destination address
	draining bool // no new flows

	table      flowTable
	overflowed uint32 // datagrams lost in the kernel and counted

	pending           []pendingDatagrams // wait for the evictions that other loops are asked for
	evictionRequested bool               // not all loops have answered yet
	evictionsNeeded   atomic.Int32
	requests          uint8 // made for the pending client that is being admitted
}

// newUDPSocket makes the UDP part of a listen socket.
func (l *loop) newUDPSocket(ln *Listener, fd int32) *udpSocket {
	if l.udp == nil {
		l.udp = newDatagramBuffers()
		if setOption(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == 0 { // Linux 4.18 and later
			l.maxSegment = anySegment
		}
	}
	u := &udpSocket{counters: &ln.counters[l.index], family: socketFamily(fd), table: newFlowTable(&ln.ages[slices.Index(ln.fds, fd)]), overflowed: overflows(fd)}
	u.listenSocket.udp = u
	u.wildcard = ln.at.Addr.Addr().IsUnspecified()
	return u
}

// closeUDPSocket ends the flows of a UDP socket and closes it.
func (l *loop) closeUDPSocket(u *udpSocket, reason Reason) {
	for _, f := range l.flows.all {
		switch {
		case f == nil || f.socket != u:
		case f.lingering:
			f.finishLingering(l)
		default:
			f.finish(l, reason)
		}
	}
	if l.udp.downSocket == u {
		l.flushReplies()
		l.udp.downSocket = nil
	}
	u.countOverflow()
	l.closeListenSocket(&u.listenSocket)
}

func (u *udpSocket) drop(why Drop, n int) {
	c := &u.counters.Dropped[why]
	store(c, *c+uint64(n))
}

// countOverflow counts the datagrams for which the kernel had no room.
func (u *udpSocket) countOverflow() {
	now := overflows(u.fd)
	if n := now - u.overflowed; n > 0 {
		u.overflowed = now
		u.drop(DropOverflow, int(n))
	}
}

// receive receives some batches. The socket is level-triggered, so remaining datagrams cause another event.
func (l *loop) receive(u *udpSocket) {
	m := l.udp
	for range maxRounds {
		l.flushReplies() // frees the buffers
		n, e := recvMany(u.fd, m.msgs[:])
		switch e {
		case 0:
		case eagain:
			return
		case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE:
			continue // an ICMP error of an earlier reply, now cleared
		default:
			l.plane.warnLimited("cannot receive", "address", u.ln.at.String(), "error", e)
			l.pauseSocket(&u.listenSocket, l.errorBackoff())
			return
		}
		l.readClock()
		u.distribute(l, n)
		if n < batchSize {
			return
		}
	}
}

// distribute assigns the datagrams of a batch to their flows, and then makes every flow forward its own.
func (u *udpSocket) distribute(l *loop, n int) {
	m := l.udp
	set := u.ln.set.Load()
	m.runs, m.touched = m.runs[:0], m.touched[:0]
	var f *flow
	for i := range n {
		ip, port, scope, ok := m.names[i].get(m.msgs[i].hdr.Namelen)
		p, about, whole := m.received(i)
		if !ok || !whole {
			u.drop(DropTruncated, 1)
			continue
		}
		key := makeFlowKey(&ip, &about.local, port, scope)
		if set.Responses == 1 || set.Requests > 0 || set.AcceptProxy {
			u.distributeSingly(l, set, &key, &p)
			continue
		}
		if f == nil || !f.inTable || f.key != key {
			if f = u.findOrStart(l, set, &key, nil, &p); f == nil {
				continue
			}
		}
		f.queueRun(m, &p)
	}
	l.joinable += len(m.runs) - len(m.touched)
	l.forwardAll()
}

// distributeSingly handles each datagram of a run by itself. With a PROXY header, each names its client. With requests,
// each may be balanced again. With one response per request, each gets a flow of its own if its client's flow is busy, so that each is balanced by itself.
func (u *udpSocket) distributeSingly(l *loop, set *Settings, key *flowKey, p *run) {
	if set.AcceptProxy && !set.trusts(key.client().Addr()) {
		u.reject(l, RejectedUntrusted, p.datagrams())
		return
	}
	for data := p.data; ; {
		one := run{data: data, next: -1}
		if p.size > 0 && len(data) > p.size {
			one.data = data[:p.size]
		}
		data = data[len(one.data):]
		u.distributeOne(l, set, key, &one)
		if len(data) == 0 {
			return
		}
	}
}

func (u *udpSocket) distributeOne(l *loop, set *Settings, key *flowKey, one *run) {
	var header *headerInfo
	if set.AcceptProxy {
		h, payload, err := proxy.ParseDatagram(one.data)
		if err != nil {
			u.drop(DropHeader, 1)
			return
		}
		one.data, one.tlvs = payload, h.TLVs
		header = &l.header
		*header = headerInfo{local: h.Local, tlvs: header.tlvs[:0]}
		header.client, header.dest, _ = h.Addresses(proxy.Datagram)
	}
	if set.Responses == 1 {
		named := header.clientAddr()
		if f := u.table.find(key, named, u.table.hash(key, named)); f != nil && (f.unanswered > 0 || f.queued()) {
			u.table.remove(f) // it waits for its reply, which finds it by its slot
		}
	}
	if f := u.findOrStart(l, set, key, header, one); f != nil {
		f.queueRun(l.udp, one)
	}
}

// forwardAll makes every flow forward its runs of this batch.
func (l *loop) forwardAll() {
	m := l.udp
	for i := range m.touched {
		if f := m.touched[i].flow; f != nil {
			f.forward(l)
		}
	}
}

// findOrStart returns the flow of a client, or starts one. header is the client's PROXY header; nil = none. It returns
// nil if the run is pending or dropped.
func (u *udpSocket) findOrStart(l *loop, set *Settings, key *flowKey, header *headerInfo, p *run) *flow {
	named := header.clientAddr()
	hash := u.table.hash(key, named)
	if f := u.table.find(key, named, hash); f != nil {
		return f
	}
	if l.plane.isOwn(key) {
		u.reportLoop(l, key, "datagram dropped: it comes from a socket of weir", p.datagrams())
		return nil
	}
	if set.Servers.has(key.client()) {
		u.reportLoop(l, key, "datagram dropped: it comes from a server of the cluster", p.datagrams())
		return nil
	}
	client := key.client().Addr()
	if named.IsValid() {
		client = named.Addr()
	}
	if len(u.pending) > 0 && u.followPending(l, key, header, p) {
		return nil
	}
	held, why := u.admit(l, set, client, p.tlvs)
	if why != Admitted {
		if why != RejectedMaxFlows && why != RejectedProcessLimit || !u.addPending(l, key, header, p) {
			u.reject(l, why, p.datagrams())
		}
		return nil
	}
	f, slot := l.flows.acquire()
	f.slot = slot
	if header != nil {
		f.header = new(headerInfo)
		*f.header = *header
		f.header.tlvs = nil
	}
	if set.Routes != nil {
		set = set.Routes.choose(client, 0, nil)
		set.countRoute()
	}
	f.start(l, u, set, key, hash)
	f.claim = held
	return f
}

// reject counts n datagrams of a client that failed admission.
func (u *udpSocket) reject(l *loop, why Rejection, n int) {
	for range n {
		l.countRejection(u.ln, why)
	}
	u.drop(DropRejected, n)
}

// admit checks a new client, with the TLVs of its PROXY header. If the table is full, it evicts a flow of this socket.
func (u *udpSocket) admit(l *loop, set *Settings, client netip.Addr, tlvs []byte) (admissionClaim, Rejection) {
	if u.draining || l.stopping {
		return admissionClaim{}, RejectedStopping
	}
	a := &set.Admission
	for {
		held, why := a.acquire(client, tlvs, l.now)
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
		if why != RejectedProcessLimit && why != RejectedMaxFlows || !u.evict(l) {
			return admissionClaim{}, why
		}
	}
}

// evict ends a flow of this socket, after forwarding its datagrams of this batch. It reports false if there is none to
// evict, or if that of another loop is older and may be waited for (udp_pending.go). A flood does not wait.
func (u *udpSocket) evict(l *loop) bool {
	flood := u.table.evictions.flood(l.now)
	f := u.table.victim(flood)
	if f == nil || f.frozen || !flood && u.mayWait(l) && u.ln.loopOfVictim() != l.index {
		return false
	}
	u.table.evictions.add(l.now)
	if f.queued() {
		id := f.id
		f.forward(l)
		if f.id != id { // it has ended
			return true
		}
	}
	f.finish(l, ReasonEvicted)
	return true
}

// wantedPort returns the port that the client wanted: that of its destination, or that of the listener if its header names
// port 0.
func (f *flow) wantedPort() uint16 {
	return cmp.Or(f.localAddress().Port(), f.socket.ln.at.Addr.Port())
}

// localAddress returns the address that the client sent to: the destination of its PROXY header, else of its datagram.
func (f *flow) localAddress() netip.AddrPort {
	u := f.socket
	switch {
	case f.header.clientAddr().IsValid():
		return f.header.dest
	case u.wildcard && *f.key.local() != [16]byte{}:
		return addrPort(f.key.local(), u.ln.at.Addr.Port())
	}
	return u.ln.at.Addr
}
