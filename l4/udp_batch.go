package l4

// Datagrams in batches: a loop's receive buffers, and the send batches in which datagrams gather until one system call
// sends them. Consecutive datagrams of one flow and one size leave in a single send, which the kernel splits at the
// last moment (UDP_SEGMENT, GSO). Datagrams that the kernel has joined on arrival (UDP_GRO) stay joined where possible.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize = 32 // datagrams per system call: 3.0 µs per round trip; 16 cost 3.2, 64 cost 3.0
	// bufferSize holds any datagram, and all that the kernel joins. The buffers are a little further apart: at multiples
	// of 64 kB their beginnings would share a few cache lines.
	bufferSize   = 64 << 10
	bufferStride = bufferSize + 20*64
	// The most bytes of a datagram over IPv4, and the most segments of a send (UDP_MAX_SEGMENTS before Linux 6.9).
	maxPayload  = 65507
	maxSegments = 64
	// minFreeBuffers must be free before a flow receives replies.
	minFreeBuffers = 8
	// maxRounds is the most batches that one socket receives before other events are handled.
	maxRounds = 4
)

// run is one received datagram, or several of one size that the kernel has joined.
type run struct {
	data []byte
	size int    // of each joined datagram, except that the last may be shorter; 0 = a single datagram
	tlvs []byte // of its PROXY header
	next int32
}

// flowRuns is the chain of a flow's runs in a batch.
type flowRuns struct {
	flow        *flow // nil = the runs are forwarded, or the flow has ended
	first, last int32 // in datagramBuffers.runs
}

// datagrams returns the number of datagrams.
func (p *run) datagrams() int {
	if p.size == 0 {
		return 1
	}
	return (len(p.data) + p.size - 1) / p.size
}

// last returns the last datagram.
func (p *run) last() []byte {
	if p.size == 0 {
		return p.data
	}
	return p.data[(p.datagrams()-1)*p.size:]
}

// datagramBuffers is what a loop needs to forward datagrams. It is allocated with the first UDP listener.
type datagramBuffers struct {
	msgs     [batchSize]mmsghdr
	names    [batchSize]sockaddr
	controls [batchSize]control
	iovs     [batchSize]unix.Iovec
	space    []byte

	runs    []run      // received in this batch
	headers []byte     // PROXY headers for the datagrams in up
	touched []flowRuns // in this batch, by flow

	used       int        // buffers that down refers to
	up         sendBatch  // to one server; sent at once
	down       sendBatch  // to clients, from downSocket; sent after the loop's events, at the latest
	downSocket *udpSocket // sends down
}

func newDatagramBuffers() *datagramBuffers {
	m := &datagramBuffers{space: make([]byte, batchSize*bufferStride)}
	for i := range m.msgs {
		m.iovs[i].Base = &m.space[i*bufferStride]
		m.iovs[i].SetLen(bufferSize)
		h := &m.msgs[i].hdr
		h.Iov = &m.iovs[i]
		h.SetIovlen(1)
		h.Name = &m.names[i][0]
		h.Control = &m.controls[i][0]
		m.reset(i)
	}
	m.up.init(false)
	m.down.init(true)
	return m
}

// reset prepares a message header for the next receive.
func (m *datagramBuffers) reset(i int) {
	h := &m.msgs[i].hdr
	h.Namelen = uint32(len(m.names[i]))
	h.SetControllen(controlSize)
	h.Flags = 0
}

// received returns the run in a buffer and its control information; whole is false if either was truncated.
func (m *datagramBuffers) received(i int) (p run, a controlInfo, whole bool) {
	h := &m.msgs[i]
	if h.hdr.Controllen > 0 {
		a = parseControl(m.controls[i][:min(int(h.hdr.Controllen), controlSize)])
	}
	whole = h.hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 && h.len <= bufferSize
	at := i * bufferStride
	p = run{data: m.space[at : at+int(min(h.len, bufferSize))], next: -1}
	if a.segment > 0 && a.segment < len(p.data) {
		p.size = a.segment
	}
	m.reset(i)
	return p, a, whole
}

// batchMessage describes one message of a send batch.
type batchMessage struct {
	flow     *flow
	id       uint64 // of the flow, which may have ended since
	size     int    // of each datagram but the last
	total    int
	segments int
	first    int  // index of its first piece
	pieces   int  // number of pieces
	short    bool // the last datagram is shorter, so none can be joined to it
}

const (
	batchMessages = 64
	batchPieces   = 256
)

// sendBatch gathers datagrams that leave in one sendmmsg from one socket.
type sendBatch struct {
	n, sent   int // messages, and how many of them are sent or dropped
	taken     int // datagrams that the socket has taken and that are not counted yet
	pieces    int
	addressed bool // messages carry destination and source address
	messages  [batchMessages]batchMessage
	msgs      [batchMessages]mmsghdr
	names     [batchMessages]sockaddr
	ctrl      [batchMessages]control
	ctrlLen   [batchMessages]int // size of the source address
	iovs      [batchPieces]unix.Iovec
}

func (o *sendBatch) init(named bool) {
	o.addressed = named
	for i := range o.msgs {
		if named {
			o.msgs[i].hdr.Name = &o.names[i][0]
		}
		o.msgs[i].hdr.Control = &o.ctrl[i][0]
	}
}

// empty reports whether there is nothing to send.
func (o *sendBatch) empty() bool { return o.sent == o.n }

