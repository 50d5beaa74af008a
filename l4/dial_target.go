package l4

// What a dial needs to know of a server, prepared once.

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/conf"
	"weir/internal/proxy"
)

// Target holds the addresses of one server in dialling order, and the source address. It is the Handle of its
// balance.Server, and immutable but for the addresses to skip; a server that changes gets a new Target.
type Target struct {
	addrs  []rawAddr
	texts  []string
	source *dialSource  // nil = chosen by the kernel
	device string       // interface that connections leave through; "" = any
	stats  *ServerStats // nil = not counted

	sendProxy uint8          // version of the PROXY header that connections begin with; 0 = none
	proxyTLVs *proxy.TypeSet // passed on in it; nil = all

	samePort bool // addrs and texts have no port: connections go to the port that their client wanted
	departed bool // the server left before this process started: nothing dials it

	skipped atomic.Uint64 // bit set of the addresses that sessions skip while another one is left
}

// SkipAddresses makes sessions skip the given addresses of the target, because checks have found that they fail. It may be
// called at any time. Without another address, none is skipped.
func (t *Target) SkipAddresses(list []netip.Addr) {
	mask, all := uint64(0), true
	for i := range min(len(t.addrs), 64) {
		if slices.Contains(list, t.addrs[i].ip().Addr().Unmap()) {
			mask |= 1 << i
		} else {
			all = false
		}
	}
	if all && len(t.addrs) <= 64 {
		mask = 0
	}
	t.skipped.Store(mask)
}

// remaining returns how many of the addresses from the given one on sessions do not skip, at least 1.
func (t *Target) remaining(address int) int {
	n := 0
	for i := address; i < t.addresses(); i++ {
		if !t.skips(i) {
			n++
		}
	}
	return max(1, n)
}

// skips reports whether sessions skip an address.
func (t *Target) skips(address int) bool { return address < 64 && t.skipped.Load()&(1<<address) != 0 }

// SetStats makes the loops count for the target's server.
func (t *Target) SetStats(stats *ServerStats) { t.stats = stats }

// Stats returns the argument of SetStats.
func (t *Target) Stats() *ServerStats { return t.stats }

// counts returns the loop's counts for the server, or nil.
func (t *Target) counts(l *loop) *serverCounts {
	if t == nil || t.stats == nil {
		return nil
	}
	return &t.stats.counts[l.index]
}

// NewTarget returns a target for IP addresses. Dials skip addresses for which the source has none of the same family. It
// returns an error if this host lacks the interface that an address names as its zone.
func NewTarget(addrs []netip.AddrPort, source conf.Source) (*Target, error) {
	t := &Target{addrs: make([]rawAddr, len(addrs)), texts: make([]string, len(addrs)), source: newDialSource(source)}
	for i, a := range addrs {
		zone, e := zoneIndex(a.Addr())
		if e != 0 {
			return nil, fmt.Errorf("%s: this host has no interface %q", a, a.Addr().Zone())
		}
		t.addrs[i].setIP(a, zone)
		t.texts[i] = a.String()
	}
	return t, nil
}

// NewUnixTarget returns a target for a unix socket.
func NewUnixTarget(path string) (*Target, error) {
	t := &Target{addrs: make([]rawAddr, 1), texts: []string{"unix:" + path}}
	if !t.addrs[0].setPath(path) {
		return nil, fmt.Errorf("unix socket path %q: want 1 to 107 bytes", path)
	}
	return t, nil
}

// setTarget sets what the flows to a server need of its target, should it have left by the time they arrive.
func (b *Binding) setTarget(t *Target) {
	if t == nil {
		return
	}
	b.sendProxy = t.sendProxy
	if t.proxyTLVs != nil {
		b.limitTLVs, b.proxyTLVs = true, *t.proxyTLVs
	}
}

// DepartedTarget returns the target of a server that has left before this process started: it has no address to dial, and the
// PROXY headers that its flows need.
func (b *Binding) DepartedTarget() *Target {
	t := &Target{sendProxy: b.sendProxy, departed: true}
	if b.limitTLVs {
		t.proxyTLVs = &b.proxyTLVs
	}
	return t
}

