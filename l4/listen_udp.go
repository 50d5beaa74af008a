package l4

// UDP listen sockets and the end of UDP listeners. The kernel spreads clients over the loops' sockets by address and port,
// so a client reaches the same loop as long as the number of sockets does not change. A UDP listener has no accept queue
// to empty when it stops: its flows go on through the same sockets, which close with the last flow.

import (
	"golang.org/x/sys/unix"

	"weir/conf"
)

// Requested socket buffer sizes, in bytes as the kernel counts them, which doubles them. All clients of a loop share
// a listen socket; the default buffer holds a few hundred small datagrams. A server's replies wait in the flow's
// socket while the loop does not run: with the default, a flow of a thousand small replies a second loses some when
// a busy machine delays the loop by a quarter of a second.
const (
	listenBufferSize = 4 << 20
	flowBufferSize   = 512 << 10
)

// setBufferSize sets the size of a socket buffer. Without CAP_NET_ADMIN it is limited by net.core.rmem_max and wmem_max.
func setBufferSize(fd int32, force, ordinary, size int) {
	if setOption(fd, unix.SOL_SOCKET, force, size) != 0 {
		setOption(fd, unix.SOL_SOCKET, ordinary, size)
	}
}

// setUDPOptions prepares a listen socket, bound or not. wildcard: it is for all addresses of the host.
func setUDPOptions(fd int32, wildcard bool) {
	if socketFamily(fd) == unix.AF_INET {
		setOption(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, boolInt(wildcard))
	} else {
		setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, boolInt(wildcard))
	}
	setBufferSize(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, listenBufferSize)
	setBufferSize(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, listenBufferSize)
	setOption(fd, unix.SOL_UDP, unix.UDP_GRO, 1) // fails before Linux 5.0: then nothing is joined
}

// stopUDP makes the listener accept no new clients and close with its last flow. No flow begins after it returns.
func (ln *Listener) stopUDP() {
	ln.plane.runOnLoops(func(l *loop) { l.eachUDPSocket(ln, func(u *udpSocket) { u.draining = true }) })
	ln.plane.drainListener(ln)
}

// releaseFlow uncounts a flow. The last flow of a draining listener closes it.
func (ln *Listener) releaseFlow() {
	if ln.flows.Add(-1) == 0 && ln.draining.Load() {
		ln.plane.closeDrained(ln)
	}
}

// reopen makes a listener that drains accept new clients again, and reports whether it was draining.
func (ln *Listener) reopen() bool {
	if !ln.stopped {
		return false
	}
	ln.stopped = false
	ln.plane.postAll(func(l *loop) { l.eachUDPSocket(ln, func(u *udpSocket) { u.draining = false }) })
	return true
}

// drainListener adds a stopped listener to those that drain. A listener without flows is closed when it returns.
func (p *Plane) drainListener(ln *Listener) {
	p.drainingMu.Lock()
	ln.stopped = true
	ln.draining.Store(true)
	p.draining[ln.at] = ln
	p.drainingMu.Unlock()
	if ln.flows.Load() == 0 {
		p.closeDrained(ln)
		p.runOnLoops(func(*loop) {}) // until it is closed
	}
}

// takeDraining removes and returns the listener of the address that drains, or returns nil.
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

// HoldDraining returns the UDP listeners that drain. None of them closes before its Release.
func (p *Plane) HoldDraining() (held []*Listener) {
	p.drainingMu.Lock()
	defer p.drainingMu.Unlock()
	for _, ln := range p.draining {
		for n := ln.flows.Load(); n > 0; n = ln.flows.Load() { // without a flow it is about to close
			if ln.flows.CompareAndSwap(n, n+1) {
				held = append(held, ln)
				break
			}
		}
	}
	return held
}

// Hold keeps a UDP listener without flows open when it stops, until Release.
func (ln *Listener) Hold() { ln.flows.Add(1) }

// Release ends a hold, after the flows that are on their way to a loop have arrived there.
func (ln *Listener) Release() {
	ln.plane.runOnLoops(func(*loop) {})
	ln.releaseFlow()
}

// closeDrained closes a stopped listener that has no flows, unless it was reopened.
func (p *Plane) closeDrained(ln *Listener) {
	p.drainingMu.Lock()
	defer p.drainingMu.Unlock()
	if p.draining[ln.at] == ln {
		delete(p.draining, ln.at)
		p.udpPorts.remove(ln)
		p.postAll(func(l *loop) {
			l.eachUDPSocket(ln, func(u *udpSocket) { l.closeUDPSocket(u, ReasonCutListenerRemoved) })
		})
	}
}
