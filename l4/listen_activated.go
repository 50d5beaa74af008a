package l4

// Socket activation: listen sockets that a service manager has opened and passes to the process. The service manager
// keeps them open when the process ends.

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// ActivatedSocket is a listen socket that a service manager has passed.
type ActivatedSocket struct {
	Protocol string // tcp or udp; tcp for unix sockets
	At       conf.Address
	fd       int32
}

// NewActivatedSocket returns the listen socket that f refers to. It closes f, also after an error.
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
	if err := a.inspect(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// inspect determines the protocol and the address of the socket.
func (a *ActivatedSocket) inspect() error {
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
		return fmt.Errorf("not a listen socket")
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
			return fmt.Errorf("unix socket: want a stream socket with a name")
		}
		a.At = conf.Address{Path: name.Name}
	default:
		return fmt.Errorf("want an IP or unix socket")
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// Close closes the socket, unless a listener or a file owns it.
func (a *ActivatedSocket) Close() {
	if a.fd >= 0 {
		closeFD(a.fd)
		a.fd = -1
	}
}

// File returns the socket as a file, which owns it from now on.
func (a *ActivatedSocket) File() *os.File {
	f := os.NewFile(uintptr(a.fd), a.At.String())
	a.fd = -1
	return f
}

// ListenActivated makes a listener from the socket, which it owns from now on. Its file, if it has one, is not removed when
// the listener stops. The other loops get sockets of their own if the kernel permits it: it does if the same user has
// opened the first. Otherwise the one socket serves all clients, and sessions move to the other loops.
func (p *Plane) ListenActivated(a *ActivatedSocket, set *Settings) *Listener {
	ln := p.newListener(a.At, set, a.Protocol == "udp")
	ln.fds = []int32{a.fd}
	a.fd = -1
	if ln.udp {
		setUDPOptions(ln.fds[0], a.At.Addr.Addr().IsUnspecified())
	} else {
		ln.applySocketOptions(set)
	}
	if a.At.Path == "" {
		setOption(ln.fds[0], unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	ln.addSockets(set)
	return ln
}

// DescriptorOf returns the descriptor of a file without changing it. File.Fd would make it blocking in every process that
// shares it.
func DescriptorOf(f syscall.Conn) (int32, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := int32(-1)
	err = raw.Control(func(fd uintptr) { number = int32(fd) })
	return number, err
}
