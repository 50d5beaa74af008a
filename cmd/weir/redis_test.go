package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// redisCLI runs redis-cli against an address.
func redisCLI(t *testing.T, addr string, args ...string) string {
	t.Helper()
	return redisTool(t, "redis-cli", addr, args...)
}

func redisTool(t *testing.T, tool, addr string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	out, err := exec.Command(tool, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", tool, args, out)
	return string(out)
}

// Redis's own client works through weir: single commands, pipelines, large values, publish and subscribe.
func TestRedisClient(t *testing.T) {
	t.Parallel()
	redis := nettest.StartRedis(t)
	_, addr := serve(t, layout{levels: servers(redis.Addr())})
	require.Equal(t, "OK\n", redisCLI(t, addr, "SET", "answer", "42"))
	require.Equal(t, "42\n", redisCLI(t, addr, "GET", "answer"))
	large := strings.Repeat("x", 100_000)
	require.Equal(t, "OK\n", redisCLI(t, addr, "SET", "large", large))
	require.Equal(t, large+"\n", redisCLI(t, addr, "GET", "large"))
	require.Equal(t, "1\n", redisCLI(t, addr, "EVAL", "return redis.call('SETNX', KEYS[1], 1)", "1", "key"))

	sub := nettest.Dial(t, addr)
	require.NoError(t, pushed(sub, "SUBSCRIBE news\r\n"))
	lines := bufio.NewScanner(sub)
	for range 6 { // *3 $9 subscribe $4 news :1
		require.True(t, lines.Scan())
	}
	require.Equal(t, "1\n", redisCLI(t, addr, "PUBLISH", "news", "extra extra"))
	sub.SetReadDeadline(time.Now().Add(5 * time.Second))
	for lines.Scan() && lines.Text() != "extra extra" {
	}
	require.Equal(t, "extra extra", lines.Text())
}

// Redis's own load generator runs through weir without an error, with and without pipelining and kept connections.
func TestRedisBenchmark(t *testing.T) {
	t.Parallel()
	redis := nettest.StartRedis(t)
	w, addr := serve(t, layout{levels: servers(redis.Addr())})
	n := fmt.Sprint(scaled(5000))
	for _, args := range [][]string{
		{"-n", n, "-c", "50", "-t", "set,get", "-d", "100"},
		{"-n", n, "-c", "20", "-P", "16", "-t", "set,get", "-d", "2000"},
		{"-n", fmt.Sprint(scaled(1000)), "-c", "10", "-k", "0", "-t", "ping"},
	} {
		out := redisTool(t, "redis-benchmark", addr, append([]string{"-q"}, args...)...)
		require.NotContains(t, out, "Error")
		require.Contains(t, out, "requests per second")
	}
	require.Empty(t, w.loud())
}

// One of three Redis servers is killed and comes back, several times, under load: the sessions that fail are those that
// were connected to it.
func TestKilledRedisCostsOnlyItsSessions(t *testing.T) {
	names := []string{"A", "B", "C"}
	hosts := make([]*nettest.Redis, len(names))
	var list []string
	for i, name := range names {
		hosts[i] = nettest.StartRedis(t)
		list = append(list, hosts[i].Addr()+" name="+name)
	}
	w, addr := serve(t, layout{
		cluster: "fail_timeout = \"200ms\"", levels: servers(list...),
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"100ms\"\n",
	})
	type failure struct {
		client string
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
				c, err := nettest.TryDial(addr)
				client := ""
				if err == nil {
					client = c.LocalAddr().String()
					err = redisPings(c, 20)
					c.Close()
				}
				mu.Lock()
				sessions++
				if err != nil {
					failures = append(failures, failure{client, err})
				}
				mu.Unlock()
			}
		})
	}
	const rounds = 3
	for range rounds {
		time.Sleep(300 * time.Millisecond)
		hosts[1].Kill()
		time.Sleep(300 * time.Millisecond)
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
		r := w.waitRecord(5*time.Second, "the record of a failed session", func(r record) bool {
			return r.end() != "" && r.str("client") == f.client
		})
		require.Equal(t, "B", r.str("server"), "%v: %v", f.err, r)
		require.Contains(t, r.end(), "relay", "%v: %v", f.err, r)
	}
	require.Positive(t, len(w.all(func(r record) bool { return r.str("server") == "B" && r.end() != "" })))
	nettest.Wait(t, 5*time.Second, "the server's return", func() bool {
		c := nettest.Dial(t, addr)
		require.NoError(t, redisPings(c, 1))
		c.Close()
		return w.session(c).str("server") == "B"
	})
}

// redisPings sends n PINGs, one after the other.
func redisPings(c net.Conn, n int) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for range n {
		if err := pushed(c, "PING\r\n"); err != nil {
			return err
		}
		if line, err := r.ReadString('\n'); err != nil {
			return err
		} else if line != "+PONG\r\n" {
			return fmt.Errorf("PING was answered %q", line)
		}
	}
	return nil
}
