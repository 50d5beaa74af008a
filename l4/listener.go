package l4

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"weir/conf"
)

// Listener is one address that accepts clients, TCP or UDP. Every loop has a listen socket of its own for it
// (SO_REUSEPORT), and the kernel spreads the clients over them; a unix socket has one. A listener that was inherited from
// another process has at least the sockets that it had there.
type Listener struct {
	plane     *Plane
	at        conf.Address
	fds       []int32     // owned by the loops from Start on
	file      os.FileInfo // identifies the file of a unix socket; nil = not to be removed
	inherited bool
	udp       bool
	ipv4Only  bool // bound to all IPv4 addresses instead of all addresses: the host lacks IPv6
	set       atomic.Pointer[Settings]

	counters []Counters               // one for each loop, which alone writes it
	baseline atomic.Pointer[Counters] // counted in another process; nil = nothing

	// UDP.
	flows        atomic.Int64 // current flows of all loops
	ages         []flowAges   // of the flows of each socket
	stopped      bool         // accepts no new clients; guarded by the caller of its methods
	draining     atomic.Bool  // accepts no new clients and closes with its last flow; changes with Plane.draining
	loopReported atomic.Bool  // a client that is a socket of weir was reported
}

func (p *Plane) newListener(at conf.Address, set *Settings, udp bool) *Listener {
	ln := &Listener{plane: p, at: at, udp: udp, counters: make([]Counters, len(p.loops))}
	ln.set.Store(set)
	return ln
}

// Listen binds an address. The kernel queues clients from now on; none is accepted before Start. The error names the
// address and the cause. A listener that is never started must be closed with Discard. With shared set, the address may
// overlap with that of another listener of this plane; otherwise an address in use is an error.
func (p *Plane) Listen(at conf.Address, set *Settings, shared bool) (*Listener, error) {
	if at.Path != "" {
		if err := RemoveStaleSocket(at.Path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", at, err)
		}
	}
	return p.newListener(at, set, false).open(set, shared)
}

// Reopen is Listen for a TCP listener that was stopped and still has sessions: it keeps these and its counters. After an
// error or Discard it is stopped as before.
func (ln *Listener) Reopen(set *Settings, shared bool) error {
	if ln.at.Path != "" {
		if err := RemoveStaleSocket(ln.at.Path); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	ln.fds, ln.inherited = nil, false
	ln.set.Store(set)
	_, err := ln.open(set, shared)
	return err
}

// ListenUDP is Listen for UDP. If a listener of the address is draining, ListenUDP returns it, with its flows.
func (p *Plane) ListenUDP(at conf.Address, set *Settings, shared bool) (*Listener, error) {
	if ln := p.takeDraining(at); ln != nil {
		ln.set.Store(set)
		return ln, nil
	}
	return p.newListener(at, set, true).open(set, shared)
}

// open makes the sockets of a new listener, which is discarded after an error. All are bound before one listens.
func (ln *Listener) open(set *Settings, shared bool) (*Listener, error) {
	sockets := len(ln.plane.loops)
	if ln.at.Path != "" {
		sockets = 1
	}
	for i := range sockets {
		fd, err := ln.bind(set, shared || i > 0)
		if i == 0 && errors.Is(err, syscall.EADDRINUSE) && ln.udp {
			ln.plane.runOnLoops(func(*loop) {}) // they may be about to close a drained listener of the address
			fd, err = ln.bind(set, shared)
		}
		if err != nil {
			ln.Discard()
			return nil, fmt.Errorf("listen on %s: %w", ln.at, err)
		}
		ln.fds = append(ln.fds, fd)
	}
	ln.identifyFile()
	for _, fd := range ln.fds {
		if e := ln.listen(fd, set); e != 0 {
			ln.Discard()
			return nil, fmt.Errorf("listen on %s: %w", ln.at, e)
		}
	}
	return ln, nil
}

// Inherit makes a TCP listener from the listen sockets of another process. The listener owns them; they are not changed
// before Start. If there are fewer sockets than loops, more are opened.
func (p *Plane) Inherit(at conf.Address, set *Settings, fds []int32) *Listener {
	ln := p.newListener(at, set, false)
	ln.fds, ln.inherited = fds, true
	ln.identifyFile()
	if err := ln.addSockets(set); err != nil {
		p.warnLimited("cannot add a listen socket", "address", at.String(), "error", err)
	}
	return ln
}

// InheritUDP is Inherit for UDP. It opens no further sockets: the kernel would spread the clients differently.
func (p *Plane) InheritUDP(at conf.Address, set *Settings, fds []int32) *Listener {
	ln := p.newListener(at, set, true)
	ln.fds, ln.inherited = fds, true
	return ln
}

// DetachedListener returns a listener without sockets, for sessions of a listener that this process does not have. No
// session begins there.
func (p *Plane) DetachedListener(address string) *Listener {
	var at conf.Address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		at.Path = path
	} else {
		at.Addr, _ = netip.ParseAddrPort(address)
		at.Port = at.Addr.Port()
	}
	return p.newListener(at, &Settings{}, false)
}

