package weirtest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FixedMemory is the memory that weir may hold beside that of its sessions.
const FixedMemory = 4 << 20

// RequireGrowth checks memory growth, except under the race detector, which multiplies it.
func RequireGrowth(t *testing.T, w *Weir, before int64, bound int64) {
	t.Helper()
	if RaceEnabled {
		return
	}
	require.LessOrEqual(t, w.Process().RSS(t)-before, bound, "growth of resident memory")
}

// WatchMemory samples the resident memory of the process until stop is called, which returns the maximum.
func (w *Weir) WatchMemory() (stop func() int64) {
	done := make(chan int64)
	var over atomic.Bool
	go func() {
		most := int64(0)
		for ; !over.Load(); time.Sleep(20 * time.Millisecond) {
			most = max(most, w.Process().RSS(w.T))
		}
		done <- most
	}()
	return func() int64 {
		over.Store(true)
		return <-done
	}
}
