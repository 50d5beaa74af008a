package tcp_test

import (
	"bufio"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Redis's client works through weir: single commands, pipelines, large values, publish and subscribe.
func TestRedisClient(t *testing.T) {
	t.Parallel()
	redis := nettest.StartRedis(t)
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(redis.Addr())})
	require.Equal(t, "OK\n", weirtest.RedisCLI(t, addr, "SET", "answer", "42"))
	require.Equal(t, "42\n", weirtest.RedisCLI(t, addr, "GET", "answer"))
	large := strings.Repeat("x", 100_000)
	require.Equal(t, "OK\n", weirtest.RedisCLI(t, addr, "SET", "large", large))
	require.Equal(t, large+"\n", weirtest.RedisCLI(t, addr, "GET", "large"))
	require.Equal(t, "1\n", weirtest.RedisCLI(t, addr, "EVAL", "return redis.call('SETNX', KEYS[1], 1)", "1", "key"))

	sub := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(sub, "SUBSCRIBE news\r\n"))
	lines := bufio.NewScanner(sub)
	for range 6 { // *3 $9 subscribe $4 news :1
		require.True(t, lines.Scan())
	}
	require.Equal(t, "1\n", weirtest.RedisCLI(t, addr, "PUBLISH", "news", "extra extra"))
	sub.SetReadDeadline(time.Now().Add(15 * time.Second))
	for lines.Scan() && lines.Text() != "extra extra" {
	}
	require.Equal(t, "extra extra", lines.Text())
}

// Redis's load generator runs through weir without an error, with and without pipelines and persistent connections.
func TestRedisBenchmark(t *testing.T) {
	t.Parallel()
	redis := nettest.StartRedis(t)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(redis.Addr())})
	n := fmt.Sprint(weirtest.Scaled(5000))
	for _, args := range [][]string{
		{"-n", n, "-c", "50", "-t", "set,get", "-d", "100"},
		{"-n", n, "-c", "20", "-P", "16", "-t", "set,get", "-d", "2000"},
		{"-n", fmt.Sprint(weirtest.Scaled(1000)), "-c", "10", "-k", "0", "-t", "ping"},
	} {
		out := weirtest.RunRedisTool(t, "redis-benchmark", addr, append([]string{"-q"}, args...)...)
		require.NotContains(t, out, "Error")
		require.Contains(t, out, "requests per second")
	}
	require.Empty(t, w.Warnings())
}

// One of three Redis servers is killed and restarted several times under load: only sessions connected to it fail.
func TestKilledRedisCostsOnlyItsSessions(t *testing.T) {
	names := []string{"A", "B", "C"}
	hosts := make([]*nettest.Redis, len(names))
	var list []string
	for i, name := range names {
		hosts[i] = nettest.StartRedis(t)
		list = append(list, hosts[i].Addr()+" name="+name)
	}
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "fail_timeout = \"200ms\"", Levels: weirtest.OneLevel(list...),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nfast_interval = \"100ms\"\n",
	})
	type failure struct {
		client string
		began  time.Time
		err    error
	}
	var (
		mu       sync.Mutex
		failures []failure
		sessions int
		wg       sync.WaitGroup
		stop     = make(chan struct{})
	)
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began, client := time.Now(), ""
				c, err := nettest.TryDial(addr)
				if err == nil {
					client = c.LocalAddr().String()
					err = weirtest.RedisPings(c, 20)
					c.Close()
				}
				mu.Lock()
				sessions++
				if err != nil {
					failures = append(failures, failure{client, began, err})
				}
				mu.Unlock()
			}
		})
	}
	const rounds = 3
	moreSessions := func() {
		t.Helper()
		mu.Lock()
		until := sessions + 100
		mu.Unlock()
		nettest.Wait(t, 30*time.Second, "more sessions", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return sessions >= until
		})
	}
	for range rounds {
		moreSessions()
		hosts[1].Kill()
		moreSessions()
		hosts[1].Up()
	}
	nettest.Wait(t, 30*time.Second, "many sessions", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return sessions > 1000
	})
	close(stop)
	wg.Wait()
	t.Logf("%d sessions, %d failed", sessions, len(failures))
	require.LessOrEqual(t, len(failures), rounds*8, "at most those that were open at a kill")
	for _, f := range failures {
		require.NotEmpty(t, f.client, "connecting to weir: %v", f.err)
		r := w.WaitRecord(5*time.Second, "the record of a failed session", func(r weirtest.Record) bool {
			return r.Termination() != "" && r.Text("client") == f.client && r.IsAfter(f.began) // its port had other sessions before
		})
		require.Equal(t, "B", r.Text("server"), "%v: %v", f.err, r)
		require.Contains(t, r.Termination(), "relay", "%v: %v", f.err, r)
	}
	require.Positive(t, len(w.Records(func(r weirtest.Record) bool { return r.Text("server") == "B" && r.Termination() != "" })))
	nettest.Wait(t, 15*time.Second, "the server's return", func() bool {
		c := nettest.Dial(t, addr)
		require.NoError(t, weirtest.RedisPings(c, 1))
		c.Close()
		return w.SessionRecord(c).Text("server") == "B"
	})
}
