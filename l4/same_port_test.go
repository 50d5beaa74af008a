package l4

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"weir/conf"
)

// The addresses of a target that is reached at the client's port have the port of each client.
func TestTargetAtClientPort(t *testing.T) {
	list := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0"), netip.MustParseAddrPort("[2001:db8::1]:0")}
	target, err := NewTarget(list, conf.Source{})
	require.NoError(t, err)
	target.UseClientPort()
	for _, port := range []uint16{1, 80, 65535} {
		for i, at := range list {
			want := netip.AddrPortFrom(at.Addr(), port)
			to, e := target.socketAddress(i, func() uint16 { return port })
			require.Zero(t, e)
			require.Equal(t, want, to.ip())
			require.Equal(t, want, target.at(i, port))
			found, ok := target.find(want, port)
			require.True(t, ok)
			require.Equal(t, i, found)
			_, ok = target.find(want, port^1)
			require.False(t, ok, "the client wants another port")
		}
	}
	_, e := target.socketAddress(0, func() uint16 { return 0 })
	require.Equal(t, syscall.EDESTADDRREQ, e)
	require.True(t, isLocal(e), "not a failure of the server")
	require.Equal(t, []string{"10.0.0.1", "2001:db8::1"}, target.texts)

	fixed, err := NewTarget([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}, conf.Source{})
	require.NoError(t, err)
	_, ok := fixed.find(target.at(0, 443), 443)
	require.False(t, ok, "the same host at a fixed port is another address")
	require.False(t, (*Target)(nil).reachedAtClientPort())
}

// Datagrams from a server at the client's port are its own at the ports of the listener only.
func TestServerAddressesAtListenerPorts(t *testing.T) {
	s := ServerAddresses{}
	s.Add(netip.MustParseAddrPort("10.0.0.1:0"))
	s.Add(netip.MustParseAddrPort("10.0.0.2:80"))
	s.AddListenerPort(53)
	for at, want := range map[string]bool{
		"10.0.0.1:53": true, "[::ffff:10.0.0.1]:53": true, "10.0.0.1:54": false, "10.0.0.2:53": false, "10.0.0.2:80": true, "10.0.0.3:53": false,
	} {
		require.Equal(t, want, s.has(netip.MustParseAddrPort(at)), at)
	}
}
