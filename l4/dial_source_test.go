package l4

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/conf"
)

// Every address of every range is used once per round, in order.
func TestSourceAddressesTakeTurns(t *testing.T) {
	for _, ranges := range [][]string{
		{"10.0.0.1/32"},
		{"10.0.0.4/30", "10.0.0.1/32", "10.1.0.0/16"},
		{"fd00::1/128", "fd00::ff00/120", "fd00:1::/112"},
	} {
		var source conf.Source
		var want []netip.Addr
		for _, text := range ranges {
			r := netip.MustParsePrefix(text)
			source.Ranges = append(source.Ranges, r)
			for ip := r.Addr(); r.Contains(ip); ip = ip.Next() {
				want = append(want, ip)
			}
		}
		family := unix.AF_INET6
		if want[0].Is4() {
			family = unix.AF_INET
		}
		o := newDialSource(source)
		for range 2 {
			for i, ip := range want {
				require.Equal(t, ip, o.pool(family).next(), i)
			}
		}
		require.Equal(t, min(len(want), sourceTries), o.maxTries(family))
	}
	require.Nil(t, newDialSource(conf.Source{}))
	require.Equal(t, 1, newDialSource(conf.Source{}).maxTries(unix.AF_INET))
}
