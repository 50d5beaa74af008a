package nettest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Reserve reserves a port until the test ends and returns its address on 127.0.0.1. While no host listens there,
// connections are refused. The port is free on all addresses, for TCP and UDP: it lies outside the kernel's range for
// automatic ports, was unused when it was reserved, and tests in other processes do not use it. Hosts on it may
// therefore stop and start.
func Reserve(t testing.TB) string {
	t.Helper()
	return ReserveOn(t, "127.0.0.1")
}

// ReserveOn is Reserve for another local address.
func ReserveOn(t testing.TB, ip string) string {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr(ip), reserve(t, 1)).String()
}

// ReserveRange reserves n neighbouring ports and returns the first, on 127.0.0.1.
func ReserveRange(t testing.TB, n int) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), reserve(t, n))
}

// ReserveDatagrams is Reserve for a UDP host. It chooses an address in 127.0.0.0/8, so that datagrams for the previous
// user of the port do not arrive.
func ReserveDatagrams(t testing.TB) string {
	t.Helper()
	return ReserveOn(t, fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
}

// reserve reserves n neighbouring ports until the test ends and returns the first.
func reserve(t testing.TB, n int) uint16 {
	t.Helper()
	lowest, highest := quietPorts()
	for range 1000 {
		first := lowest + rand.IntN(highest-n+2-lowest)
		var claims []int
		for port := first; port < first+n; port++ {
			fd, ok := claim(t, port)
			if !ok {
				break
			}
			claims = append(claims, fd)
		}
		release := func() {
			for _, fd := range claims {
				unix.Close(fd)
			}
		}
		if len(claims) == n {
			t.Cleanup(release)
			return uint16(first)
		}
		release()
	}
	require.FailNow(t, "no free port", "between %d and %d", lowest, highest)
	return 0
}

// quietPorts returns the ports that the kernel assigns only by number: those below or above its automatic range,
// whichever are more. If too few remain, it returns all ports.
var quietPorts = sync.OnceValues(func() (lowest, highest int) {
	const first, last, enough = 10_000, 65_535, 2000
	lowest, highest = first, last
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var low, high int
	if n, _ := fmt.Sscan(string(text), &low, &high); n < 2 {
		return lowest, highest
	}
	switch below, above := low-first, last-high; {
	case below >= max(above, enough):
		highest = low - 1
	case above >= enough:
		lowest = max(first, high+1)
	}
	return lowest, highest
})

// claim reserves a port among the tests of all processes, if it is unused, until the descriptor is closed. It binds an
// abstract unix socket, whose name the kernel gives to one process at a time and frees when the process ends.
func claim(t testing.TB, port int) (fd int, ok bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@weir/nettest/port/" + strconv.Itoa(port)})
	if err == nil && unused(t, unix.SOCK_STREAM, port) && unused(t, unix.SOCK_DGRAM, port) {
		return fd, true
	}
	unix.Close(fd)
	return 0, false
}

// unused reports whether a port is free on every address of both families. No process is started meanwhile: a new
// process holds copies of the sockets until it executes its program.
func unused(t testing.TB, kind, port int) bool {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: port}
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	} else { // a machine without IPv6
		sa = &unix.SockaddrInet4{Port: port}
		fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	}
	require.NoError(t, err)
	defer unix.Close(fd)
	return unix.Bind(fd, sa) == nil
}
