package balance

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// clientKeys returns the keys of n clients.
func clientKeys(n int) []uint64 {
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = HashKey(fmt.Appendf(nil, "client %d", i))
	}
	return keys
}

func TestSplitSharesFollowWeights(t *testing.T) {
	keys := clientKeys(100_000)
	for _, weights := range [][]int{{1, 1}, {95, 5}, {1, 2, 3, 4}, {1, MaxSplitWeight}, {0, 7, 0, 3}} {
		names, total := make([]string, len(weights)), 0
		for i, w := range weights {
			names[i] = fmt.Sprint("cluster", i)
			total += w
		}
		s := NewSplit(names, weights)
		counts := make([]float64, len(weights))
		for _, k := range keys {
			counts[s.Pick(k)]++
		}
		for i, w := range weights {
			want := float64(len(keys)) * float64(w) / float64(total)
			require.InDelta(t, want, counts[i], 5*math.Sqrt(want+1), "weights %v", weights)
		}
	}
}

// A part whose weight grows only takes clients; the order of the parts does not matter; the key decides alone.
func TestSplitMovesOnlyToTheGrownPart(t *testing.T) {
	keys := clientKeys(500)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "parts")
		names, reversed := make([]string, n), make([]string, n)
		weights := rapid.SliceOfN(rapid.IntRange(0, 100), n, n).Draw(t, "weights")
		grown := rapid.IntRange(0, n-1).Draw(t, "grown")
		weights[grown]++
		for i := range names {
			names[i] = fmt.Sprint("c", i)
			reversed[n-1-i] = names[i]
		}
		before := NewSplit(names, weights)
		backwards := make([]int, n)
		for i, w := range weights {
			backwards[n-1-i] = w
		}
		other := NewSplit(reversed, backwards)
		weights[grown] += rapid.IntRange(1, 100).Draw(t, "growth")
		after := NewSplit(names, weights)
		for _, k := range keys {
			if b, a := before.Pick(k), after.Pick(k); a != b && a != grown {
				t.Fatalf("a client moved from %d to %d", b, a)
			}
			if names[before.Pick(k)] != reversed[other.Pick(k)] {
				t.Fatal("the order of the parts matters")
			}
		}
	})
}

// The picks of this version are those of every other version.
func TestSplitIsStable(t *testing.T) {
	s := NewSplit([]string{"stable", "canary"}, []int{95, 5})
	picks := ""
	for _, k := range clientKeys(64) {
		picks += fmt.Sprint(s.Pick(k))
	}
	require.Equal(t, stableSplit, picks)
}

const stableSplit = "0000000000000000010000000000000000000000000000000000000000000001"

func TestLog2(t *testing.T) {
	require.Equal(t, uint64(0), log2(0))
	require.Equal(t, uint64(64)<<logBits, log2(math.MaxUint64))
	for _, x := range []uint64{1, 2, 3, 1000, 1 << 40, 1<<63 + 12345, math.MaxUint64 - 1} {
		require.InDelta(t, math.Log2(float64(x)+1), float64(log2(x))/(1<<logBits), 1e-6)
	}
}
