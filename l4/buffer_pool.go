package l4

// Buffers for bytes that a socket did not take, and pipes for splicing. Both are bounded free lists of one loop. An
// idle session holds neither.

import "sync/atomic"

const (
	// scratchSize is the most bytes of one read, and the size of a buffer. A stream whose reads fill it is
	// worth splicing.
	scratchSize = 32 << 10
	// pipeSize is set with F_SETPIPE_SZ: the most that an unprivileged user may have. The kernel counts one page for
	// every fragment of a socket buffer, whatever its length, so spliceMax needs that many pages.
	pipeSize = 1 << 20
	// spliceMax limits one splice into a pipe, and so what the kernel holds for a stream whose reader stalls,
	// besides the sockets' buffers. A larger splice costs less CPU per byte, but the bytes leave the cache: in one run of bulk
	// streams 1 MB took 0.75 of the CPU that 512 kB took, and moved 0.9 as much with 32 streams.
	spliceMax = 768 << 10

	maxFreeBuffers = 64
	maxFreePipes   = 32
)

// buffer holds received bytes that the other socket has not taken yet: data[from:to].
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

// pipe is a kernel pipe and the number of bytes in it.
type pipe struct {
	r, w int32
	held int
}

type pipePool struct {
	free []*pipe
	open atomic.Int32 // pipes, in use or free
}

// get returns a pipe, or nil if the process has no descriptors to spare: sessions need them more, and the stream is
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
	setPipeSize(w, pipeSize) // fails if the user's limit of pipe memory is reached: the default size works too
	return &pipe{r: r, w: w}
}

// put returns a pipe. One that still holds bytes, of a session that has ended, is closed; so is one whose descriptors
// sessions need.
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

// trim closes all but keep of the pipes that were not used since the last trim.
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
