package history

import (
	"math"
	"time"
)

// quantile returns a quantile of durations that were counted in buckets, in milliseconds; NaN if there are none. bounds are the
// upper bounds of the buckets, except that of the last one, which has none. Within a bucket, the logarithms of the durations
// count as evenly spread.
func quantile(q float64, buckets *[Buckets]uint32, bounds *[Buckets - 1]time.Duration) float64 {
	total := uint64(0)
	for _, n := range buckets {
		total += uint64(n)
	}
	if total == 0 {
		return math.NaN()
	}
	rank, below := q*float64(total), 0.0
	for i, n := range buckets {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		if i == Buckets-1 {
			return milliseconds(bounds[i-1])
		}
		low, high := bounds[0]/2, bounds[i]
		if i > 0 {
			low = bounds[i-1]
		}
		return milliseconds(low) * math.Pow(float64(high)/float64(low), (rank-below)/float64(n))
	}
	return milliseconds(bounds[Buckets-2]) // rank is above total by a rounding error
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
