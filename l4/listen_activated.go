package l4

// Listening sockets that the process was started with: a service manager has made them, and keeps them when it ends.

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// ActivatedSocket is such a socket.
type ActivatedSocket struct {
	Protocol string // tcp or udp; sockets of the unix domain count as tcp
	At       conf.Address
	fd       int32
}

// NewActivatedSocket takes over a file that is a listening socket; with an error, or without, the file is closed.
func NewActivatedSocket(f *os.File) (*ActivatedSocket, error) {
	defer f.Close()
	from, err := DescriptorOf(f)
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	a := &ActivatedSocket{fd: int32(fd)}
	if err := a.look(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// checkProgress finds out what the socket is.
func (a *ActivatedSocket) look() error {
	fd := int(a.fd)
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case kind == unix.SOCK_STREAM && err == nil && listens == 1:
		a.Protocol = "tcp"
	case kind == unix.SOCK_DGRAM:
		a.Protocol = "udp"
	default:
		return fmt.Errorf("not a listening socket")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	ip := func(addr netip.Addr, port int) {
		a.At = conf.Address{Addr: netip.AddrPortFrom(addr.Unmap(), uint16(port)), Port: uint16(port)}
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		ip(netip.AddrFrom4(name.Addr), name.Port)
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(name.Addr)
		if name.ZoneId != 0 {
			zone := strconv.Itoa(int(name.ZoneId))
			if iface, err := net.InterfaceByIndex(int(name.ZoneId)); err == nil {
				zone = iface.Name
			}
			addr = addr.WithZone(zone)
		}
		ip(addr, name.Port)
	case *unix.SockaddrUnix:
		if a.Protocol == "udp" || name.Name == "" {
			return fmt.Errorf("a unix socket that is no stream, or has no name")
		}
		a.At = conf.Address{Path: name.Name}
	default:
		return fmt.Errorf("neither an IP nor a unix socket")
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// Close closes the socket, unless it has become a listener's or a file.
func (a *ActivatedSocket) Close() {
	if a.fd >= 0 {
		closeFD(a.fd)
		a.fd = -1
	}
}

// File makes the socket a file, whose it is from now on.
func (a *ActivatedSocket) File() *os.File {
	f := os.NewFile(uintptr(a.fd), a.At.String())
	a.fd = -1
	return f
}

// KeepsFile reports whether the file of a unix socket belongs to somebody else, who has opened it for this process.
func (ln *Listener) KeepsFile() bool {
	return ln.at.Path != "" && ln.at.Path[0] != '@' && ln.file == nil
}

// KeepFile makes the file of a unix socket somebody else's: it is not removed when the listener stops. It comes before Start.
func (ln *Listener) KeepFile() { ln.file = nil }

// ListenActivated makes a listener of the socket, whose it is from now on. Its file, if it has one, is not removed when
// it stops. Further loops get sockets of their own beside it where the kernel permits: it does if this user has made it.
func (p *Plane) ListenActivated(a *ActivatedSocket, set *Settings) *Listener {
	ln := p.newListener(a.At, set)
	ln.udp = a.Protocol == "udp"
	fd := a.fd
	a.fd = -1
	ln.fds = []int32{fd}
	switch {
	case ln.udp:
		setUDPOptions(fd, a.At)
	case a.At.Path != "":
		listenFD(fd, set.Backlog)
		return ln
	default:
		setInheritedOptions(fd, set)
		listenFD(fd, set.Backlog)
	}
	setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	for len(ln.fds) < len(p.loops) {
		var more int32
		var e errno
		if ln.udp {
			more, e = bindUDP(a.At, true)
		} else if more, e = bindTCP(a.At, set, true); e == 0 {
			if e = listenFD(more, set.Backlog); e != 0 {
				closeFD(more)
			}
		}
		if e != 0 {
			break // this one serves all clients, and other loops get their share of them
		}
		ln.fds = append(ln.fds, more)
	}
	return ln
}
