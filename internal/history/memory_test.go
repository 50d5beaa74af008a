package history

import (
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// many returns clusters with servers, of which no two have the same name.
func many(clusters, servers int) iter.Seq[Cluster] {
	return func(yield func(Cluster) bool) {
		list := make([]Server, servers)
		for i := range clusters {
			for j := range list {
				list[j] = Server{Name: fmt.Sprintf("10.%d.%d.%d:6379", i, j/256, j%256), Sessions: j}
				list[j].Counters.Sessions = 1 << 20
			}
			if !yield(Cluster{Name: fmt.Sprintf("cluster-%d", i), Servers: list}) {
				return
			}
		}
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// 10,000 servers in 100 clusters take less than 32 MiB, names included, and no more after two hours.
func TestMemory(t *testing.T) {
	before := heap()
	h := New(testBounds(), Budget)
	for i := range 4 {
		h.Sample(time.Duration(i)*Interval, many(100, 100))
	}
	first := heap() - before
	t.Logf("%.1f MiB", float64(first)/(1<<20))
	require.Less(t, first, 32<<20)
	require.True(t, h.Read("cluster-99", "10.99.0.99:6379", 0).Kept)
	for i := 4; i < 20; i++ {
		h.Sample(time.Duration(i)*Interval, many(100, 100))
	}
	require.Less(t, heap()-before, 32<<20)
	runtime.KeepAlive(h)
}
