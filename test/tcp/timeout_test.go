package tcp_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A client without traffic for client_idle_timeout is cut.
func TestClientIdleTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: `client_idle_timeout = "2s"`, Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	var begin time.Time // of the last activity, at the earliest
	for range 6 {
		time.Sleep(400 * time.Millisecond)
		begin = time.Now()
		require.NoError(t, weirtest.PingPong(c))
	}
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.NotEqual(t, nettest.Timeout, end)
	weirtest.RequireBetween(t, 2*time.Second, time.Since(begin))
	require.Equal(t, "relay client_idle", w.SessionRecord(c).Termination())
	w.WaitSockets(weirtest.Bound(time.Second))
}

// Bytes in either direction are activity.
func TestDownloadIsActivity(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Trickle(10, 400*time.Millisecond))
	_, addr := weirtest.Serve(t, weirtest.Config{
		Listener: `client_idle_timeout = "2s"`, Cluster: `server_idle_timeout = "2s"`, Levels: weirtest.OneLevel(host.Addr()),
	})
	data, end := nettest.ReadToEnd(nettest.Dial(t, addr), 10*time.Second)
	require.Len(t, data, 10)
	require.Equal(t, nettest.EOF, end)
}

// The first of the two idle timeouts to expire ends the session and is named.
func TestServerIdleTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Silent)
	w, addr := weirtest.Serve(t, weirtest.Config{
		Listener: `client_idle_timeout = "5s"`, Cluster: `server_idle_timeout = "1s"`, Levels: weirtest.OneLevel(host.Addr()),
	})
	begin := time.Now()
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(c, "hello"))
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.NotEqual(t, nettest.Timeout, end)
	weirtest.RequireBetween(t, time.Second, time.Since(begin))
	require.Equal(t, "relay server_idle", w.SessionRecord(c).Termination())
	host.Reset()
}

// A client that has stopped reading is idle, even if data waits for it.
func TestStalledClientIsIdle(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Send(1, 64<<20))
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: `client_idle_timeout = "1s"`, Levels: weirtest.OneLevel(host.Addr())})
	begin := time.Now()
	c := nettest.Dial(t, addr)
	require.Equal(t, "relay client_idle", w.SessionRecord(c).Termination())
	require.GreaterOrEqual(t, time.Since(begin), 990*time.Millisecond)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(3*time.Second))
}

// Idle timers do not run during the dial.
func TestDialingIsNotIdle(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	_, addr := weirtest.Serve(t, weirtest.Config{
		Listener: `client_idle_timeout = "700ms"`, Cluster: `connect_timeout = "2s"`,
		Levels: weirtest.OneLevel(nettest.FullBacklog(t), host.Addr()),
	})
	text, _ := weirtest.ReadSession(addr)
	require.Equal(t, "ok", text)
}

// By default nothing ends an idle session, and both sockets have keepalive timers.
func TestIdleSessionsStayByDefault(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("hello", nettest.Echo))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	for range 5 {
		weirtest.ReadByte(t, c)
	}
	for _, filter := range []string{"sport = " + addr[strings.LastIndex(addr, ":"):], "dport = " + host.Addr()[strings.LastIndex(host.Addr(), ":"):]} {
		nettest.Wait(t, 10*time.Second, "a keepalive timer on "+filter, func() bool {
			out, err := exec.Command("ss", "-Htno", "state", "established", filter).CombinedOutput()
			require.NoError(t, err, "%s", out)
			return strings.Contains(string(out), "timer:(keepalive")
		})
	}
	time.Sleep(4 * time.Second)
	require.NoError(t, weirtest.PingPong(c))
}

// Many timeouts that are due together all fire in time.
func TestManyTimeoutsTogether(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	_, addr := weirtest.Serve(t, weirtest.Config{Listener: `client_idle_timeout = "1s"`, Levels: weirtest.OneLevel(host.Addr())})
	n := weirtest.Scaled(500)
	type times struct{ least, most time.Duration } // as seen from before and from after the last activity
	ends := make(chan times, n)
	for range n {
		c := nettest.Dial(t, addr)
		before := time.Now()
		require.NoError(t, weirtest.PingPong(c))
		after := time.Now()
		go func() {
			nettest.ReadToEnd(c, 10*time.Second)
			ends <- times{time.Since(before), nettest.Elapsed(after)}
		}()
	}
	for range n {
		took := <-ends
		require.GreaterOrEqual(t, took.least, time.Second)
		weirtest.RequireLittleMore(t, time.Second, took.most)
	}
}
