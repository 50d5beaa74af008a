package engine

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"weir/balance"
)

// A cluster that changes ten times a second has at most eleven events in a minute, and the last one says how it is.
func TestClusterNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clusterNoise
		var mu sync.Mutex
		var reported []string
		report := func(ev balance.Event) {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, ev.Cluster+" "+ev.Reason)
		}
		list := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(reported)
		}
		say := func(cluster string, n int) {
			if ev := (balance.Event{Cluster: cluster, Reason: fmt.Sprint(n)}); c.allow(slog.New(slog.DiscardHandler), ev, time.Now(), report) {
				report(ev)
			}
		}
		for n := range 300 {
			say("noisy", n)
			time.Sleep(100 * time.Millisecond)
		}
		say("quiet", 1)
		require.Len(t, list(), maxNoise+1)
		time.Sleep(noiseLength)
		synctest.Wait()
		require.Len(t, list(), maxNoise+2)
		require.Equal(t, "noisy 299", list()[maxNoise+1])
		say("noisy", 300)
		require.Equal(t, "noisy 300", list()[maxNoise+2], "a new window")
		for n := range 100 {
			say("noisy", n)
		}
		c.close()
		time.Sleep(2 * noiseLength)
		synctest.Wait()
		require.Len(t, list(), 2*maxNoise+2)
	})
}
