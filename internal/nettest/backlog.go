package nettest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// FullBacklog returns the address of a host that listens, never accepts, and has a full accept queue. The kernel drops
// further SYNs, so a dial neither succeeds nor fails.
func FullBacklog(t testing.TB) string {
	t.Helper()
	addr, _ := FullBacklogUntil(t)
	return addr
}

// FullBacklogUntil is FullBacklog for a host that accepts what is in the queue when accept is called, so that there is room
// for another connection.
func FullBacklogUntil(t testing.TB) (addr string, accept func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port)).String()
	queued := func() (n, most uint32) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
		return info.Unacked, info.Sacked // of a listening socket: the length and the limit of its queue
	}
	var waiting uint32
	for full := false; !full; {
		Dial(t, addr)
		waiting++
		Wait(t, 5*time.Second, "the connection in the queue", func() bool {
			n, most := queued()
			full = n > most
			return n == waiting
		})
	}
	return addr, func() {
		for range waiting {
			c, _, err := unix.Accept(fd)
			require.NoError(t, err)
			t.Cleanup(func() { unix.Close(c) })
		}
	}
}
