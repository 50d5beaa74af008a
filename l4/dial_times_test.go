package l4

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Each time is in the bucket with the bounds around it.
func TestDialBucket(t *testing.T) {
	bounds := DialTimeBounds()
	for took := time.Duration(1); took < 30*time.Second; took += took/50 + 1 {
		i := dialBucket(took)
		if i > 0 {
			require.GreaterOrEqual(t, took, bounds[i-1], "bucket %d", i)
		}
		if i < DialBuckets-1 {
			require.LessOrEqual(t, took, bounds[i], "bucket %d", i)
		}
	}
	require.Equal(t, 0, dialBucket(-1))
	require.Equal(t, DialBuckets-1, dialBucket(time.Hour))
}

func TestDialTimesAreSummedOverLoops(t *testing.T) {
	st := &ServerStats{counts: make([]serverCounts, 3)}
	st.counts[0].connected(time.Millisecond)
	st.counts[0].connected(time.Second)
	st.counts[2].connected(time.Millisecond)
	var sum DialTimes
	st.AddDialTimes(&sum)
	require.EqualValues(t, 2, sum[dialBucket(time.Millisecond)])
	require.EqualValues(t, 1, sum[dialBucket(time.Second)])
	require.EqualValues(t, 3, st.Counters().Sessions)
	require.Equal(t, time.Second+2*time.Millisecond, st.Counters().ConnectTime)
	require.EqualValues(t, 64, unsafe.Sizeof(serverCounts{}), "a cache line")
}

func BenchmarkServerConnected(b *testing.B) {
	var c serverCounts
	for b.Loop() {
		c.connected(250 * time.Microsecond)
	}
}
