package conf

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A source is the same in string form, as a list, and in a request, and its String can be parsed again.
func TestSourceNotations(t *testing.T) {
	cluster := mustParse(t, smallConfig+"servers = []\n").Clusters[0]
	rapid.Check(t, func(t *rapid.T) {
		var want Source
		var words []string
		for range rapid.IntRange(1, 5).Draw(t, "ranges") {
			ip := netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
			bits := rapid.IntRange(16, 32).Draw(t, "bits")
			if rapid.Bool().Draw(t, "six") {
				b := netip.MustParseAddr("fd00::").As16()
				b[14], b[15] = rapid.Byte().Draw(t, "o"), rapid.Byte().Draw(t, "p")
				ip, bits = netip.AddrFrom16(b), bits+96
			}
			r := netip.PrefixFrom(ip, bits).Masked()
			want.Ranges = append(want.Ranges, r)
			words = append(words, r.String())
		}
		text, err := json.Marshal(map[string]any{"address": "h:80", "source": words})
		require.NoError(t, err)
		list, _, err := ParseServer(text, &cluster)
		require.NoError(t, err)
		require.Equal(t, want, list.Source)
		line, _, err := ParseServer([]byte(`"h:80 source=`+want.String()+`"`), &cluster)
		require.NoError(t, err)
		require.Equal(t, want, line.Source)
		require.Equal(t, want.String(), list.Source.String())
		for _, r := range want.Ranges {
			require.Contains(t, list.Source.RangesFor(r.Addr()), r)
			require.Equal(t, r.Addr().Is4(), list.Source.AddrFor(r.Addr()).Is4())
		}
	})
}
