package l4

// What a loop lends to streams that cannot be delivered at once: buffers for what a socket refused, and pipes for
// streams that are spliced. Both are free lists owned by one loop, bounded, and never shrink below zero work: an idle
// session holds neither.

import "sync/atomic"

const (
	// scratchSize is the most that one read takes off a socket, and the size of a lent buffer. A read that fills it is
	// the sign of a stream worth splicing.
	scratchSize = 32 << 10
	// pipeSize is what F_SETPIPE_SZ asks for: the most that an ordinary user may have. The kernel counts one page for
	// every fragment of a socket buffer, whatever its length, so it takes so many slots to hold spliceMax.
	pipeSize = 1 << 20
	// spliceMax bounds one splice into a pipe, and so what the kernel holds for a spliced stream whose reader stalls,
	// besides the sockets' own buffers. More at once costs less CPU per byte, but the bytes go cold: in one run of bulk
	// streams 1 MB took 0.75 of the CPU that 512 kB took, and moved 0.9 as much with 32 streams.
	spliceMax = 768 << 10

	maxFreeBuffers = 64
	maxFreePipes   = 32
)

// buffer holds bytes that were received and not yet taken by the other socket: data[from:to].
type buffer struct {
	from, to int
	data     [scratchSize]byte
}

type bufferPool struct {
	free []*buffer
}

func (p *bufferPool) get() *buffer {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return new(buffer)
}

func (p *bufferPool) put(b *buffer) {
	if len(p.free) < maxFreeBuffers {
		b.from, b.to = 0, 0
		p.free = append(p.free, b)
	}
}

// pipe is a kernel pipe and how many bytes are in it.
type pipe struct {
	r, w int32
	held int
}

type pipePool struct {
	free []*pipe
	open atomic.Int32 // pipes there are, lent or free
}

// get returns nil when the process has no descriptors to spare for a pipe, which sessions need more: the stream is
// copied instead.
func (p *pipePool) get(plane *Plane) *pipe {
	if n := len(p.free); n > 0 {
		x := p.free[n-1]
		p.free = p.free[:n-1]
		return x
	}
	if !plane.canOpenPipe() {
		return nil
	}
	r, w, e := openPipe()
	if e != 0 {
		return nil
	}
	p.open.Add(1)
	setPipeSize(w, pipeSize) // countRejection when the user's share of pipe memory is spent: the default size serves too
	return &pipe{r: r, w: w}
}

// release takes a pipe back. One that still holds bytes is closed: they belong to a session that has ended. So is one whose
// descriptors are better left to sessions.
func (p *pipePool) put(plane *Plane, x *pipe) {
	if x.held == 0 && len(p.free) < maxFreePipes && plane.canOpenPipe() {
		p.free = append(p.free, x)
		return
	}
	p.close(x)
}

func (p *pipePool) close(x *pipe) {
	closeFD(x.r)
	closeFD(x.w)
	p.open.Add(-1)
}

// trim closes pipes that nobody took since the last trim, all but keep of them.
func (p *pipePool) trim(keep int) {
	for len(p.free) > keep {
		n := len(p.free) - 1
		p.close(p.free[n])
		p.free = p.free[:n]
	}
}

func (p *bufferPool) trim(keep int) {
	if len(p.free) > keep {
		clear(p.free[keep:])
		p.free = p.free[:keep]
	}
}
