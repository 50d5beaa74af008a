package l4

// The addresses of this process's own sockets. What comes from one of them was sent by weir itself: datagrams are
// dropped, and connections are rejected that a session makes to a listener which it came through (tcp_loops.go).

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ownAddress is the local address of a socket: IP address, IPv4 in mapped form, and port. The zero value is none.
type ownAddress [18]byte

func makeOwnAddress(ip *[16]byte, port uint16) (a ownAddress) {
	copy(a[:], ip[:])
	binary.NativeEndian.PutUint16(a[16:], port)
	return a
}

// ownAddressOf returns the local address of a socket, or none.
func ownAddressOf(fd int32) ownAddress {
	at := socketName(fd)
	if !at.IsValid() {
		return ownAddress{}
	}
	ip := at.Addr().As16()
	return makeOwnAddress(&ip, at.Port())
}

// listenerPorts holds the started listeners of one protocol by port.
type listenerPorts struct {
	ports atomic.Pointer[map[uint16][]*Listener] // replaced, not changed; nil = none yet
}

func (o *listenerPorts) add(ln *Listener) {
	o.change(ln.at.Addr.Port(), func(list []*Listener) []*Listener { return append(slices.Clone(list), ln) })
}

func (o *listenerPorts) remove(ln *Listener) {
	o.change(ln.at.Addr.Port(), func(list []*Listener) []*Listener {
		return slices.DeleteFunc(slices.Clone(list), func(l *Listener) bool { return l == ln })
	})
}

func (o *listenerPorts) change(port uint16, change func([]*Listener) []*Listener) {
	for {
		old := o.ports.Load()
		ports := map[uint16][]*Listener{}
		if old != nil {
			ports = maps.Clone(*old)
		}
		if ports[port] = change(ports[port]); len(ports[port]) == 0 {
			delete(ports, port)
		}
		if o.ports.CompareAndSwap(old, &ports) {
			return
		}
	}
}

// at returns the listeners with a port.
func (o *listenerPorts) at(port uint16) []*Listener {
	if ports := o.ports.Load(); ports != nil {
		return (*ports)[port]
	}
	return nil
}

// isOwn reports whether a datagram with this key comes from a socket of this process: one that is connected to a server,
// or a listen socket.
func (p *Plane) isOwn(key *flowKey) bool {
	if p.flowAddresses.contains(makeOwnAddress(key.ip(), key.port())) {
		return true
	}
	for _, ln := range p.udpPorts.at(key.port()) {
		if ln.sendsFrom(key) {
			return true
		}
	}
	return false
}

// sendsFrom reports whether a source address with the listener's port is one of the listener.
func (ln *Listener) sendsFrom(key *flowKey) bool {
	source, at := key.client().Addr(), ln.at.Addr.Addr()
	switch {
	case source == at:
		return true
	case !at.IsUnspecified(), at.Is4() && !source.Is4():
		return false
	case source.IsLoopback(), *key.local() == *key.ip():
		return true
	}
	return isHostAddress(source, key.scope())
}

// isHostAddress reports whether an address is one of this host: the kernel sends from it to itself.
func isHostAddress(ip netip.Addr, scope uint32) bool {
	family := unix.AF_INET6
	if ip.Is4() {
		family = unix.AF_INET
	}
	fd, e := openSocket(family, unix.SOCK_DGRAM)
	if e != 0 {
		return false
	}
	defer closeFD(fd)
	var to, from rawAddr
	to.setIP(netip.AddrPortFrom(ip, 1), scope)
	return connectSocket(fd, &to) == 0 && localAddr(fd, &from) == 0 && from.ip().Addr() == ip
}

// ServerAddresses are the addresses of a cluster's servers. What comes from one of them is the answer to a reply that weir has
// sent there, or was forged so that weir sends it one. A server that answers each datagram would continue for ever. nil is the
// empty set.
type ServerAddresses map[netip.AddrPort]struct{}

// Add adds an address. Port 0 stands for all ports of the listener (AddListenerPort).
func (s ServerAddresses) Add(at netip.AddrPort) { s[plainAddress(at)] = struct{}{} }

// AddListenerPort adds a port of the listener: servers may have the same.
func (s ServerAddresses) AddListenerPort(port uint16) {
	s[netip.AddrPortFrom(netip.Addr{}, port)] = struct{}{}
}

func (s ServerAddresses) has(at netip.AddrPort) bool {
	if len(s) == 0 {
		return false
	}
	at = plainAddress(at)
	if _, found := s[at]; found {
		return true
	}
	if _, same := s[netip.AddrPortFrom(at.Addr(), 0)]; !same {
		return false
	}
	_, found := s[netip.AddrPortFrom(netip.Addr{}, at.Port())]
	return found
}

// plainAddress returns an address without its zone, and IPv4 in its own form.
func plainAddress(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// reportLoop counts datagrams that would circle, and warns of the first.
func (u *udpSocket) reportLoop(l *loop, key *flowKey, message string, n int) {
	u.drop(DropLoop, n)
	if !u.ln.loopReported.Swap(true) {
		l.plane.warn(message, "listener", u.ln.set.Load().Name,
			"address", u.ln.at.String(), "client", key.client().String())
	}
}
