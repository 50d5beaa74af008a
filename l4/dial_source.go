package l4

// Where servers are dialled from: an address of this host, several in turn, or the client's own.

import (
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// dialSource is a conf.Source ready for dialling.
type dialSource struct {
	client bool
	v4, v6 addressPool
	warned atomic.Bool // that a client could not be shown to the server
}

func newDialSource(s conf.Source) *dialSource {
	if s.IsZero() {
		return nil
	}
	o := &dialSource{client: s.Client}
	for _, r := range s.Ranges {
		if r.Addr().Is4() {
			o.v4.add(r)
		} else {
			o.v6.add(r)
		}
	}
	return o
}

// addressPool hands out addresses in turn.
type addressPool struct {
	ranges []netip.Prefix // of at most 1<<24 addresses each
	count  uint32         // addresses in all of them
	turn   atomic.Uint32  // shared by the loops
}

func (p *addressPool) add(r netip.Prefix) {
	p.ranges = append(p.ranges, r)
	p.count += 1 << (r.Addr().BitLen() - r.Bits())
}

// next is the address whose turn it is.
func (p *addressPool) next() netip.Addr {
	i := uint32(0)
	if p.count > 1 {
		i = (p.turn.Add(1) - 1) % p.count
	}
	for _, r := range p.ranges {
		size := uint32(1) << (r.Addr().BitLen() - r.Bits())
		if i < size {
			return addTo(r.Addr(), i)
		}
		i -= size
	}
	return netip.Addr{}
}

// addTo is the address n after the first one of a range: the bits that n sets are clear in it.
func addTo(first netip.Addr, n uint32) netip.Addr {
	if first.Is4() {
		b := first.As4()
		for i := 3; n > 0; i, n = i-1, n>>8 {
			b[i] |= byte(n)
		}
		return netip.AddrFrom4(b)
	}
	b := first.As16()
	for i := 15; n > 0; i, n = i-1, n>>8 {
		b[i] |= byte(n)
	}
	return netip.AddrFrom16(b)
}

// sourceTries bounds how many local addresses are tried when they turn out to have no port left, which the kernel has
// to look at every port to find out.
const sourceTries = 16

// maxTries is how many addresses there are to dial from, within bounds.
func (o *dialSource) maxTries(family int) int {
	if o == nil || o.client {
		return 1
	}
	return int(max(1, min(o.pool(family).count, sourceTries)))
}

func (o *dialSource) pool(family int) *addressPool {
	if family == unix.AF_INET {
		return &o.v4
	}
	return &o.v6
}

// bind binds a socket that is about to connect. The port is chosen by connect, when it is known where to: 64 k sessions
// for each server and source, and not for all servers together.
func (o *dialSource) bind(fd int32, to *rawAddr, client netip.Addr) errno {
	from := client
	if !o.client {
		from = o.pool(to.family()).next()
	} else if !from.IsValid() || from.IsLoopback() && !to.ip().Addr().IsLoopback() {
		return 0 // the client is on this host: it shows the address that the host has towards the server
	}
	if !from.IsValid() || from.Is4() != (to.family() == unix.AF_INET) {
		return syscall.EAFNOSUPPORT
	}
	if o.client {
		if e := setTransparent(fd, to.family()); e != 0 {
			return e
		}
	}
	setOption(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	var at rawAddr
	at.setIP(netip.AddrPortFrom(from, 0), 0)
	return bindSocket(fd, &at)
}

// warnUnusable tells, once for a target, that a server cannot be dialled from a client's address at all.
func (o *dialSource) warnUnusable(l *loop, s *session, e errno) {
	if o == nil || !o.client || e != syscall.EAFNOSUPPORT && e != syscall.EPERM || o.warned.Swap(true) {
		return
	}
	l.plane.log.Warn("cannot dial a server from the client's own address", "cluster", s.set.ClusterName,
		"server", s.dialer.target.texts[0], "client", s.clientAddr.get().Addr().String(), "error", e)
}

// setTransparent lets a socket have an address that is not this host's (IP_TRANSPARENT, ip(7)): CAP_NET_ADMIN or
// CAP_NET_RAW.
func setTransparent(fd int32, family int) errno {
	if family == unix.AF_INET {
		return setOption(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
	}
	return setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
}

// CheckTransparent reports whether this process may dial from addresses that are not this host's, as source = "client"
// does. The error says what the kernel said.
func CheckTransparent() error {
	fd, e := openSocket(unix.AF_INET, unix.SOCK_STREAM)
	if e != 0 {
		return os.NewSyscallError("socket", e)
	}
	defer closeFD(fd)
	if e := setTransparent(fd, unix.AF_INET); e != 0 {
		return os.NewSyscallError("setsockopt IP_TRANSPARENT", e)
	}
	return nil
}
