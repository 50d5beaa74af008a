package l4

// Listening sockets: made before anything is changed, accepted from once started, emptied before they are closed.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// Listener is one address where clients arrive. Every loop has a listening socket of its own for it (SO_REUSEPORT),
// between which the kernel spreads the clients; a unix socket has one. One that was inherited from another process has at
// least the sockets that it had there.
type Listener struct {
	plane     *Plane
	at        conf.Address
	fds       []int32     // its sockets; from Start on they are the loops', who close them
	file      os.FileInfo // of a unix socket, to know it again
	inherited bool
	udp       bool
	set       atomic.Pointer[Settings]

	counters []Counters               // one for each loop, written by it alone
	baseline atomic.Pointer[Counters] // msgs another process; nil = nothing

	// Of UDP.
	flows    atomic.Int64 // flows now, of all loops
	stopped  bool         // it takes no new clients; whoever calls its methods knows
	draining atomic.Bool  // it takes no new clients and closes with its last flow; set with the plane's list of those
}

// Listen binds an address and starts queueing clients, but accepts none before Start. The error names the address and
// what the kernel said. A listener that is never started is closed with Discard. An address may overlap with that of
// another listener of this plane only if beside is set; otherwise whoever holds it makes Listen fail.
func (p *Plane) Listen(at conf.Address, set *Settings, beside bool) (*Listener, error) {
	ln := p.newListener(at, set)
	sockets := len(p.loops)
	if at.Path != "" {
		if err := removeStaleSocket(at.Path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", at, err)
		}
		sockets = 1
	}
	for i := range sockets {
		fd, e := bindTCP(at, set, beside || i > 0)
		if e != 0 {
			ln.Discard()
			return nil, fmt.Errorf("listen on %s: %w", at, e)
		}
		ln.fds = append(ln.fds, fd)
	}
	if at.Path != "" && at.Path[0] != '@' {
		ln.file, _ = os.Lstat(at.Path)
	}
	for _, fd := range ln.fds {
		if e := listenFD(fd, set.Backlog); e != 0 {
			ln.Discard()
			return nil, fmt.Errorf("listen on %s: %w", at, e)
		}
	}
	return ln, nil
}

func (p *Plane) newListener(at conf.Address, set *Settings) *Listener {
	ln := &Listener{plane: p, at: at, counters: make([]Counters, len(p.loops))}
	ln.set.Store(set)
	return ln
}

// Inherit makes a listener of the sockets that another process has listened with at the address. It owns them from now
// on. Nothing about them is changed before Start. Where there are fewer than loops, others are added.
func (p *Plane) Inherit(at conf.Address, set *Settings, fds []int32) *Listener {
	ln := p.newListener(at, set)
	ln.fds, ln.inherited = fds, true
	if at.Path != "" {
		if at.Path[0] != '@' {
			ln.file, _ = os.Lstat(at.Path)
		}
		return ln
	}
	for len(ln.fds) < len(p.loops) {
		fd, e := bindTCP(at, set, true)
		if e == 0 {
			if e = listenFD(fd, set.Backlog); e != 0 {
				closeFD(fd)
			}
		}
		if e != 0 { // the ones there are serve all clients, from fewer loops
			p.warnLimited("cannot add a listening socket", "address", at.String(), "error", e)
			break
		}
		ln.fds = append(ln.fds, fd)
	}
	return ln
}

