package l4

// From client to server: a batch of a flow's datagrams leaves in as few sends as possible.

import (
	"syscall"

	"weir/internal/proxy"
)

// queueRun adds a run of the batch to the flow.
func (f *flow) queueRun(m *datagramBuffers, p *run) {
	i := int32(len(m.runs))
	m.runs = append(m.runs, *p)
	if f.queued() {
		runs := &m.touched[f.touchedIndex]
		m.runs[runs.last].next = i
		runs.last = i
		return
	}
	f.touchedIndex = int16(len(m.touched))
	m.touched = append(m.touched, flowRuns{f, i, i})
}

func (f *flow) queued() bool { return f.touchedIndex >= 0 }

// unqueue takes the flow's runs of this batch from it.
func (f *flow) unqueue(m *datagramBuffers) flowRuns {
	runs := &m.touched[f.touchedIndex]
	f.touchedIndex = -1
	taken := *runs
	runs.flow = nil
	return taken
}

// forward sends the flow's runs of this batch to its server, after finding one if necessary.
func (f *flow) forward(l *loop) {
	m := l.udp
	runs := f.unqueue(m)
	f.activeAt = l.now
	if f.stage == stageUnconfirmed {
		f.socket.table.setStage(f, stageConfirmed, l.now)
	}
	if f.header != nil {
		f.header.tlvs = append(f.header.tlvs[:0], m.runs[runs.last].tlvs...)
	}
	for next := runs.first; next >= 0; {
		f.changeServer(l)
		if f.fd < 0 && !f.findServer(l) {
			f.dropRuns(l, m, next)
			return
		}
		next = f.forwardRuns(l, next)
	}
	f.markDirty(l)
}

// changeServer leaves a server that is out of service or was removed, follows one that has moved, and balances again
// where that is due.
func (f *flow) changeServer(l *loop) {
	switch {
	case f.fd < 0:
	case f.lease.Server().OutOfService(), f.pendingReason != ReasonNone:
		f.releaseServer(l)
	case f.serverMoved(l):
		f.reconnect(l)
	case f.mustRebalance(l):
		f.rebalance(l)
	}
}

// forwardRuns sends runs to the server, from the given one on. It returns the first one that must be balanced again, or
// -1.
func (f *flow) forwardRuns(l *loop, next int32) int32 {
	m := l.udp
	o := &m.up
	o.clear()
	m.headers = m.headers[:0]
	var header []byte
	var p *run
	for ; next >= 0 && (p == nil || f.set.Requests == 0 || f.requests < uint32(f.set.Requests)); next = p.next {
		p = &m.runs[next]
		if header == nil || f.header != nil {
			header = f.serverHeader(m, p.tlvs)
		}
		split := p.size > int(f.maxSegmentUp) || header != nil
		if !o.fits(p, split) && !f.sendUp(l) {
			f.dropRuns(l, m, next)
			return -1
		}
		n := uint32(p.datagrams())
		f.requests += n
		f.unanswered += n
		f.repliesLeft += n * uint32(f.set.Responses)
		f.bytesUp += uint64(len(p.data))
		o.add(f, p, int(f.maxSegmentUp), header, split)
	}
	l.kept.keep(f, p.last())
	f.sendUp(l)
	return next
}

// serverHeader returns the PROXY header that precedes each datagram to the server; nil = none.
func (f *flow) serverHeader(m *datagramBuffers, tlvs []byte) []byte {
	if !f.target.sendsProxy() {
		return nil
	}
	h := proxy.Header{Version: 2, Local: f.header != nil && f.header.local, Transport: proxy.Datagram, Source: f.client(), Dest: f.localAddress(), TLVs: tlvs, Pass: f.target.proxyTLVs}
	from := len(m.headers)
	m.headers = h.Append(m.headers)
	return m.headers[from:]
}

// dropRuns counts the runs from the given one on as dropped.
func (f *flow) dropRuns(l *loop, m *datagramBuffers, first int32) {
	n := 0
	for i := first; i >= 0; i = m.runs[i].next {
		n += m.runs[i].datagrams()
	}
	f.socket.drop(f.dropReason(), n)
}

// dropReason returns why a flow without a server drops datagrams.
func (f *flow) dropReason() Drop {
	if f.lastFailure == ReasonLocalShortage {
		return DropShortage
	}
	return DropNoServer
}

// markDirty makes the loop count the flow's bytes within a second.
func (f *flow) markDirty(l *loop) {
	if !f.dirty {
		f.dirty = true
		l.dirtyFlows = append(l.dirtyFlows, f)
	}
}

// sendUp sends the batch to the server, or to the next one if the server has refused. It reports false if no server is
// left; unsent datagrams are dropped then.
func (f *flow) sendUp(l *loop) bool {
	o := &l.udp.up
	defer o.countTaken(&f.socket.counters.DatagramsUp)
	for again := false; ; {
		e := o.send(f.fd)
		if e == 0 {
			break
		}
		m := &o.messages[o.sent]
		switch {
		case isRefusal(e): // of an earlier datagram: this send has not happened
			was := f.target
			if f.nextServer(l, e) && f.target.sameHeader(was) {
				continue
			}
			n := 0
			for ; !o.empty(); o.sent++ {
				n += o.messages[o.sent].segments
				f.bytesUp -= uint64(o.messages[o.sent].total)
			}
			if f.fd >= 0 && f.kept != nil { // this server expects another PROXY header
				n--
				f.batchKept(l)
				f.socket.drop(f.dropReason(), n)
				continue
			}
			f.socket.drop(f.dropReason(), n)
			o.clear()
			return false
		case m.segments > 1 && isSegmentError(e):
			f.maxSegmentUp = smallerSegment(f.maxSegmentUp, m.size, e)
			lost, bytes, why := o.sendSingly(f.fd)
			f.countUnsent(lost, bytes, why)
		case e == syscall.EMSGSIZE && !again: // perhaps of an earlier datagram
			again = true
			discardErrors(f.fd)
			continue
		default:
			f.countUnsent(m.segments, m.total, e)
			o.sent++
		}
		again = false
	}
	o.clear()
	f.sentAt = l.now
	return true
}

// countUnsent counts datagrams that the socket did not take.
func (f *flow) countUnsent(n, bytes int, why errno) {
	if n > 0 {
		f.bytesUp -= uint64(bytes)
		f.socket.drop(dropOf(why), n)
	}
}

func dropOf(e errno) Drop {
	if e == syscall.EMSGSIZE {
		return DropTooLarge
	}
	return DropSend
}

// isSegmentError reports whether an error may mean that the kernel cannot split this send, at all or with this size.
func isSegmentError(e errno) bool {
	switch e {
	case syscall.EINVAL, syscall.EMSGSIZE, syscall.EIO, syscall.EOPNOTSUPP, syscall.ENOPROTOOPT:
		return true
	}
	return false
}

// smallerSegment returns the largest size that may still be joined after such an error.
func smallerSegment(now uint16, size int, e errno) uint16 {
	if e == syscall.EINVAL || e == syscall.EMSGSIZE { // larger than a packet on this path
		return uint16(min(int(now), size-1))
	}
	return 0
}

// isRefusal reports whether an error of a connected socket means that the server, or the network on its behalf, has
// refused a datagram (icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c).
func isRefusal(e errno) bool {
	switch e {
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENONET,
		syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EACCES:
		return true
	}
	return false
}
