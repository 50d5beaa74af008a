package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The timeout of everything that TestInputDuringPauseIsInTime tests, and the length of the pause.
const (
	pauseTimeout = 4 * time.Second
	pauseLength  = 5 * time.Second
)

// While weir is stopped, clients and servers send what the timeouts wait for. All of it is in time, although every
// deadline passed during the pause. There are more sessions than a loop gets events from one poll.
func TestInputDuringPauseIsInTime(t *testing.T) { // alone: it has many sessions
	timeout := fmt.Sprintf("%q", pauseTimeout.String())
	echo := nettest.Start(t, nettest.Echo)
	answer := make(chan struct{}) // closed during the pause
	late := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		io.Copy(io.Discard, c)
		select {
		case <-answer:
			weirtest.WriteText(c, "x")
		case <-ctx.Done():
		}
	})
	pending, acceptPending := nettest.FullBacklogUntil(t)
	idle, header, half, queue, dial, try := nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t), nettest.Reserve(t)
	listener := func(name, addr, server, listenerKey, clusterKey string) string {
		table := strings.Replace(weirtest.ListenerTables(name, addr, server), "cluster =", listenerKey+"\ncluster =", 1)
		return strings.Replace(table, "[[cluster", clusterKey+"\n[[cluster", 1)
	}
	w := weirtest.Start(t, weirtest.Config{
		Listen: idle, Runtime: "loops = 1", Listener: "client_idle_timeout = " + timeout, Levels: weirtest.OneLevel(echo.Addr()),
		More: listener("header", header, echo.Addr(), "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_timeout = "+timeout, "") +
			listener("half", half, late.Addr(), "half_close_timeout = "+timeout, "") +
			listener("queue", queue, echo.Addr(), "", "max_sessions = 1\nqueue_timeout = "+timeout) +
			listener("dial", dial, pending, "", "connect_timeout = "+timeout) +
			listener("try", try, pending, "", "connect_timeout = \"20s\"\ntry_timeout = "+timeout),
	}.String())

	n := weirtest.Scaled(1500)
	var idleClients, headerClients []*net.TCPConn
	for range n {
		c := nettest.Dial(t, idle)
		require.NoError(t, weirtest.PingPong(c))
		idleClients = append(idleClients, c)
		if len(idleClients)%500 == 0 { // none is idle for long
			pingPongs(t, idleClients)
		}
	}
	holder := nettest.Dial(t, queue)
	require.NoError(t, weirtest.PingPong(holder))
	halfClient, waiting := nettest.Dial(t, half), nettest.Dial(t, queue)
	require.NoError(t, halfClient.CloseWrite())
	for range 20 {
		c := nettest.Dial(t, header)
		require.NoError(t, weirtest.WriteText(c, "PROXY TCP4 192.0.2.1 192.0.2.2 "))
		headerClients = append(headerClients, c)
	}
	dialClient, tryClient := nettest.Dial(t, dial), nettest.Dial(t, try)
	pingPongs(t, idleClients) // all are idle for less than the timeout when weir stops
	require.NoError(t, weirtest.WriteText(waiting, "x"))

	w.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	acceptPending()
	close(answer)
	holder.Close()
	for _, c := range idleClients {
		require.NoError(t, weirtest.WriteText(c, "x"))
	}
	for _, c := range headerClients {
		require.NoError(t, weirtest.WriteText(c, "1 2\r\nx"))
	}
	time.Sleep(pauseLength - time.Since(stopped))
	w.Signal(syscall.SIGCONT)

	for i, c := range idleClients {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err, "idle client %d of %d", i, n)
	}
	for what, clients := range map[string][]*net.TCPConn{"PROXY header": headerClients, "half-close": {halfClient}, "queue": {waiting}} {
		for _, c := range clients {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err := io.ReadFull(c, make([]byte, 1))
			require.NoError(t, err, what)
		}
	}
	for what, c := range map[string]*net.TCPConn{"dial": dialClient, "try": tryClient} {
		_, end := nettest.ReadToEnd(c, 500*time.Millisecond)
		require.Equal(t, nettest.Timeout, end, what)
		nettest.Abort(c) // the server's kernel has accepted, nothing closes there
	}
	// The timeouts still work.
	_, end := nettest.ReadToEnd(idleClients[0], 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay client_idle", w.SessionRecord(idleClients[0]).Termination())
}

// pingPongs writes a byte to each session, and then reads it back from each.
func pingPongs(t *testing.T, clients []*net.TCPConn) {
	t.Helper()
	for _, c := range clients {
		require.NoError(t, weirtest.WriteText(c, "x"))
	}
	for _, c := range clients {
		weirtest.ReadByte(t, c)
	}
}
