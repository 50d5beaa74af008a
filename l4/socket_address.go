package l4

// Socket addresses in the kernel's form, made once and used for every call.

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddr is a socket address in the kernel's form.
type rawAddr struct {
	any unix.RawSockaddrAny
	len uint32
}

func (a *rawAddr) bytes() []byte {
	return (*[unix.SizeofSockaddrAny]byte)(unsafe.Pointer(&a.any))[:]
}

func (a *rawAddr) family() int { return int(a.any.Addr.Family) }

// setIP stores an IP address and port. scope is the interface index of the zone.
func (a *rawAddr) setIP(ap netip.AddrPort, scope uint32) {
	*a = rawAddr{}
	b := a.bytes()
	addr := ap.Addr()
	if addr.Is4() {
		a.any.Addr.Family = unix.AF_INET
		binary.BigEndian.PutUint16(b[2:], ap.Port())
		ip := addr.As4()
		copy(b[4:], ip[:])
		a.len = unix.SizeofSockaddrInet4
		return
	}
	a.any.Addr.Family = unix.AF_INET6
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	ip := addr.As16()
	copy(b[8:], ip[:])
	binary.NativeEndian.PutUint32(b[24:], scope)
	a.len = unix.SizeofSockaddrInet6
}

// setPort replaces the port of an IP address.
func (a *rawAddr) setPort(port uint16) { binary.BigEndian.PutUint16(a.bytes()[2:], port) }

// setPath stores the path of a unix socket; a leading @ means the abstract namespace. It reports false if the path is
// too long.
func (a *rawAddr) setPath(path string) bool {
	*a = rawAddr{}
	b := a.bytes()
	if len(path) == 0 || len(path) > 107 {
		return false
	}
	a.any.Addr.Family = unix.AF_UNIX
	copy(b[2:], path)
	a.len = uint32(2 + len(path) + 1)
	if path[0] == '@' {
		b[2] = 0
		a.len--
	}
	return true
}

// ip returns an address that the kernel has written. IPv4-mapped addresses become IPv4; unix sockets return the zero
// value.
func (a *rawAddr) ip() netip.AddrPort {
	b := a.bytes()
	switch a.family() {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:]))
	}
	return netip.AddrPort{}
}

// scope returns the interface index of the zone; 0 = none.
func (a *rawAddr) scope() uint32 {
	if a.family() != unix.AF_INET6 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.bytes()[24:])
}

// putIP writes the 4 or 16 bytes of an address and returns their number; 0 for the zero Addr.
func putIP(to []byte, ip netip.Addr) int {
	switch {
	case ip.Is4():
		b := ip.As4()
		return copy(to, b[:])
	case ip.Is6():
		b := ip.As16()
		return copy(to, b[:])
	}
	return 0
}

// compactAddr is a small form of an address and port; the zero value is none.
type compactAddr struct {
	ip   [16]byte
	port uint16
	size uint8 // of the address: 4, 16 or 0
}

func (c *compactAddr) set(a netip.AddrPort) {
	c.port, c.size = a.Port(), uint8(putIP(c.ip[:], a.Addr()))
}

func (c *compactAddr) get() netip.AddrPort {
	ip, ok := netip.AddrFromSlice(c.ip[:c.size])
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, c.port)
}
