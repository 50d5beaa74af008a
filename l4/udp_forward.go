package l4

// The way up of a flow: a batch of the client's datagrams to its server, in as few sends as the kernel can do with.

import (
	"syscall"

	"weir/internal/proxy"
)

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
	if f.fd >= 0 {
		switch {
		case f.lease.Server().OutOfService(), f.farewell != NotEnded:
			f.leave(l)
		case f.astray(l):
			f.follow(l)
		}
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
