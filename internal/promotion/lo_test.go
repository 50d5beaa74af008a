package promotion

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownNetwork moves the test's thread to a network namespace of its own, whose only interface is lo.
func ownNetwork(t *testing.T) {
	runtime.LockOSThread() // the thread ends with the test: it is never unlocked
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
}

func listenUDP(t *testing.T, address string) *net.UDPConn {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func dialUDP(t *testing.T, local, remote string) *net.UDPConn {
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(remote)))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t *testing.T, c *net.UDPConn, want string) netip.AddrPort {
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 70_000)
	n, from, err := c.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	require.Equal(t, want, string(b[:n]))
	return from
}

// On the loopback interface, the datagrams of a promoted flow pass from client to server and back without a proxy that reads
// them, also large ones, and when the promotion ends they arrive at the proxy's sockets again.
func TestLoopback(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "[::1]"} {
		ownNetwork(t)
		k := open(t, 16)
		require.NoError(t, k.Attach([]string{"lo"}))
		listener, server := listenUDP(t, ip+":2000"), listenUDP(t, ip+":4000")
		client, local := dialUDP(t, ip+":1000", ip+":2000"), dialUDP(t, ip+":3000", ip+":4000")
		one, two := legs(ip+":1000", ip+":2000", ip+":3000", ip+":4000")
		send := func(c *net.UDPConn, text string) {
			_, err := c.Write([]byte(text))
			require.NoError(t, err)
		}
		n, err := k.AddFlow(one, two)
		require.NoError(t, err)
		send(client, "first") // relayed by the proxy
		from := receive(t, listener, "first")
		send(local, "first")
		back := receive(t, server, "first")
		_, err = server.WriteToUDPAddrPort([]byte("reply"), back)
		require.NoError(t, err)
		receive(t, local, "reply")
		_, err = listener.WriteToUDPAddrPort([]byte("reply"), from)
		require.NoError(t, err)
		receive(t, client, "reply")
		require.Equal(t, Forwarding, k.Traffic(n).State)

		large := string(make([]byte, 60_000))
		for _, text := range []string{"second", "", large} {
			send(client, text)
			require.Equal(t, two.Local.Port(), receive(t, server, text).Port())
			_, err = server.WriteToUDPAddrPort([]byte(text), two.Local)
			require.NoError(t, err)
			receive(t, client, text)
		}
		traffic := k.Traffic(n)
		require.EqualValues(t, 3, traffic.Up.Packets)
		require.EqualValues(t, len("second")+len(large), traffic.Up.Bytes)
		require.Equal(t, traffic.Up.Bytes, traffic.Down.Bytes)

		require.Equal(t, traffic.Up.Bytes, k.Remove(n).Up.Bytes)
		send(client, "last")
		receive(t, listener, "last")

		require.NoError(t, k.Attach(nil))
		require.ErrorContains(t, k.Attach([]string{"nosuch", "lo"}), "nosuch")
		require.Equal(t, []string{"lo"}, k.Attached())
	}
}
