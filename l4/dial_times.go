package l4

// How long dials of a server took, in finer steps than a Histogram and from 32 µs on, for quantiles.

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// DialBuckets is the number of buckets of DialTimes.
	DialBuckets = 36

	firstDialBits = 15 // the first bucket holds times below 2^15 ns = 33 µs
)

// DialTimes counts successful dials by the time they took. The bounds of the buckets grow by a factor of √2 (DialTimeBounds). The counts
// may overflow: only differences between two readings have a meaning.
type DialTimes [DialBuckets]uint32

// DialTimeBounds returns the upper bounds of the buckets of DialTimes, except that of the last one, which has none.
func DialTimeBounds() (bounds [DialBuckets - 1]time.Duration) {
	for i := range bounds {
		bounds[i] = time.Duration(math.Exp2(firstDialBits + float64(i)/2))
	}
	return bounds
}

// dialBucket returns the bucket of a time: two for each power of two.
func dialBucket(took time.Duration) int {
	if took < 1<<firstDialBits {
		return 0
	}
	power := bits.Len64(uint64(took)) - 1
	bucket := 2*(power-firstDialBits) + 1
	if float64(took) >= math.Sqrt2*float64(uint64(1)<<power) {
		bucket++
	}
	return min(bucket, DialBuckets-1)
}

// connected counts a session that has a connection to the server. Only the loop that owns c may call it. The buckets are allocated at the
// first connection: most loops never use most servers of a large configuration.
func (c *serverCounts) connected(took time.Duration) {
	store(&c.sessions, c.sessions+1)
	store(&c.connectNanos, c.connectNanos+uint64(took))
	t := c.dialTimes.Load()
	if t == nil {
		t = new(DialTimes)
		c.dialTimes.Store(t)
	}
	n := &t[dialBucket(took)]
	atomic.StoreUint32(n, *n+1)
}

// AddDialTimes adds what this process has counted to sum.
func (st *ServerStats) AddDialTimes(sum *DialTimes) {
	for i := range st.counts {
		if t := st.counts[i].dialTimes.Load(); t != nil {
			for j := range t {
				sum[j] += atomic.LoadUint32(&t[j])
			}
		}
	}
}
