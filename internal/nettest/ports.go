package nettest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Reserve takes a TCP port of 127.0.0.1 until the test ends and returns its address. Until somebody listens there,
// connections to it are refused. Whoever sets SO_REUSEADDR (as Go, Redis and MariaDB do) may listen on it; the kernel gives
// it to nobody else.
func Reserve(t testing.TB) string {
	t.Helper()
	return ReserveOn(t, "127.0.0.1")
}

// ReserveOn is Reserve for another local address.
func ReserveOn(t testing.TB, ip string) string {
	t.Helper()
	addr, err := reserve(t, netip.AddrPortFrom(netip.MustParseAddr(ip), 0))
	require.NoError(t, err)
	return addr.String()
}

// ReserveRange reserves n neighbouring ports of 127.0.0.1 and returns the first address.
func ReserveRange(t testing.TB, n int) netip.AddrPort {
	t.Helper()
	for range 100 {
		// Below the ports that the kernel gives to connections.
		first := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(10_000+rand.IntN(20_000)))
		free := true
		for i := range n {
			_, err := reserve(t, netip.AddrPortFrom(first.Addr(), first.Port()+uint16(i)))
			free = free && err == nil
		}
		if free {
			return first
		}
	}
	t.Fatalf("no %d neighbouring ports are free", n)
	return netip.AddrPort{}
}

// reserve binds a socket without listening. A socket bound with SO_REUSEADDR shares its port with those that bind it
// by number and set the option too, and keeps it from being handed out by the kernel.
func reserve(t testing.TB, addr netip.AddrPort) (netip.AddrPort, error) {
	family, sa := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	// A wish for any port is refused one that others have bound; a wish for this port shares it, which a
	// range must not: so the option is set before the first and tested without it before the second.
	if addr.Port() != 0 {
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0))
	}
	if err := unix.Bind(fd, sa); err != nil {
		return addr, err
	}
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	got, err := unix.Getsockname(fd)
	require.NoError(t, err)
	switch got := got.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(got.Addr), uint16(got.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(got.Addr), uint16(got.Port)), nil
	}
	return addr, net.UnknownNetworkError("socket name")
}

func sockaddr(addr netip.AddrPort) (family int, sa unix.Sockaddr) {
	if addr.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}
