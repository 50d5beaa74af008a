package l4

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/balance"
	"weir/conf"
	"weir/internal/nettest"
)

// listenFull returns a socket that listens and whose accept queue is full, and its address.
func listenFull(t *testing.T) (fd int, addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port)).String()
	for range 8 {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return fd, addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the accept queue does not fill")
	return 0, ""
}

// A dial that completes after its server has lost its role starts no session there, even if no cut has found the session.
func TestDialToServerThatLostItsRole(t *testing.T) {
	fd, old := listenFull(t)
	primary := nettest.Start(t, nettest.Greet("B", nettest.Echo)).Addr()
	p := startPlane(t, nil, nil, old, primary)
	c := nettest.Dial(t, p.addr)
	nettest.Wait(t, 5*time.Second, "the dial to begin", func() bool {
		list := p.List(1)
		return len(list) == 1 && list[0].Phase == PhaseDial && list[0].Server == "0"
	})
	spec := balance.Spec{Name: "c", Wanted: balance.WantPrimary, Levels: []balance.LevelSpec{{}}}
	for i, addr := range []string{old, primary} {
		target, err := NewTarget([]netip.AddrPort{netip.MustParseAddrPort(addr)}, conf.Source{})
		require.NoError(t, err)
		spec.Levels[0].Servers = append(spec.Levels[0].Servers, balance.ServerSpec{Name: []string{"0", "1"}[i], Address: addr, Weight: 1, Handle: target})
	}
	next := p.cluster.Prepare(spec)
	next.SetRoles(&balance.Roles{Decided: true, Servers: map[string]balance.ServerRole{"0": {Role: balance.RoleReplica}, "1": {Role: balance.RolePrimary}}})
	p.cluster.Commit(next, p.Now())
	require.True(t, p.cluster.Server("0").RoleLost())
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC) // now there is room for the dial: its next SYN is answered
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(conn) })
	b := make([]byte, 1)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "B", string(b))
	nettest.Abort(c)
	r := p.ended()
	require.Equal(t, []any{2, "1"}, []any{r.Attempts, r.Server})
}