func (o *sendBatch) clear() { o.n, o.sent, o.pieces = 0, 0, 0 }

// fits reports whether a run fits, even if it is split.
func (o *sendBatch) fits(p *run, split bool) bool {
	messages, pieces := 1, 2
	if split {
		messages = p.datagrams()
		pieces = 2 * messages
	}
	return o.n+messages <= batchMessages && o.pieces+pieces <= batchPieces
}

// add adds a run, which must fit. It is joined to the flow's last message if the kernel can split the two again. join
// is the largest size of the flow's datagrams for that. split means that the run's datagrams must be sent singly, or
// each with the header.
func (o *sendBatch) add(f *flow, p *run, join int, header []byte, split bool) {
	if p.size == 0 || !split {
		o.put(f, p.data, p.size, p.datagrams(), join, header)
		return
	}
	for data := p.data; len(data) > 0; {
		n := min(p.size, len(data))
		o.put(f, data[:n], 0, 1, join, header)
		data = data[n:]
	}
}

func (o *sendBatch) put(f *flow, data []byte, size, count, join int, header []byte) {
	total := len(header) + len(data)
	if size == 0 {
		size = total
	}
	if o.n > o.sent {
		m := &o.messages[o.n-1]
		if m.flow == f && m.id == f.id && !m.short && m.size <= join && total > 0 && m.size > 0 &&
			(size == m.size || count == 1 && size < m.size) &&
			m.segments+count <= maxSegments && m.total+total <= maxPayload {
			o.piece(m, header)
			o.piece(m, data)
			m.total += total
			m.segments += count
			m.short = total != count*m.size
			return
		}
	}
	m := &o.messages[o.n]
	*m = batchMessage{flow: f, id: f.id, size: size, total: total, segments: count, first: o.pieces, short: total != count*size}
	o.piece(m, header)
	o.piece(m, data)
	if o.addressed {
		o.ctrlLen[o.n] = f.setAddresses(&o.msgs[o.n].hdr, &o.names[o.n], &o.ctrl[o.n])
	}
	o.n++
}

func (o *sendBatch) piece(m *batchMessage, data []byte) {
	if len(data) == 0 {
		return
	}
	v := &o.iovs[o.pieces]
	v.Base = unsafe.SliceData(data)
	v.SetLen(len(data))
	o.pieces++
	m.pieces++
}

// send sends what the socket has not taken yet. An error is that of the message at o.sent.
func (o *sendBatch) send(fd int32) errno {
	if o.n == 1 && o.sent == 0 && !o.addressed && o.messages[0].segments == 1 && o.messages[0].pieces <= 1 {
		var data []byte
		if o.messages[0].pieces == 1 {
			data = unsafe.Slice(o.iovs[0].Base, int(o.iovs[0].Len))
		}
		_, e := sendBytes(fd, data, 0)
		if e == 0 {
			o.sent = 1
			o.taken++
		}
		return e
	}
	for i := o.sent; i < o.n; i++ {
		m, h := &o.messages[i], &o.msgs[i].hdr
		h.Iov = nil
		if m.pieces > 0 {
			h.Iov = &o.iovs[m.first]
		}
		h.SetIovlen(m.pieces)
		size := o.ctrlLen[i]
		if m.segments > 1 {
			size = o.ctrl[i].putSegment(size, uint16(m.size))
		}
		h.SetControllen(size)
	}
	for o.sent < o.n {
		n, e := sendMany(fd, o.msgs[o.sent:o.n])
		if e != 0 {
			return e
		}
		for i := range n {
			o.taken += o.messages[o.sent+i].segments
		}
		o.sent += n
	}
	return 0
}

// countTaken adds the datagrams that the socket has taken to a counter of its listener.
func (o *sendBatch) countTaken(c *uint64) {
	if o.taken > 0 {
		store(c, *c+uint64(o.taken))
		o.taken = 0
	}
}

// sendSingly sends the datagrams of the next message one by one. It returns how many datagrams and bytes the socket did
// not take, and the last error.
func (o *sendBatch) sendSingly(fd int32) (lost, bytes int, why errno) {
	m := &o.messages[o.sent]
	h := o.msgs[o.sent].hdr
	h.SetControllen(o.ctrlLen[o.sent])
	left := m.total
	var pieces []unix.Iovec
	at := m.first
	for offset := 0; left > 0; {
		// Collect the pieces of one datagram: a header and a payload, or part of a payload.
		pieces = pieces[:0]
		for want := min(m.size, left); want > 0; {
			v := o.iovs[at]
			n := min(want, int(v.Len)-offset)
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), offset))
			v.SetLen(n)
			pieces = append(pieces, v)
			want -= n
			if offset += n; offset == int(o.iovs[at].Len) {
				at, offset = at+1, 0
			}
		}
		h.Iov = &pieces[0]
		h.SetIovlen(len(pieces))
		one := []mmsghdr{{hdr: h}}
		_, e := sendMany(fd, one)
		if isRefusal(e) { // of an earlier datagram, and now cleared: this one is not sent yet
			_, e = sendMany(fd, one)
		}
		if e != 0 {
			lost++
			bytes += min(m.size, left)
			why = e
		}
		left -= min(m.size, left)
	}
	o.sent++
	o.taken += m.segments - lost
	return lost, bytes, why
}