// addSockets opens listen sockets until every loop has one. After an error the existing ones serve all clients.
func (ln *Listener) addSockets(set *Settings) error {
	for ln.at.Path == "" && len(ln.fds) < len(ln.plane.loops) {
		fd, err := ln.bind(set, true)
		if err != nil {
			return err
		}
		if e := ln.listen(fd, set); e != 0 {
			closeFD(fd)
			return e
		}
		ln.fds = append(ln.fds, fd)
	}
	return nil
}

// Address returns the address that the listener was opened with.
func (ln *Listener) Address() conf.Address { return ln.at }

// Settings returns the settings of new sessions.
func (ln *Listener) Settings() *Settings { return ln.set.Load() }

// Sockets returns the listen sockets, which the listener keeps.
func (ln *Listener) Sockets() []int32 { return ln.fds }

// UDP reports whether the listener is one for datagrams.
func (ln *Listener) UDP() bool { return ln.udp }

// Inherited reports whether the sockets were inherited from another process.
func (ln *Listener) Inherited() bool { return ln.inherited }

// Discard closes a listener that was not started.
func (ln *Listener) Discard() {
	if ln.stopped { // a draining listener that ListenUDP returned: it drains on
		ln.plane.drainListener(ln)
		return
	}
	for _, fd := range ln.fds {
		closeFD(fd)
	}
	ln.fds = nil
	if !ln.inherited { // else the file belongs to the process that keeps the socket
		ln.removeFile()
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
	if ln.udp {
		ln.plane.udpPorts.add(ln)
		ln.ages = make([]flowAges, len(ln.fds))
		for i := range ln.ages {
			ln.ages[i].init()
		}
	}
	if !ln.udp && ln.at.Path == "" {
		ln.plane.tcpPorts.add(ln)
	}
	for i, fd := range ln.fds {
		ln.plane.loops[i%len(ln.plane.loops)].post(message{do: func(l *loop) { l.addListenSocket(ln, fd) }})
	}
}

// applySocketOptions sets the options that accepted sockets inherit, and the backlog.
func (ln *Listener) applySocketOptions(set *Settings) {
	ln.applyInterface(set)
	if ln.udp {
		return
	}
	for _, fd := range ln.fds {
		if ln.at.Path == "" {
			setInheritedOptions(fd, set)
		}
		ln.listen(fd, set)
	}
	if ln.file != nil {
		if err := set.UnixFile.apply(ln.at.Path); err != nil {
			ln.plane.log.Warn("cannot change the file of a unix socket", "address", ln.at.String(), "error", err)
		}
	}
}

// applyInterface binds the sockets to the interface of the settings, or unbinds them.
func (ln *Listener) applyInterface(set *Settings) {
	if ln.at.Path != "" {
		return
	}
	for _, fd := range ln.fds {
		if e := changeInterface(fd, set.Interface); e != 0 {
			ln.plane.log.Warn("cannot bind a listen socket to an interface", "address", ln.at.String(), "interface", set.Interface, "error", e)
			return
		}
	}
}

// Update sets the settings of new sessions and of those that are held. Other sessions keep theirs.
func (ln *Listener) Update(set *Settings) {
	old := ln.set.Swap(set)
	if old.WaitWhenFull {
		ln.plane.resumeWaiting() // the limit may be higher
	}
	if old.SocketOptions != set.SocketOptions || old.delaysAck() != set.delaysAck() {
		ln.applySocketOptions(set)
	}
	if !ln.udp && ln.plane.held.Load() > 0 {
		ln.plane.postAll(func(l *loop) { l.updateHeld(ln, set) })
	}
}

// Stop stops accepting. A TCP listener accepts the clients that are queued and closes; a UDP listener closes with its
// last flow. Sessions continue. No session begins after Stop returns.
func (ln *Listener) Stop() {
	if ln.udp {
		ln.stopUDP()
		return
	}
	ln.plane.runOnLoops(func(l *loop) { l.closeListenSockets(ln) })
	ln.plane.tcpPorts.remove(ln)
	ln.removeFile()
}
