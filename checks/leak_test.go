package checks

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// Thousands of checks with all kinds of results leak neither descriptors nor goroutines, and no more of them are in use at
// a time than Parallel allows.
func TestRunnerLeaksNoDescriptors(t *testing.T) {
	nettest.CheckDescriptors(t) // runs after the hosts have closed
	silent := nettest.Start(t, nettest.Silent)
	closing := nettest.Start(t, nettest.SendText("hello"))
	aborting := nettest.Start(t, nettest.ResetAfter(1, time.Millisecond))
	full, refusing := nettest.FullBacklog(t), nettest.Reserve(t)
	const places = 100
	var results, most atomic.Int64
	var r *Runner
	r = NewRunner(Options{Parallel: places, Result: func(Result) {
		results.Add(1)
		most.Store(max(most.Load(), int64(r.Counters().Running)))
	}})
	monitors := map[string]builder{"tcp": expect("never"), "connect": TCP{}, "redis": Redis{}, "mysql": MySQL{}, "pgsql": PgSQL{}, "pgsql login": PgSQL{User: "u"}, "http": HTTP{}, "agent": Agent{}}
	var jobs []Job
	for name, b := range monitors {
		monitor, err := b.Monitor()
		require.NoError(t, err)
		for _, address := range []string{silent.Addr(), closing.Addr(), aborting.Addr(), full, refusing} {
			for i := range 10 {
				jobs = append(jobs, Job{
					Monitor: monitor, Target: Target{Cluster: "c", Server: fmt.Sprint(address, i), Address: address},
					Spec: conf.Check{ID: name, Interval: 50 * time.Millisecond, Timeout: 20 * time.Millisecond, Rise: 1, Fall: 2},
				})
			}
		}
	}
	r.Update(jobs)
	nettest.Wait(t, 30*time.Second, "two thousand results", func() bool { return results.Load() >= 2000 })
	r.Update(jobs[:len(jobs)/2])
	r.Close()
	require.LessOrEqual(t, most.Load(), int64(places))
	require.Zero(t, r.Counters().Running)
	require.Zero(t, r.Counters().Panics)
}
