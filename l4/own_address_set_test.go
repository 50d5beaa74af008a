package l4

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A shard behaves like a map of counts, also where hashes share their home slot and chains wrap around the table's end.
func TestAddressShardMatchesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s addressShard
		want := map[addressHash]int{}
		hash := rapid.Custom(func(t *rapid.T) addressHash {
			home := rapid.SampledFrom([]addressHash{0, 1, 7, 14, 15}).Draw(t, "home")
			return max(1, rapid.Custom(func(t *rapid.T) addressHash { return addressHash(rapid.IntRange(0, 30).Draw(t, "rest")) }).Draw(t, "high")<<8|home)
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				h := hash.Draw(t, "hash")
				s.add(h)
				want[h]++
			},
			"remove": func(t *rapid.T) {
				h := hash.Draw(t, "hash")
				s.remove(h)
				if want[h]--; want[h] <= 0 {
					delete(want, h)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), s.n)
				for h := range want {
					_, found := s.find(h)
					require.True(t, found)
				}
				used := 0
				for i, h := range s.table {
					if h == 0 {
						continue
					}
					used++
					require.Positive(t, want[h])
					at, _ := s.find(h)
					require.Equal(t, i, at)
				}
				require.Equal(t, s.n, used)
				require.LessOrEqual(t, 4*s.n, 3*len(s.table))
				extra := 0
				for h, n := range s.more {
					require.Equal(t, want[h]-1, n)
					extra++
				}
				for _, n := range want {
					if n > 1 {
						extra--
					}
				}
				require.Zero(t, extra)
			},
		})
	})
}

// The addresses of 10,000 flows take at most 24 bytes each, and none once they have ended.
func TestOwnAddressesAreSmall(t *testing.T) {
	var o ownAddresses
	o.init()
	address := func(i int) ownAddress {
		return makeOwnAddress(&[16]byte{10: 0xff, 11: 0xff, 12: 127, 15: byte(i >> 16)}, binary.NativeEndian.Uint16([]byte{byte(i), byte(i >> 8)}))
	}
	size := func() (slots int) {
		for i := range o.shards {
			slots += len(o.shards[i].table)
		}
		return slots
	}
	const flows = 10_000
	var hashes [flows]addressHash
	for i := range flows {
		hashes[i] = o.add(address(i))
		require.True(t, o.contains(address(i)))
		require.False(t, o.contains(address(i+flows)))
	}
	require.LessOrEqual(t, 8*size(), 24*flows)
	o.add(address(0))
	for i := range flows {
		o.remove(hashes[i])
		require.Equal(t, i == 0, o.contains(address(i)), "the first address has another socket")
	}
	o.remove(hashes[0])
	require.Equal(t, ownShards*minAddressTable, size())
	require.Zero(t, o.add(ownAddress{}))
	o.remove(0)
	require.False(t, o.contains(ownAddress{}))
}
