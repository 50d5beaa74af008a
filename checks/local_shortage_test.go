package checks

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// exhaustDescriptors uses up the descriptors of this process until the returned function is called.
func exhaustDescriptors(t *testing.T) (feed func()) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	starved := limit
	starved.Cur = 3
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &starved))
	fed := false
	feed = func() {
		if !fed {
			fed = true
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		}
	}
	t.Cleanup(feed)
	return feed
}

func TestEveryMonitorReportsLocalShortage(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	builders := map[string]builder{
		"tcp": TCP{}, "quiet": TCP{Quiet: true}, "http": HTTP{}, "redis": Redis{}, "mysql": MySQL{}, "mysql login": user("u", "p"),
		"pgsql": PgSQL{}, "pgsql login": pgUser("u", "p"),
		"udp": UDP{}, "exec": Exec{Command: []string{"true"}}, "agent": Agent{}, "agent_http": AgentHTTP{},
	}
	monitors := map[string]Monitor{}
	for name, b := range builders {
		m, err := b.Monitor()
		require.NoError(t, err)
		monitors[name] = m
	}
	feed := exhaustDescriptors(t)
	errs := map[string]error{}
	for name, m := range monitors {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, errs[name] = m(ctx, Target{Address: h.Addr()})
		cancel()
	}
	feed()
	for name, err := range errs {
		require.True(t, IsShortage(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "too many open files")
	}
	for _, name := range []string{"tcp", "exec"} {
		_, err := runCheck(t, builders[name], h.Addr())
		require.NoError(t, err, "it heals")
	}
}

func TestRunnerWithoutDescriptorsKeepsVerdicts(t *testing.T) {
	h := nettest.Start(t, nettest.Silent)
	monitor, err := NewMonitor(conf.Check{Type: "tcp"})
	require.NoError(t, err)
	var failed, passed atomic.Int32
	r := NewRunner(Options{Result: func(res Result) {
		if res.Pass {
			passed.Add(1)
		} else {
			failed.Add(1)
		}
	}})
	defer r.Close()
	feed := exhaustDescriptors(t)
	r.Update([]Job{{
		Monitor: monitor, Target: Target{Cluster: "c", Server: "s", Address: h.Addr()},
		Spec: conf.Check{ID: "tcp", Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 1, Fall: 1},
	}})
	nettest.Wait(t, 10*time.Second, "runs without a result", func() bool { return r.Counters().Shortages >= 5 })
	require.Zero(t, failed.Load()+passed.Load())
	feed()
	nettest.Wait(t, 10*time.Second, "a pass", func() bool { return passed.Load() > 0 })
	require.Zero(t, failed.Load())
}
