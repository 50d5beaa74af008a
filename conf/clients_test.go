package conf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func allowing(t *testing.T, list string) Clients {
	c := mustParse(t, smallConfig+"servers = []\n")
	require.True(t, c.Listeners[0].Allow.IsEmpty())
	text := strings.Replace(smallConfig+"servers = []\n", "[[listener]]\n", "[[listener]]\nallow = "+list+"\n", 1)
	return mustParse(t, text).Listeners[0].Allow
}

// Different notations of the same clients are equal: mapped and plain, address and network of one, "all".
func TestEqualClientLists(t *testing.T) {
	for _, same := range [][]string{
		{`["10.0.0.1"]`, `["10.0.0.1/32"]`, `["::ffff:10.0.0.1"]`, `["::ffff:10.0.0.1/128"]`, `["::ffff:a00:1"]`},
		{`["10.0.0.0/8"]`, `["::ffff:10.0.0.0/104"]`, `["10.1.2.3/8"]`},
		{`["0.0.0.0/0"]`, `["::ffff:0:0/96"]`},
		{`["all"]`, `["0.0.0.0/0", "::/0"]`, `["0.0.0.0/0", "::/0", "unix:"]`},
	} {
		for _, form := range same[1:] {
			require.Equal(t, allowing(t, same[0]), allowing(t, form), form)
		}
	}
	require.Equal(t, "10.0.0.0/8, ::1, unix:", allowing(t, `["10.0.0.0/8", "::1", "unix:"]`).String())
	require.False(t, allowing(t, `["0.0.0.0/0", "::/1"]`).Unix)
	require.False(t, allowing(t, `["::/0"]`).Unix)
}

// Every network parses back to itself, in plain and in IPv4-mapped notation.
func TestNetworkNotations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ip := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip")))
		want := netip.PrefixFrom(ip, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		got, ok := parseNetwork(want.String())
		require.True(t, ok)
		require.Equal(t, want, got)
		mapped := netip.PrefixFrom(netip.AddrFrom16(want.Addr().As16()), want.Bits()+96)
		got, ok = parseNetwork(mapped.String())
		require.True(t, ok)
		require.Equal(t, want, got)
	})
}
