package l4

// One direction of a TCP session: bytes move from one socket to the other by small copies or by splice.

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is one of the two descriptors of a session and its known readiness. It is registered once and edge-triggered,
// so the readiness that an event reported is kept until a call shows otherwise.
type socket struct {
	fd         int32  // -1 when closed or not yet open
	readable   bool   // a read may find something
	writable   bool   // a write may succeed
	fin        bool   // the peer has sent a FIN: no further event announces unread bytes
	failed     bool   // it has an error or was reset: reads return the bytes before it, then the error
	local      bool   // a unix socket: a read stops at descriptors that were sent along
	urgent     bool   // it has urgent data: a read stops there, so a short read does not mean empty
	hasSent    bool   // later small writes need TCP_NODELAY
	nodelay    bool   // TCP_NODELAY is set or not needed
	ackDelayed bool   // TCP_QUICKACK is off (acknowledge)
	err        uint8  // errno of the failure, once read
	headerSize uint16 // bytes of the PROXY header read before the stream
}

// stream is one direction: up is client to server, down is server to client.
type stream struct {
	held        *buffer // bytes that the target did not take
	pipe        *pipe   // nil unless bytes move by splice
	bytes       uint64  // taken by the target socket
	fullReads   uint8   // consecutive reads that filled the scratch buffer; spliceAfter of them start splicing
	thinSplices uint8   // consecutive splices that moved little; copyAfter of them end splicing
	eof         bool    // the source has no more bytes
	finSent     bool    // the FIN was forwarded to the target
	hasRead     bool    // bytes were read since the session last checked
	stopped     bool    // no more reads: the target takes no more, or the source failed
	headerBytes uint16  // part of held that is the rest of a PROXY header, not from the source
}

const (
	spliceAfter = 2
	copyAfter   = 4
	thinSplice  = 8 << 10
	// transferBudget is the most bytes that one direction moves before other sessions continue.
	transferBudget = 512 << 10
)

// transferResult is the result of a transfer.
type transferResult uint8

const (
	blocked  transferResult = iota // waits for an event on one of the sockets
	moreWork                       // the budget is used up and more bytes may be ready
)

func (st *stream) holding() bool {
	return st.held != nil || st.pipe != nil && st.pipe.held > 0
}

// release returns the stream's buffer and pipe, delivered or not.
func (st *stream) release(l *loop) {
	if st.held != nil {
		l.buffers.put(st.held)
		st.held = nil
	}
	if st.pipe != nil {
		l.pipes.put(l.plane, st.pipe)
		st.pipe = nil
	}
}

// discard stops reading and drops undelivered bytes.
func (st *stream) discard(l *loop) {
	st.stopped = true
	st.release(l)
}

// transfer moves bytes from src to dst until one of them would block, the stream ends, limit bytes were read or the budget
// is used up. Errors are stored in their socket.
func (st *stream) transfer(l *loop, src, dst *socket, limit int) transferResult {
	for budget := transferBudget; ; {
		before := st.bytes
		if st.holding() && !st.flush(l, dst) {
			return blocked
		}
		if st.eof || st.stopped || !src.readable || limit <= 0 {
			break
		}
		if budget <= 0 {
			st.returnPipe(l)
			return moreWork
		}
		if src.urgent { // splice never passes the urgent mark
			st.returnPipe(l)
			st.fullReads = 0
		}
		if st.fullReads >= spliceAfter && st.pipe == nil {
			if st.pipe = l.pipes.get(l.plane); st.pipe == nil {
				st.fullReads = 0
			}
		}
		if st.pipe != nil {
			limit -= st.spliceIn(l, src, limit)
		} else {
			limit -= st.copy(l, src, dst, limit)
		}
		budget -= int(st.bytes-before) + 1024
	}
	st.returnPipe(l)
	return blocked
}

// returnPipe returns an empty pipe.
func (st *stream) returnPipe(l *loop) {
	if st.pipe != nil && st.pipe.held == 0 {
		l.pipes.put(l.plane, st.pipe)
		st.pipe = nil
	}
}

// copy moves at most one scratch buffer, of at most limit bytes, and returns how many it read.
func (st *stream) copy(l *loop, src, dst *socket, limit int) int {
	p := l.scratch[:min(limit, len(l.scratch))]
	n, e := recvBytes(src.fd, p)
	switch {
	case e == eagain:
		st.sourceEmpty(src)
		return 0
	case e != 0:
		src.fail(e)
		st.stopped = true
		return 0
	case n == 0:
		st.sourceEnded(src)
		return 0
	}
	st.hasRead = true
	if n == len(p) {
		if n == len(l.scratch) && st.fullReads < spliceAfter {
			st.fullReads++
		}
	} else {
		st.fullReads = 0
		switch {
		case src.failed || src.urgent || src.local: // more may follow: the error, or bytes behind the urgent mark
		case src.fin: // the read emptied the socket, and the FIN follows
			st.eof = true
		default:
			src.readable = false
		}
	}
	sent := 0
	if dst.writable {
		flags := 0
		if st.eof && !st.finSent {
			flags = unix.MSG_MORE // the FIN follows in the same segment
		}
		sent, e = dst.send(l.scratch[:n], flags)
		st.bytes += uint64(sent)
		if e != 0 && e != eagain {
			st.stopped = true
			return n
		}
	}
	if sent < n {
		b := l.buffers.get()
		b.to = copy(b.data[:], l.scratch[sent:n])
		st.held = b
	}
	return n
}

