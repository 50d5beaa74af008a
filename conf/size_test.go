package conf

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "007": 7, "1023": 1023, "1K": 1 << 10, "64k": 64 << 10, "10M": 10 << 20, "2g": 2 << 30, "1024K": 1 << 20,
		"8388607T": -1, "": -1, "K": -1, "-1": -1, "+1": -1, "1.5M": -1, "1 M": -1, "1MB": -1, "0x10": -1, "1_000": -1, "\u0661": -1,
		"99999999999999999999": math.MaxInt64, "9999999999999999G": math.MaxInt64, "8589934591G": math.MaxInt64 - (1<<30 - 1), "8589934592G": math.MaxInt64,
	} {
		got, ok := parseSize(text)
		require.Equal(t, want >= 0, ok, text)
		require.Equal(t, max(want, 0), got, text)
	}
	for v, want := range map[int64]string{0: "0", 1: "1", 1000: "1000", 1 << 10: "1K", 1536: "1536", 1 << 20: "1M", 10 << 30: "10G", 1 << 40: "1024G"} {
		require.Equal(t, want, showSize(v))
		got, ok := parseSize(want)
		require.True(t, ok)
		require.Equal(t, v, got)
	}
}

// A size that is accepted is not negative and survives being shown.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "10M", "1024k", "-1", "9223372036854775807", "8589934591G"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := parseSize(s)
		if !ok {
			return
		}
		if again, ok := parseSize(showSize(v)); v < 0 || !ok || again != v {
			t.Fatalf("%q is %d, shown as %q", s, v, showSize(v))
		}
	})
}
