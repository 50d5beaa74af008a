package l4

// Where a server is dialled, prepared once so that a dial does no work twice.

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/conf"
)

// Target is what it takes to dial one server: its addresses in the order to try, and where to dial from. It is
// immutable, and hung on the balance.Server it belongs to; a server that changes gets a new one.
type Target struct {
	addrs  []rawAddr
	texts  []string
	source *dialSource  // nil = the kernel's choice
	stats  *ServerStats // nil = nobody counts

	sendProxy uint8 // the version of the PROXY header that connections begin with; 0 = none
}

// SetStats has the loops count what they do with the target's server.
func (t *Target) SetStats(stats *ServerStats) { t.stats = stats }

// Stats is what Count was given.
func (t *Target) Stats() *ServerStats { return t.stats }

// counts is the loop's part of what is counted of the server; nil when nothing is.
func (t *Target) counts(l *loop) *serverCounts {
	if t == nil || t.stats == nil {
		return nil
	}
	return &t.stats.counts[l.index]
}

// NewTarget prepares a target for TCP. Addresses for which the source has none of their family are passed over.
func NewTarget(addrs []netip.AddrPort, source conf.Source) *Target {
	t := &Target{addrs: make([]rawAddr, len(addrs)), texts: make([]string, len(addrs)), source: newDialSource(source)}
	for i, a := range addrs {
		t.addrs[i].setIP(a, 0)
		t.texts[i] = a.String()
	}
	return t
}

// NewUnixTarget prepares a target for a unix socket.
func NewUnixTarget(path string) (*Target, error) {
	t := &Target{addrs: make([]rawAddr, 1), texts: []string{"unix:" + path}}
	if !t.addrs[0].setPath(path) {
		return nil, fmt.Errorf("unix socket path %q: want 1 to 107 bytes", path)
	}
	return t, nil
}

func (t *Target) addresses() int {
	if t == nil { // a server whose name has never resolved
		return 0
	}
	return len(t.addrs)
}

// find is the place of an address among the target's; false if it is none of them.
func (t *Target) find(at netip.AddrPort) (int, bool) {
	for i := range t.addresses() {
		if t.addrs[i].ip() == at {
			return i, true
		}
	}
	return 0, false
}

func (t *Target) isUnix() bool { return t.addrs[0].family() == unix.AF_UNIX }

// openUDP makes a socket ready to connect to one of the addresses by UDP. What the network says about datagrams
// that it could not deliver shows as the socket's error, whatever the reason (IP_RECVERR). few tells that only a few replies are
// to come: then the usual buffer does, and there is nothing to join.
func (t *Target) openUDP(address int, client netip.Addr, few bool) (int32, errno) {
	to := &t.addrs[address]
	family := to.family()
	if family == unix.AF_UNIX {
		return -1, syscall.EAFNOSUPPORT
	}
	fd, e := openSocket(family, unix.SOCK_DGRAM)
	if e != 0 {
		return -1, e
	}
	if family == unix.AF_INET {
		setOption(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	} else {
		setOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	if !few {
		setOption(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
		setBufferSize(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, flowBufferSize)
	}
	if t.source != nil {
		if e = t.source.bind(fd, to, client); e != 0 {
			closeFD(fd)
			return -1, e
		}
	}
	return fd, 0
}

// newSession makes a socket ready to connect to one of the addresses, for a client at an address of its own.
func (t *Target) openTCP(address int, set *Settings, client netip.Addr) (int32, errno) {
	to := &t.addrs[address]
	fd, e := openSocket(to.family(), unix.SOCK_STREAM)
	if e != 0 || to.family() == unix.AF_UNIX {
		return fd, e
	}
	if set.UserTimeout > 0 {
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(set.UserTimeout/time.Millisecond))
	}
	if t.source != nil {
		if e = t.source.bind(fd, to, client); e != 0 {
			closeFD(fd)
			return -1, e
		}
	}
	return fd, 0
}
