package l4

// The system calls for datagrams: many at a time in and out of the kernel, with what belongs to each of them (udp(7),
// recvmmsg(2), sendmmsg(2)). As in sys_linux.go, all of them return at once.

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is one datagram of many, or with GRO and GSO several of one size: what the kernel reads and writes of it, and
// its length.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// recvMany takes what a socket holds, at most as many datagrams as there are headers. Fewer than asked for means that it
// was empty.
func recvMany(fd int32, msgs []mmsghdr) (int, errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// sendMany hands datagrams to a socket and returns how many it took. An error is that of the first one; one that meets a
// later datagram shows when that comes first.
func sendMany(fd int32, msgs []mmsghdr) (int, errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(msgs))), uintptr(len(msgs)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if e == 0 {
			return int(n), 0
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}

// discardErrors empties the error queue that IP_RECVERR gives a socket (ip(7)): what it says was read as the socket's
// error already.
func discardErrors(fd int32) {
	var hdr unix.Msghdr
	for range 64 {
		if _, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); e != 0 {
			return
		}
	}
}

// peerOf is where a connected socket leads to; zero if it is not connected.
func peerOf(fd int32) netip.AddrPort {
	var a rawAddr
	a.len = unix.SizeofSockaddrAny
	if _, _, e := syscall.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(unsafe.Pointer(&a.len))); e != 0 {
		return netip.AddrPort{}
	}
	return a.ip()
}

// Room for the control messages of one datagram: an address (at most 40 bytes) and a segment size (24).
const controlSize = 64

// control is the control messages of one datagram (cmsg(3)), as the kernel wrote them or is to read them.
type control [controlSize]byte

const (
	cmsgHeader = unix.SizeofCmsghdr
	wordSize   = int(unsafe.Sizeof(uintptr(0)))
)

func cmsgAlign(n int) int { return (n + wordSize - 1) &^ (wordSize - 1) }

// putHeader begins a control message at an offset and returns where its data goes.
func (c *control) putHeader(at, level, kind, size int) []byte {
	b := c[at:]
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(b, uint64(cmsgHeader+size))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(cmsgHeader+size))
	}
	binary.NativeEndian.PutUint32(b[wordSize:], uint32(level))
	binary.NativeEndian.PutUint32(b[wordSize+4:], uint32(kind))
	return b[cmsgHeader : cmsgHeader+size]
}

// putSource says from which of this host's addresses a datagram is to leave, and returns the offset behind. A socket of
// the family IPv6 wants IPv4 addresses in their mapped form.
func (c *control) putSource(at int, family int, ip *[16]byte, scope uint32) int {
	if family == unix.AF_INET {
		b := c.putHeader(at, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		clear(b)
		copy(b[4:8], ip[12:]) // ipi_spec_dst
		return at + cmsgAlign(cmsgHeader+unix.SizeofInet4Pktinfo)
	}
	b := c.putHeader(at, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	copy(b, ip[:])
	binary.NativeEndian.PutUint32(b[16:], scope)
	return at + cmsgAlign(cmsgHeader+unix.SizeofInet6Pktinfo)
}

// putSegment says into datagrams of which size the kernel is to cut what it is given, and returns the offset behind.
func (c *control) putSegment(at int, size uint16) int {
	binary.NativeEndian.PutUint16(c.putHeader(at, unix.SOL_UDP, unix.UDP_SEGMENT, 2), size)
	return at + cmsgAlign(cmsgHeader+2)
}

// controlInfo is what came with a datagram.
type controlInfo struct {
	local   [16]byte // the address that it was sent to, IPv4 in its mapped form; zero = not told
	segment int      // the size of the datagrams that the kernel has joined; 0 = it is one
}

// parseControl reads the control messages of a datagram. What it does not know it passes over; what does not fit ends it.
func parseControl(b []byte) (a controlInfo) {
	for len(b) >= cmsgHeader {
		size := int(binary.NativeEndian.Uint32(b))
		if wordSize == 8 {
			size = int(min(binary.NativeEndian.Uint64(b), controlSize+1))
		}
		if size < cmsgHeader || size > len(b) {
			return a
		}
		level, kind := binary.NativeEndian.Uint32(b[wordSize:]), binary.NativeEndian.Uint32(b[wordSize+4:])
		data := b[cmsgHeader:size]
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.local = mapped([4]byte(data[4:8]))
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.local = [16]byte(data[:16])
			if a.local[0] == 0xff { // multicast: no address to answer from
				a.local = [16]byte{}
			}
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(data) >= 4:
			if n := int(int32(binary.NativeEndian.Uint32(data))); n > 0 {
				a.segment = n
			}
		}
		b = b[min(cmsgAlign(size), len(b)):]
	}
	return a
}

// mapped is an IPv4 address in the form of IPv6.
func mapped(ip [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: ip[0], 13: ip[1], 14: ip[2], 15: ip[3]}
}

// sockaddr is the address of an IP socket in kernel form.
type sockaddr [unix.SizeofSockaddrInet6]byte

// release fills in an address whose IPv4 is mapped, for a socket of the family, and returns its length.
func (s *sockaddr) put(family int, ip *[16]byte, port uint16, scope uint32) uint32 {
	binary.NativeEndian.PutUint16(s[:], uint16(family))
	binary.BigEndian.PutUint16(s[2:], port)
	if family == unix.AF_INET {
		copy(s[4:8], ip[12:])
		clear(s[8:16])
		return unix.SizeofSockaddrInet4
	}
	clear(s[4:8])
	copy(s[8:24], ip[:])
	binary.NativeEndian.PutUint32(s[24:], scope)
	return unix.SizeofSockaddrInet6
}

// get reads what the kernel has written; false if it is no address of an IP socket.
func (s *sockaddr) get(size uint32) (ip [16]byte, port uint16, scope uint32, ok bool) {
	port = binary.BigEndian.Uint16(s[2:])
	switch family := binary.NativeEndian.Uint16(s[:]); {
	case family == unix.AF_INET && size >= unix.SizeofSockaddrInet4:
		return mapped([4]byte(s[4:8])), port, 0, true
	case family == unix.AF_INET6 && size >= unix.SizeofSockaddrInet6:
		return [16]byte(s[8:24]), port, binary.NativeEndian.Uint32(s[24:]), true
	}
	return ip, 0, 0, false
}

// addrPort is an address as people write it.
func addrPort(ip *[16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(*ip).Unmap(), port)
}

// overflows is how many datagrams a socket has lost because it was full (SK_MEMINFO_DROPS of SO_MEMINFO, socket(7)).
func overflows(fd int32) uint32 {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 || size < uint32(unsafe.Sizeof(info)) {
		return 0
	}
	return info[8]
}
