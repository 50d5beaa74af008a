package l4

// Listening sockets of UDP: bound like those of TCP, one for each loop. The kernel spreads clients over them by address
// and port, so a client meets the same loop for as long as there are as many sockets. There is no queue to empty when one
// stops: what its flows still have to say goes through the same sockets, which close with the last of them.

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// ListenUDP is Listen for UDP. A listener that has stopped and still has flows is found again: they go on.
func (p *Plane) ListenUDP(at conf.Address, set *Settings, beside bool) (*Listener, error) {
	if ln := p.takeDraining(at); ln != nil {
		ln.set.Store(set)
		return ln, nil
	}
	ln := p.newListener(at, set)
	ln.udp = true
	for i := range p.loops {
		fd, e := bindUDP(at, beside || i > 0)
		if e == syscall.EADDRINUSE && i == 0 {
			p.runOnLoops(func(*loop) {}) // the loops may be about to close it
			fd, e = bindUDP(at, beside)
		}
		if e != 0 {
			ln.Discard()
			return nil, fmt.Errorf("listen on %s: %w", at, e)
		}
		ln.fds = append(ln.fds, fd)
	}
	return ln, nil
}

// InheritUDP is Inherit for UDP. No socket is added where there are fewer than loops: the kernel would spread the
// clients anew.
func (p *Plane) InheritUDP(at conf.Address, set *Settings, fds []int32) *Listener {
	ln := p.newListener(at, set)
	ln.fds, ln.inherited, ln.udp = fds, true, true
	return ln
}

// What is asked for as the buffers of sockets, in bytes that the kernel counts, which doubles them. All clients of a loop share a listening
// socket, and the usual buffer holds a few hundred small datagrams. A server's replies wait in the flow's socket while the loop does not run: with the
// usual one, a flow of a thousand small replies a second loses some when a busy machine holds the loop up for a quarter of a second.
const (
	listenBufferSize = 4 << 20
	flowBufferSize   = 512 << 10
)

// setBufferSize sets the size of a buffer. An ordinary user gets what net.core.rmem_max and wmem_max allow.
func setBufferSize(fd int32, force, ordinary, size int) {
	if setOption(fd, unix.SOL_SOCKET, force, size) != 0 {
		setOption(fd, unix.SOL_SOCKET, ordinary, size)
	}
}

// bindUDP makes one listening socket. As with TCP, the first of an address is bound alone.
func bindUDP(at conf.Address, share bool) (int32, errno) {
	scope, e := zoneIndex(at.Addr.Addr())
	if e != 0 {
		return -1, e
	}
	var to rawAddr
	to.setIP(at.Addr, scope)
	fd, e := openSocket(to.family(), unix.SOCK_DGRAM)
	if e != 0 {
		return -1, e
	}
	if to.family() == unix.AF_INET6 {
		setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, boolInt(!at.Addr.Addr().IsUnspecified()))
	}
	setUDPOptions(fd, at)
	setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, boolInt(share))
	if e = bindSocket(fd, &to); e != 0 {
		closeFD(fd)
		return -1, e
	}
	setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	return fd, 0
}

// setUDPOptions sets what a listening socket needs, bound or not.
func setUDPOptions(fd int32, at conf.Address) {
	wild := at.Addr.Addr().IsUnspecified()
	if at.Addr.Addr().Is4() {
		setOption(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, boolInt(wild))
	} else {
		setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, boolInt(wild))
	}
	setBufferSize(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, listenBufferSize)
	setBufferSize(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, listenBufferSize)
	setOption(fd, unix.SOL_UDP, unix.UDP_GRO, 1) // countRejection before Linux 5.0: then nothing is joined
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// stopUDP has the listener take no new clients, and closes it with its last flow. It returns when no client can
// begin a flow any more.
func (ln *Listener) stopUDP() {
	ln.plane.runOnLoops(func(l *loop) { l.eachUDPSocket(ln, func(u *udpSocket) { u.draining = true }) })
	ln.plane.drainListener(ln)
}

// Reopened reports whether a listener that was stopped takes clients again: one of UDP that was wanted again while it had
// flows.
func (ln *Listener) Reopened() bool { return ln.udp && !ln.draining.Load() }

// releaseFlow counts a flow out; the last one of a listener that has stopped closes it.
func (ln *Listener) releaseFlow() {
	if ln.flows.Add(-1) == 0 && ln.draining.Load() {
		ln.plane.closeDrained(ln)
	}
}

// reopen takes new clients again, if the listener has stopped and is not closed.
func (ln *Listener) reopen() bool {
	if !ln.stopped {
		return false
	}
	ln.stopped = false
	ln.plane.postAll(func(l *loop) { l.eachUDPSocket(ln, func(u *udpSocket) { u.draining = false }) })
	return true
}

// drainListener puts a listener that has stopped on the list of those that still have flows, or closes it.
func (p *Plane) drainListener(ln *Listener) {
	p.drainingMu.Lock()
	ln.stopped = true
	ln.draining.Store(true)
	p.draining[ln.at] = ln
	p.drainingMu.Unlock()
	if ln.flows.Load() == 0 {
		p.closeDrained(ln)
		p.runOnLoops(func(*loop) {}) // it is closed when this returns
	}
}

// takeDraining takes a listener off that list.
func (p *Plane) takeDraining(at conf.Address) *Listener {
	p.drainingMu.Lock()
	defer p.drainingMu.Unlock()
	ln := p.draining[at]
	if ln != nil {
		delete(p.draining, at)
		ln.draining.Store(false)
	}
	return ln
}

// closeDrained closes a listener that has stopped and has no flows, unless it is wanted again.
func (p *Plane) closeDrained(ln *Listener) {
	p.drainingMu.Lock()
	defer p.drainingMu.Unlock()
	if p.draining[ln.at] == ln {
		delete(p.draining, ln.at)
		p.postAll(func(l *loop) {
			l.eachUDPSocket(ln, func(u *udpSocket) { l.closeUDPSocket(u, ReasonCutListenerRemoved) })
		})
	}
}