// sameHeader reports whether two targets expect the same PROXY header.
func (t *Target) sameHeader(o *Target) bool {
	if !t.sendsProxy() || !o.sendsProxy() {
		return t.sendsProxy() == o.sendsProxy()
	}
	if t.proxyTLVs == nil || o.proxyTLVs == nil {
		return t.sendProxy == o.sendProxy && t.proxyTLVs == o.proxyTLVs
	}
	return t.sendProxy == o.sendProxy && *t.proxyTLVs == *o.proxyTLVs
}

// targetOf returns the target of a server, or nil.
func targetOf(s *balance.Server) *Target {
	t, _ := s.Handle().(*Target)
	return t
}

// sendsProxy reports whether a PROXY header precedes what the server gets. It is false for nil.
func (t *Target) sendsProxy() bool { return t != nil && t.sendProxy != 0 }

func (t *Target) addresses() int {
	if t == nil { // the server's name has never resolved
		return 0
	}
	return len(t.addrs)
}

// find returns the index of an address of the target, for a client that wanted a port.
func (t *Target) find(at netip.AddrPort, wanted uint16) (int, bool) {
	for i := range t.addresses() {
		if t.at(i, wanted) == at {
			return i, true
		}
	}
	return 0, false
}

// at returns an address of the target, for a client that wanted a port. It is zero for a unix socket.
func (t *Target) at(address int, wanted uint16) netip.AddrPort {
	at := t.addrs[address].ip()
	if t.samePort {
		at = netip.AddrPortFrom(at.Addr(), wanted)
	}
	return at
}

// socketAddress returns what to connect to for a client that wanted a port. It returns an error if the client wanted none.
func (t *Target) socketAddress(address int, wanted func() uint16) (*rawAddr, errno) {
	to := &t.addrs[address]
	if !t.samePort {
		return to, 0
	}
	port, at := wanted(), *to
	if port == 0 {
		return nil, syscall.EDESTADDRREQ
	}
	at.setPort(port)
	return &at, 0
}

// reachedAtClientPort reports whether UseClientPort was called. It is false for nil.
func (t *Target) reachedAtClientPort() bool { return t != nil && t.samePort }

// UseClientPort makes connections go to the port that their client wanted, instead of those of the addresses.
func (t *Target) UseClientPort() {
	t.samePort = true
	for i := range t.addrs {
		t.addrs[i].setPort(0)
		t.texts[i] = t.addrs[i].ip().Addr().String()
	}
}

func (t *Target) isUnix() bool { return t.addrs[0].family() == unix.AF_UNIX }

// openUDP opens a socket that can connect to one of the addresses. With IP_RECVERR, every ICMP error shows as the
// socket's error. few means that few replies are expected: the default buffer is enough, and nothing is joined.
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
		setBufferSize(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, flowBufferSize)
	}
	if t.device != "" {
		e = t.bindDevice(fd)
	}
	if e == 0 && t.source != nil {
		e = t.source.bind(fd, to, client)
	}
	if e != 0 {
		closeFD(fd)
		return -1, e
	}
	return fd, 0
}

// openTCP opens a socket that can connect to one of the addresses, for a client at the given address.
func (t *Target) openTCP(address int, set *Settings, client netip.Addr) (int32, errno) {
	to := &t.addrs[address]
	fd, e := openSocket(to.family(), unix.SOCK_STREAM)
	if e != 0 || to.family() == unix.AF_UNIX {
		return fd, e
	}
	if set.UserTimeout > 0 {
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(set.UserTimeout/time.Millisecond))
	}
	if t.device != "" {
		e = t.bindDevice(fd)
	}
	if e == 0 && t.source != nil {
		e = t.source.bind(fd, to, client)
	}
	if e != 0 {
		closeFD(fd)
		return -1, e
	}
	return fd, 0
}
