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
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The timeout of everything that TestInputDuringPauseIsInTime tests, and the length of the pause.
const (
	pauseTimeout = 2 * time.Second
	pauseLength  = 3 * time.Second
)

// fullBacklog returns the address of a server whose accept queue is full until accept is called.
func fullBacklog(t *testing.T) (addr string, accept func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	addr = fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	queued := 0
	for ; queued < 8; queued++ {
		c, err := net.DialTimeout("tcp", addr, 150*time.Millisecond)
		if err != nil {
			break
		}
		t.Cleanup(func() { c.Close() })
	}
	require.Less(t, queued, 8, "the accept queue does not fill")
	return addr, func() {
		for range queued {
			c, _, err := unix.Accept(fd)
			require.NoError(t, err)
			t.Cleanup(func() { unix.Close(c) })
		}
	}
}

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
	pending, acceptPending := fullBacklog(t)
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
	for i := range idleClients { // all are idle for less than the timeout when weir stops
		require.NoError(t, weirtest.PingPong(idleClients[i]))
	}
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
