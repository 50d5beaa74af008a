package main_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// A client that says nothing and is told nothing for client_idle_timeout is cut.
func TestClientIdleTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := serve(t, layout{listener: `client_idle_timeout = "1s"`, levels: servers(host.Addr())})
	c := nettest.Dial(t, addr)
	var begin time.Time // of the last activity, at the earliest
	for range 3 {
		time.Sleep(400 * time.Millisecond)
		begin = time.Now()
		require.NoError(t, pingpong(c))
	}
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.NotEqual(t, nettest.Timeout, end)
	between(t, time.Second, time.Since(begin))
	require.Equal(t, "relay client_idle", w.session(c).end())
	w.settled(time.Second)
}

// Bytes in either direction are activity.
func TestDownloadIsActivity(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Trickle(10, 400*time.Millisecond))
	_, addr := serve(t, layout{
		listener: `client_idle_timeout = "1s"`, cluster: `server_idle_timeout = "1s"`, levels: servers(host.Addr()),
	})
	data, end := nettest.ReadToEnd(nettest.Dial(t, addr), 10*time.Second)
	require.Len(t, data, 10)
	require.Equal(t, nettest.EOF, end)
}

// The first of the two idle timeouts to expire ends the session and is named.
func TestServerIdleTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Silent)
	w, addr := serve(t, layout{
		listener: `client_idle_timeout = "5s"`, cluster: `server_idle_timeout = "1s"`, levels: servers(host.Addr()),
	})
	c := nettest.Dial(t, addr)
	begin := time.Now()
	require.NoError(t, pushed(c, "hello"))
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.NotEqual(t, nettest.Timeout, end)
	between(t, time.Second, time.Since(begin))
	require.Equal(t, "relay server_idle", w.session(c).end())
	host.Reset()
}

// A client that has stopped reading is idle, even with data waiting for it.
func TestStalledClientIsIdle(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Send(1, 64<<20))
	w, addr := serve(t, layout{listener: `client_idle_timeout = "1s"`, levels: servers(host.Addr())})
	c := nettest.Dial(t, addr)
	begin := time.Now()
	require.Equal(t, "relay client_idle", w.session(c).end())
	require.GreaterOrEqual(t, time.Since(begin), 990*time.Millisecond)
	require.Less(t, nettest.Elapsed(begin), 3*time.Second)
}

// Idle timers do not run while the server is being dialled.
func TestDiallingIsNotIdling(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	_, addr := serve(t, layout{
		listener: `client_idle_timeout = "300ms"`, cluster: `connect_timeout = "1s"`,
		levels: servers(nettest.FullBacklog(t), host.Addr()),
	})
	text, _ := ask(addr)
	require.Equal(t, "ok", text)
}

// Without options nothing ends an idle session, and both of its sockets have keepalive timers.
func TestIdleSessionsStayByDefault(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("hello", nettest.Echo))
	_, addr := serve(t, layout{levels: servers(host.Addr())})
	c := nettest.Dial(t, addr)
	for range 5 {
		first(t, c)
	}
	for _, filter := range []string{"sport = " + addr[strings.LastIndex(addr, ":"):], "dport = " + host.Addr()[strings.LastIndex(host.Addr(), ":"):]} {
		nettest.Wait(t, 2*time.Second, "a keepalive timer on "+filter, func() bool {
			out, err := exec.Command("ss", "-Htno", "state", "established", filter).CombinedOutput()
			require.NoError(t, err, "%s", out)
			return strings.Contains(string(out), "timer:(keepalive")
		})
	}
	time.Sleep(4 * time.Second)
	require.NoError(t, pingpong(c))
}

// Many timeouts that are due together all fire in time.
func TestManyTimeoutsAtOnce(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	_, addr := serve(t, layout{listener: `client_idle_timeout = "1s"`, levels: servers(host.Addr())})
	n := scaled(500)
	ends := make(chan time.Duration, n)
	for range n {
		c := nettest.Dial(t, addr)
		begin := time.Now()
		require.NoError(t, pingpong(c))
		go func() {
			nettest.ReadToEnd(c, 10*time.Second)
			ends <- time.Since(begin)
		}()
	}
	for range n {
		between(t, time.Second, <-ends)
	}
}
