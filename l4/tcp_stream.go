package l4

// The relay of one direction of a session: from one socket to the other, by small copies or by splice.

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is one of the two descriptors of a session, with what is known of it. Registration is edge-triggered and made
// once, so what an event has told is remembered until a call shows otherwise.
type socket struct {
	fd         int32  // -1 when closed or not yet open
	readable   bool   // a read may find something
	writable   bool   // a write may be taken
	fin        bool   // the other host will send no more: no further edge announces what is unread
	failed     bool   // the socket has an error or was reset: reads give what came before it, then the error
	local      bool   // a unix socket: descriptors sent along stop reads short of what is there
	urgent     bool   // urgent data stops reads short of what is there: a short read proves nothing
	hasSent    bool   // something was written: later small writes need TCP_NODELAY
	nodelay    bool   // TCP_NODELAY is set, or means nothing here
	ackDelayed bool   // acknowledgements wait for the first write
	err        uint8  // the errno that ended it, once seen
	headerSize uint16 // bytes of a PROXY header that were read before the stream begins
}

// stream is one direction: up from client to server, or down.
type stream struct {
	held        *buffer // bytes that the target refused
	pipe        *pipe   // while bytes move by splice
	bytes       uint64  // bytes the target socket has taken
	fullReads   uint8   // reads in a row that filled the scratch buffer; spliceAfter of them start splicing
	thinSplices uint8   // splices in a row that moved little; copyAfter of them end splicing
	eof         bool    // the source has said its last byte
	finSent     bool    // the end was passed on to the target
	hasRead     bool    // something was read since this was last looked at
	stopped     bool    // the target takes no more, or the source broke: nothing is read any more
	headerBytes uint16  // how much of what is held was never the source's: the rest of a PROXY header
}

const (
	spliceAfter = 2
	copyAfter   = 4
	thinSplice  = 8 << 10
	// transferBudget is how much one direction may move before other sessions of the loop get their turn.
	transferBudget = 512 << 10
)

// transferResult says what a turn of a stream came to.
type transferResult uint8

const (
	blocked  transferResult = iota // for an event on one of the sockets
	moreWork                       // the turn is over and there may be more to move at once
)

func (st *stream) holding() bool {
	return st.held != nil || st.pipe != nil && st.pipe.held > 0
}

// release gives back what the stream was lent, delivered or not.
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

// discard ends reading for good and forgets what was not delivered.
func (st *stream) discard(l *loop) {
	st.stopped = true
	st.release(l)
}

// transfer moves bytes from src to dst until one of them would block, the stream ends or the turn is used up. Errors are
// left in the socket they came from.
func (st *stream) transfer(l *loop, src, dst *socket) transferResult {
	for budget := transferBudget; ; {
		before := st.bytes
		if st.holding() && !st.flush(l, dst) {
			return blocked
		}
		if st.eof || st.stopped || !src.readable {
			break
		}
		if budget <= 0 {
			st.returnPipe(l)
			return moreWork
		}
		if src.urgent { // splicing stops at the mark for ever
			st.returnPipe(l)
			st.fullReads = 0
		}
		if st.fullReads >= spliceAfter && st.pipe == nil {
			if st.pipe = l.pipes.get(l.plane); st.pipe == nil {
				st.fullReads = 0
			}
		}
		if st.pipe != nil {
			st.spliceIn(l, src)
		} else {
			st.copy(l, src, dst)
		}
		budget -= int(st.bytes-before) + 1024
	}
	st.returnPipe(l)
	return blocked
}

// pauseAllSockets gives an empty pipe back.
func (st *stream) returnPipe(l *loop) {
	if st.pipe != nil && st.pipe.held == 0 {
		l.pipes.put(l.plane, st.pipe)
		st.pipe = nil
	}
}

