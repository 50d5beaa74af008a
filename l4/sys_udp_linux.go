package l4

// The system calls for datagrams, many per call, with their control messages (udp(7), recvmmsg(2), sendmmsg(2)). As in
// sys_linux.go, all return at once.

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the message header of one datagram, or with GRO and GSO of several of one size, and its length.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// recvMany receives at most as many datagrams as there are headers. Fewer mean that the socket is empty.
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

// sendMany sends datagrams and returns how many the socket took. An error is that of the first one; the error of a
// later datagram is returned when it is the first.
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

// discardErrors empties the error queue of a socket with IP_RECVERR (ip(7)). Its content was read as the socket's error
// already.
func discardErrors(fd int32) {
	var hdr unix.Msghdr
	for range 64 {
		if _, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); e != 0 {
			return
		}
	}
}

// peerOf returns the address that a socket is connected to; zero if it is not connected.
func peerOf(fd int32) netip.AddrPort {
	var a rawAddr
	a.len = unix.SizeofSockaddrAny
	if _, _, e := syscall.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(unsafe.Pointer(&a.len))); e != 0 {
		return netip.AddrPort{}
	}
	return a.ip()
}

// controlSize fits the control messages of one datagram: an address (at most 40 bytes) and a segment size (24).
const controlSize = 64

// control holds the control messages of one datagram (cmsg(3)), received or to be sent.
type control [controlSize]byte

const (
	cmsgHeader = unix.SizeofCmsghdr
	wordSize   = int(unsafe.Sizeof(uintptr(0)))
)

func cmsgAlign(n int) int { return (n + wordSize - 1) &^ (wordSize - 1) }

// putHeader starts a control message at an offset and returns the place of its data.
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

// putSource adds the source address of a datagram and returns the offset after it. IPv6 sockets need IPv4 addresses in
// mapped form.
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

// putSegment adds the size into which the kernel splits the data, and returns the offset after it.
func (c *control) putSegment(at int, size uint16) int {
	binary.NativeEndian.PutUint16(c.putHeader(at, unix.SOL_UDP, unix.UDP_SEGMENT, 2), size)
	return at + cmsgAlign(cmsgHeader+2)
}

// controlInfo is the content of a datagram's control messages.
type controlInfo struct {
	local   [16]byte // destination address, IPv4 in mapped form; zero = unknown
	segment int      // size of the datagrams that the kernel has joined; 0 = a single datagram
}

// parseControl reads control messages. It skips unknown messages and stops at a malformed one.
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
			if a.local[0] == 0xff { // a reply cannot have a multicast source
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

// mapped returns an IPv4 address in IPv6-mapped form.
func mapped(ip [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: ip[0], 13: ip[1], 14: ip[2], 15: ip[3]}
}

// sockaddr is the address of an IP socket in the kernel's form.
type sockaddr [unix.SizeofSockaddrInet6]byte

// put stores an address, IPv4 in mapped form, for a socket of the family and returns its length.
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

// get returns the address that the kernel has written, or false if it is not that of an IP socket.
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

// addrPort converts an address; mapped IPv4 becomes IPv4.
func addrPort(ip *[16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(*ip).Unmap(), port)
}

// socketName returns the local address and port of a socket; invalid if the kernel does not say.
func socketName(fd int32) netip.AddrPort {
	var at rawAddr
	if localAddr(fd, &at) != 0 {
		return netip.AddrPort{}
	}
	ip, port, _, ok := (*sockaddr)(at.bytes()).get(at.len)
	if !ok {
		return netip.AddrPort{}
	}
	return addrPort(&ip, port)
}

// overflows returns how many datagrams a socket has dropped because it was full (SK_MEMINFO_DROPS of SO_MEMINFO,
// socket(7)).
func overflows(fd int32) uint32 {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 || size < uint32(unsafe.Sizeof(info)) {
		return 0
	}
	return info[8]
}