// bindTCP makes one listening socket. The first of an address is bound without SO_REUSEPORT, so that an address
// that another process of the same user listens at is refused instead of shared with it; it gets the option afterwards,
// for the others to join.
func bindTCP(at conf.Address, set *Settings, share bool) (int32, errno) {
	var to rawAddr
	if at.Path != "" {
		if !to.setPath(at.Path) {
			return -1, syscall.ENAMETOOLONG
		}
	} else {
		scope, e := zoneIndex(at.Addr.Addr())
		if e != 0 {
			return -1, e
		}
		to.setIP(at.Addr, scope)
	}
	fd, e := openSocket(to.family(), unix.SOCK_STREAM)
	if e != 0 {
		return -1, e
	}
	if at.Path == "" {
		setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if to.family() == unix.AF_INET6 {
			only := 1
			if at.Addr.Addr().IsUnspecified() {
				only = 0
			}
			setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
		}
		if share {
			setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	}
	if e = bindSocket(fd, &to); e != 0 {
		closeFD(fd)
		return -1, e
	}
	if at.Path == "" {
		setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		setInheritedOptions(fd, set)
	}
	return fd, 0
}

// setInheritedOptions sets what accepted sockets take over from the listening one, which saves the calls on every session.
func setInheritedOptions(fd int32, set *Settings) {
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	setOption(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	set.keepalive(fd)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(set.UserTimeout/time.Millisecond))
}

func zoneIndex(addr netip.Addr) (uint32, errno) {
	if addr.Zone() == "" {
		return 0, 0
	}
	iface, err := net.InterfaceByName(addr.Zone())
	if err != nil {
		return 0, syscall.ENODEV
	}
	return uint32(iface.Index), 0
}

// removeStaleSocket removes a socket file that nobody listens at any more, as a killed process leaves it. One that is alive,
// or a file that is no socket, is left alone.
func removeStaleSocket(path string) error {
	if path[0] == '@' {
		return nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%w: the file is not a socket", syscall.EEXIST)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Endpoint is the address the listener was made for.
func (ln *Listener) Endpoint() conf.Address { return ln.at }

// Settings is what new sessions get.
func (ln *Listener) Settings() *Settings { return ln.set.Load() }

// Sockets are the listening sockets, which stay the listener's.
func (ln *Listener) Sockets() []int32 { return ln.fds }

// Inherited tells whether the sockets are those of another process.
func (ln *Listener) Inherited() bool { return ln.inherited }

// Discard closes a listener that was not started.
func (ln *Listener) Discard() {
	if ln.stopped { // found again, and not wanted after all
		ln.plane.drainListener(ln)
		return
	}
	for _, fd := range ln.fds {
		closeFD(fd)
	}
	ln.fds = nil
	if !ln.inherited { // else it belongs to the process that goes on with the socket
		ln.removeFile()
	}
}

// removeFile removes the file of a unix socket, unless another has taken its place.
func (ln *Listener) removeFile() {
	if ln.file == nil {
		return
	}
	if now, err := os.Lstat(ln.at.Path); err == nil && os.SameFile(now, ln.file) {
		os.Remove(ln.at.Path)
	}
}

// Start begins to accept. The loops own the sockets from now on.
func (ln *Listener) Start() {
	if ln.udp && ln.reopen() {
		return
	}
	if ln.inherited {
		ln.applySocketOptions(ln.set.Load())
	}
	for i, fd := range ln.fds {
		ln.plane.loops[i%len(ln.plane.loops)].post(message{do: func(l *loop) {
			if ln.udp {
				l.addUDPSocket(ln, fd)
			} else {
				l.addListenSocket(ln, fd)
			}
		}})
	}
}

// applySocketOptions sets what clients inherit from the sockets, and the length of their queues.
func (ln *Listener) applySocketOptions(set *Settings) {
	if ln.udp {
		return
	}
	for _, fd := range ln.fds {
		if ln.at.Path == "" {
			setInheritedOptions(fd, set)
		}
		listenFD(fd, set.Backlog)
	}
}

// Update gives new sessions other settings; those under way keep theirs.
func (ln *Listener) Update(set *Settings) {
	old := ln.set.Swap(set)
	if ln.udp {
		return
	}
	if old.Keepalive == set.Keepalive && old.UserTimeout == set.UserTimeout && old.Backlog == set.Backlog {
		return
	}
	ln.applySocketOptions(set)
}

// Stop accepts what is queued, closes the sockets and returns when no client can arrive any more. Sessions go on.
func (ln *Listener) Stop() {
	if ln.udp {
		ln.stopUDP()
		return
	}
	ln.plane.runOnLoops(func(l *loop) { l.closeListenSockets(ln) })
	ln.removeFile()
}

// Chown gives a listener that is not started to another user: its sockets, so that they share their port with those that
// the user binds later (SO_REUSEPORT compares owners), and the file of a unix socket.
func (ln *Listener) Chown(uid, gid int) error {
	for _, fd := range ln.fds {
		if err := unix.Fchown(int(fd), uid, gid); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	if ln.file != nil {
		if err := os.Lchown(ln.at.Path, uid, gid); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
		ln.file, _ = os.Lstat(ln.at.Path)
	}
	return nil
}