// copy moves one scratch buffer's worth at most.
func (st *stream) copy(l *loop, src, dst *socket) {
	n, e := recvBytes(src.fd, l.scratch[:])
	switch {
	case e == eagain:
		st.sourceEmpty(src)
		return
	case e != 0:
		src.fail(e)
		st.stopped = true
		return
	case n == 0:
		st.sourceEnded(src)
		return
	}
	st.hasRead = true
	if n == len(l.scratch) {
		if st.fullReads < spliceAfter {
			st.fullReads++
		}
	} else {
		st.fullReads = 0
		switch {
		case src.failed || src.urgent || src.local: // there may be more: the error, or what is behind the mark
		case src.fin: // everything came before the FIN, and the read has emptied the socket: this was the end
			st.eof = true
		default:
			src.readable = false
		}
	}
	sent := 0
	if dst.writable {
		flags := 0
		if st.eof && !st.finSent {
			flags = unix.MSG_MORE // the FIN that follows at once goes out in the same segment
		}
		sent, e = dst.send(l.scratch[:n], flags)
		st.bytes += uint64(sent)
		if e != 0 && e != eagain {
			st.stopped = true
			return
		}
	}
	if sent < n {
		b := l.buffers.get()
		b.to = copy(b.data[:], l.scratch[sent:n])
		st.held = b
	}
}

// sourceEmpty notes that the source holds nothing at the moment. One that has failed will never again.
func (st *stream) sourceEmpty(src *socket) {
	src.readable = false
	if src.failed {
		st.stopped = true
	}
}

// sourceEnded notes that a read found the end of the source's stream. After an error that a write has already taken off the
// socket, a reset reads like an end: it is one only if the FIN was seen, or counted.
func (st *stream) sourceEnded(src *socket) {
	if src.err != 0 && !src.fin && !finReceived(src.fd, uint64(src.headerSize)+st.received()) {
		st.stopped = true
		return
	}
	st.eof = true
}

// received is how many bytes were read from the source.
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

// propagateFIN passes the end of the stream on, once.
func (st *stream) propagateFIN(dst *socket) {
	if !st.finSent {
		st.finSent = true
		if e := shutdownWrite(dst.fd); e != 0 && e != syscall.ENOTCONN { // which is a reset that its event will tell of
			dst.fail(e)
		}
	}
}

// inlineUrgent has urgent data, if there is any, read where it was sent, and by nothing but plain reads until one finds the
// end: splicing stops at the mark, and once there is a FIN it does so as if the stream had ended.
func (s *socket) inlineUrgent() {
	s.urgent = true
	setOption(s.fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
}

// spliceIn moves bytes into the empty pipe.
func (st *stream) spliceIn(l *loop, src *socket) {
	n, e := spliceBytes(src.fd, st.pipe.w, spliceMax)
	switch {
	case e == eagain:
		st.sourceEmpty(src)
	case e == syscall.EINVAL || isShortage(e): // not a socket that splices, or no memory to do it with
		st.fullReads = 0
		st.returnPipe(l)
	case e != 0:
		src.fail(e)
		st.stopped = true
	case n == 0: // the end, or an urgent mark that no event has told of: a read knows
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
}

// flush passes on what is held and reports whether all of it was taken.
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
				if st.fullReads < spliceAfter { // thinSplices of late
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

// send writes what the socket takes. Nagle's algorithm never delays the first write of a connection, so TCP_NODELAY is
// set only when a second one follows: most short sessions save the call.
func (s *socket) send(p []byte, flags int) (int, errno) {
	if s.hasSent && !s.nodelay {
		setOption(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.nodelay = true
	}
	n, e := sendBytes(s.fd, p, flags)
	s.hasSent = true
	if s.ackDelayed {
		s.ackDelayed = false
		setOption(s.fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
	s.wrote(n, len(p), e)
	return n, e
}

// sendBefore writes what the send that follows at once carries in its first segment.
func (s *socket) sendBefore(p []byte) (int, errno) {
	n, e := sendBytes(s.fd, p, unix.MSG_MORE)
	s.wrote(n, len(p), e)
	return n, e
}

// wrote notes what became of a write.
func (s *socket) wrote(n, of int, e errno) {
	switch {
	case e == eagain, e == 0 && n < of:
		s.writable = false
	case e != 0:
		s.fail(e)
	}
}

// fail notes that the socket is finished. What came before the error can still be read.
func (s *socket) fail(e errno) {
	s.failed = true
	s.readable = true
	s.writable = false
	if s.err == 0 {
		s.err = uint8(e) // the kernel's go up to 133
	}
}
