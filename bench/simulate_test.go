package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowServer is a load in which one of ten servers becomes three times slower.
func slowServer(workers int, load float64) scenario {
	return scenario{
		servers: 10, workers: workers, service: 10 * time.Millisecond, load: load,
		slow: 1, factor: 3, from: 3 * time.Second, length: 8 * time.Second, seed: 7,
	}
}

// Two seconds after a server has become slower, least_time is nearly as good as a choice that knows all queues and speeds,
// and much better than the methods that only count sessions, or take turns, as those of HAProxy and nginx.
func TestLeastTimeAvoidsASlowServer(t *testing.T) {
	for _, workers := range []int{2, 8} {
		for _, load := range []float64{0.4, 0.8} {
			sc := slowServer(workers, load)
			p99 := func(c chooser) time.Duration {
				return percentile(simulate(sc, c), sc.from+2*time.Second, sc.length, 99)
			}
			via := func(method string) time.Duration {
				c, err := newViaBalance(sc, method)
				require.NoError(t, err)
				return p99(c)
			}
			best, got := p99(omniscient{}), via("least_time")
			require.LessOrEqual(t, got.Seconds(), 1.25*best.Seconds(), "%d at a time, load %v", workers, load)
			for _, other := range []string{"rr", "random", "least_sessions"} {
				require.LessOrEqual(t, got.Seconds(), 0.6*via(other).Seconds(), "%s, %d at a time, load %v", other, workers, load)
			}
		}
	}
}

// A server that is fast again gets its share back within two seconds.
func TestLeastTimeReturnsToARecoveredServer(t *testing.T) {
	sc := slowServer(8, 0.7)
	sc.until, sc.length = 6*time.Second, 12*time.Second
	c, err := newViaBalance(sc, "least_time")
	require.NoError(t, err)
	fair, got := 0, 0
	for _, s := range simulate(sc, c) {
		if s.arrived >= sc.until+2*time.Second {
			fair++
			got += map[bool]int{true: 1}[s.server == 0]
		}
	}
	require.InEpsilon(t, float64(fair)/float64(sc.servers), got, 0.1)
}

// Without a slow server, least_time is as good as least_sessions.
func TestLeastTimeOfEqualServers(t *testing.T) {
	sc := slowServer(8, 0.8)
	sc.slow = 0
	times := map[string]time.Duration{}
	for _, method := range []string{"least_time", "least_sessions"} {
		c, err := newViaBalance(sc, method)
		require.NoError(t, err)
		times[method] = percentile(simulate(sc, c), time.Second, sc.length, 99)
	}
	require.InEpsilon(t, times["least_sessions"].Seconds(), times["least_time"].Seconds(), 0.05)
}
