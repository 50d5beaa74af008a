package history

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHalf(t *testing.T) {
	for n := range 2048 {
		require.EqualValues(t, n, encode(float64(n)).value())
	}
	for v := 0x1p-10; v < 0x1p52; v *= 1.0137 {
		require.InEpsilon(t, v, encode(v).value(), 1.0/2048, "%g", v)
	}
	before := half(0)
	for code := range int(none) {
		h := half(code)
		if v := h.value(); v > 0 && code >= 1<<mantissaBits {
			require.Equal(t, h, encode(v))
			require.Greater(t, v, before.value(), "the order of values is that of codes")
			before = h
		}
	}
	require.Equal(t, half(0), encode(0x1p-12))
	require.Equal(t, largest, encode(1e300))
	require.Equal(t, largest, encode(math.Inf(1)))
	for _, v := range []float64{math.NaN(), -1} {
		require.True(t, math.IsNaN(encode(v).value()))
	}
}