// sourceEmpty notes that the source has no bytes now. A failed source never has more.
func (st *stream) sourceEmpty(src *socket) {
	src.readable = false
	if src.failed {
		st.stopped = true
	}
}

// sourceEnded handles a read of 0 bytes. After a write has consumed the socket's error, a reset reads like a FIN: it is
// one only if the FIN was seen or is in the kernel's byte count.
func (st *stream) sourceEnded(src *socket) {
	if src.err != 0 && !src.fin && !finReceived(src.fd, uint64(src.headerSize)+st.received()) {
		st.stopped = true
		return
	}
	st.eof = true
}

// received returns the number of bytes read from the source.
func (st *stream) received() uint64 {
	n := st.bytes
	if st.held != nil {
		n += uint64(st.held.to - st.held.from - int(st.headerBytes))
	}
	if st.pipe != nil {
		n += uint64(st.pipe.held)
	}
	return n
}

// propagateFIN forwards the FIN, once.
func (st *stream) propagateFIN(dst *socket) {
	if !st.finSent {
		st.finSent = true
		if e := shutdownWrite(dst.fd); e != 0 && e != syscall.ENOTCONN { // ENOTCONN: reset, an event follows
			dst.fail(e)
		}
	}
}

// inlineUrgent makes urgent data part of the stream and the stream read by recv only until its end: a splice stops at
// the urgent mark, and after a FIN it does so as if the stream had ended.
func (s *socket) inlineUrgent() {
	s.urgent = true
	setOption(s.fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
}

// spliceIn moves at most limit bytes into the empty pipe, and returns how many.
func (st *stream) spliceIn(l *loop, src *socket, limit int) int {
	n, e := spliceBytes(src.fd, st.pipe.w, min(limit, spliceMax))
	switch {
	case e == eagain:
		st.sourceEmpty(src)
	case e == syscall.EINVAL || isShortage(e): // the socket cannot splice, or memory is short
		st.fullReads = 0
		st.returnPipe(l)
	case e != 0:
		src.fail(e)
		st.stopped = true
	case n == 0: // the end, or an urgent mark without an event: recv tells which
		src.inlineUrgent()
	default:
		st.hasRead = true
		st.pipe.held = n
		if n >= thinSplice {
			st.thinSplices = 0
		} else if st.thinSplices++; st.thinSplices >= copyAfter {
			st.thinSplices, st.fullReads = 0, 0
		}
	}
	return n
}

// flush writes held bytes and reports whether all were taken.
func (st *stream) flush(l *loop, dst *socket) bool {
	for dst.writable {
		switch {
		case st.held != nil:
			b := st.held
			n, e := dst.send(b.data[b.from:b.to], 0)
			lead := min(n, int(st.headerBytes))
			st.headerBytes -= uint16(lead)
			st.bytes += uint64(n - lead)
			b.from += n
			if e != 0 && e != eagain {
				st.discard(l)
				return false
			}
			if b.from == b.to {
				l.buffers.put(b)
				st.held = nil
				return true
			}
		case st.pipe != nil && st.pipe.held > 0:
			n, e := spliceBytes(st.pipe.r, dst.fd, st.pipe.held)
			st.bytes += uint64(n)
			st.pipe.held -= n
			switch {
			case e == eagain:
				dst.writable = false
			case e != 0:
				dst.fail(e)
				st.discard(l)
				return false
			}
			if st.pipe.held == 0 {
				if st.fullReads < spliceAfter { // recent splices were small
					st.returnPipe(l)
				}
				return true
			}
		default:
			return true
		}
	}
	return !st.holding()
}

// send writes as much as the socket takes. Nagle's algorithm never delays the first write of a connection, so
// TCP_NODELAY is set before the second: most short sessions save the call.
func (s *socket) send(p []byte, flags int) (int, errno) {
	if s.hasSent && !s.nodelay {
		setOption(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.nodelay = true
	}
	n, e := sendBytes(s.fd, p, flags)
	s.hasSent = true
	s.wrote(n, len(p), e)
	return n, e
}

// acknowledge makes the kernel send an acknowledgement that it delays, and delay those of later bytes less. Until then, the
// first answers carry the acknowledgements, which saves a short session segments of their own.
func (s *socket) acknowledge() {
	if s.ackDelayed {
		s.ackDelayed = false
		setOption(s.fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
}

// sendBefore writes bytes that leave in the same segment as the send that follows at once.
func (s *socket) sendBefore(p []byte) (int, errno) {
	n, e := sendBytes(s.fd, p, unix.MSG_MORE)
	s.wrote(n, len(p), e)
	return n, e
}

// wrote handles the result of a write.
func (s *socket) wrote(n, of int, e errno) {
	switch {
	case e == eagain, e == 0 && n < of:
		s.writable = false
	case e != 0:
		s.fail(e)
	}
}

// fail marks the socket as failed. Bytes received before the error can still be read.
func (s *socket) fail(e errno) {
	s.failed = true
	s.readable = true
	s.writable = false
	if s.err == 0 {
		s.err = uint8(e) // the kernel's errors are at most 133
	}
}
