package l4

// Opening listen sockets: TCP, UDP and unix.

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bind opens a listen socket of the listener. The first socket of an address is bound without SO_REUSEPORT: an address
// that another process of the same user listens on is refused, not shared. It gets the option afterwards, so that the
// other loops' sockets can join.
func (ln *Listener) bind(set *Settings, share bool) (int32, error) {
	if ln.at.Path != "" {
		return bindUnix(ln.at.Path, set.UnixFile)
	}
	var to rawAddr
	ip := ln.at.Addr.Addr()
	zone, e := zoneIndex(ip)
	if e != 0 {
		return -1, e
	}
	to.setIP(ln.at.Addr, zone)
	kind := unix.SOCK_STREAM
	if ln.udp {
		kind = unix.SOCK_DGRAM
	}
	fd, e := openSocket(to.family(), kind)
	if lacksIPv6(e) && to.family() == unix.AF_INET6 && ip.IsUnspecified() {
		to.setIP(netip.AddrPortFrom(netip.IPv4Unspecified(), ln.at.Addr.Port()), 0)
		if fd, e = openSocket(to.family(), kind); e == 0 && !ln.ipv4Only {
			ln.ipv4Only = true
			ln.plane.log.Warn("IPv6 is not available: listening at all IPv4 addresses", "address", ln.at.String())
		}
	}
	if e != 0 {
		return -1, e
	}
	if to.family() == unix.AF_INET6 {
		setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, boolInt(!ip.IsUnspecified()))
	}
	if e = bindToInterface(fd, set.Interface); e != 0 {
		closeFD(fd)
		return -1, fmt.Errorf("interface %s: %w", set.Interface, e)
	}
	if set.Freebind {
		setOption(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1) // of IPv6 sockets too
	}
	if ln.udp {
		setUDPOptions(fd, ip.IsUnspecified())
	} else {
		setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		setInheritedOptions(fd, set)
	}
	setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, boolInt(share))
	if e = bindSocket(fd, &to); e != 0 {
		closeFD(fd)
		if e == syscall.EACCES && ln.at.Addr.Port() < 1024 {
			return -1, fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE", e)
		}
		return -1, e
	}
	setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	return fd, nil
}

// lacksIPv6 reports whether opening an IPv6 socket failed because the kernel lacks IPv6 (ipv6.disable=1) or because a
// filter forbids it (systemd RestrictAddressFamilies, seccomp).
func lacksIPv6(e errno) bool {
	return e == syscall.EAFNOSUPPORT || e == syscall.EPERM || e == syscall.EACCES
}

// listen lets the kernel queue clients at a bound socket. UDP sockets receive once they are bound.
func (ln *Listener) listen(fd int32, set *Settings) errno {
	if ln.udp {
		return 0
	}
	e := listenFD(fd, set.Backlog)
	if e == 0 && ln.at.Path == "" {
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, boolInt(!set.delaysAck())) // inherited, and reset by listen
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, boolInt(set.DeferAccept))
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, set.FastOpen)
	}
	return e
}

// delaysAck reports whether the kernel delays the acknowledgement of a client's first bytes (socket.acknowledge). What weir
// only peeks at it acknowledges on arrival or not before the bytes are read.
func (s *Settings) delaysAck() bool { return !s.AcceptProxy && (s.Routes == nil || !s.Routes.Hello) }

// setInheritedOptions sets the options that accepted sockets inherit, which saves the calls for each session.
func setInheritedOptions(fd int32, set *Settings) {
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	setOption(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	set.keepalive(fd)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(set.UserTimeout/time.Millisecond))
}

// zoneIndex returns the interface index of the zone of an address, or 0 if it has no zone.
func zoneIndex(addr netip.Addr) (uint32, errno) {
	if addr.Zone() == "" {
		return 0, 0
	}
	iface, err := net.InterfaceByName(addr.Zone())
	if index, notNumber := strconv.Atoi(addr.Zone()); err != nil && notNumber == nil {
		iface, err = net.InterfaceByIndex(index)
	}
	if err != nil {
		return 0, syscall.ENODEV
	}
	return uint32(iface.Index), 0
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
