package history

import "math"

// half is a number without sign in 16 bits: 6 bits of exponent and 10 of mantissa, so that a value is exact up to 2047 and
// within 0.05 % above. It holds values from 2^-10 to 2^53; smaller ones become 0 and larger ones the largest.
type half uint16

const (
	mantissaBits = 10
	lowestExp    = -10 // of the values that have exponent 1; exponent 0 is for 0 only

	none    half = math.MaxUint16 // no value
	largest half = none - 1
)

// encode returns the nearest half of a value; v < 0 and NaN become none.
func encode(v float64) half {
	if math.IsNaN(v) || v < 0 {
		return none
	}
	v = min(v, math.MaxFloat64)
	frac, exp := math.Frexp(v) // v = frac × 2^exp, 0.5 ≤ frac < 1
	exp--
	mantissa := int(math.Round((2*frac - 1) * (1 << mantissaBits)))
	if mantissa == 1<<mantissaBits {
		mantissa, exp = 0, exp+1
	}
	switch code := (exp-lowestExp+1)<<mantissaBits | mantissa; {
	case v == 0 || exp < lowestExp:
		return 0
	case code > int(largest):
		return largest
	default:
		return half(code)
	}
}

// value returns the number; NaN for none.
func (h half) value() float64 {
	switch h {
	case 0:
		return 0
	case none:
		return math.NaN()
	}
	exp := int(h>>mantissaBits) + lowestExp - 1
	return math.Ldexp(1+float64(h&(1<<mantissaBits-1))/(1<<mantissaBits), exp)
}
