package l4

// The source address of dials (source): an address of this host, several in turn, or the client's own.

import (
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// dialSource is a conf.Source prepared for dialling.
type dialSource struct {
	client bool
	v4, v6 addressPool
	warned atomic.Bool // warnUnusable has logged
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

// addressPool returns addresses in turn.
type addressPool struct {
	ranges []netip.Prefix // of at most 1<<24 addresses each
	count  uint32         // addresses in all of them
	turn   atomic.Uint32  // shared by the loops
}

func (p *addressPool) add(r netip.Prefix) {
	p.ranges = append(p.ranges, r)
	p.count += 1 << (r.Addr().BitLen() - r.Bits())
}

// next returns the next address.
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

// addTo returns the address n after the first one of a range, in which the bits that n sets are clear.
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

// sourceTries limits how many source addresses are tried when they have no free port: the kernel checks every port to
// find out.
const sourceTries = 16

// maxTries returns how many source addresses a dial may try.
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

// bind binds a socket before it connects. The port is chosen by connect, when the destination is known: that allows 64
// k sessions per server and source address, instead of for all servers together.
func (o *dialSource) bind(fd int32, to *rawAddr, client netip.Addr) errno {
	from := client
	if !o.client {
		from = o.pool(to.family()).next()
	} else if !from.IsValid() || from.IsLoopback() && !to.ip().Addr().IsLoopback() {
		return 0 // the client is on this host: use this host's address towards the server
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
	at.setIP(netip.AddrPortFrom(from, 0), to.scope()) // a link-local address is one of the interface to the server
	return bindSocket(fd, &at)
}

// warnUnusable warns, once per target, that a server cannot be dialled from the client's address.
func (o *dialSource) warnUnusable(l *loop, s *session, e errno) {
	if o == nil || !o.client || e != syscall.EAFNOSUPPORT && e != syscall.EPERM || o.warned.Swap(true) {
		return
	}
	l.plane.log.Warn("cannot dial a server from the client's own address", "cluster", s.set.ClusterName,
		"server", s.dialer.target.texts[0], "client", s.clientAddr.get().Addr().String(), "error", e)
}

// setTransparent allows a socket to use an address of another host (IP_TRANSPARENT, ip(7)). It needs CAP_NET_ADMIN or
// CAP_NET_RAW.
func setTransparent(fd int32, family int) errno {
	if family == unix.AF_INET {
		return setOption(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
	}
	return setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
}

// CheckTransparent returns an error if this process may not dial from addresses of other hosts, as source = "client"
// does.
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
