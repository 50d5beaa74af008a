// Listeners with when_full = "wait": at a limit, clients wait in the kernel's queue.

package tcp_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// crowd are clients of one address.
type crowd struct {
	t    *testing.T
	host *nettest.Host

	mu      sync.Mutex
	clients []*crowdClient
}

type crowdClient struct {
	conn   net.Conn
	served chan struct{} // closed with the first byte
	ended  chan error    // receives the error that ends it
}

func newCrowd(t *testing.T) *crowd {
	return &crowd{t: t, host: nettest.Start(t, nettest.Greet("x", nettest.Echo))}
}

// join adds n clients, which send a text first.
func (c *crowd) join(n int, text string, dial func() (net.Conn, error)) {
	c.t.Helper()
	for range n {
		conn, err := dial()
		require.NoError(c.t, err)
		c.t.Cleanup(func() { conn.Close() })
		if text != "" {
			require.NoError(c.t, weirtest.WriteText(conn, text))
		}
		client := &crowdClient{conn: conn, served: make(chan struct{}), ended: make(chan error, 1)}
		go func() {
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				client.ended <- err
				return
			}
			close(client.served)
			_, err := conn.Read(make([]byte, 1))
			client.ended <- err
		}()
		c.mu.Lock()
		c.clients = append(c.clients, client)
		c.mu.Unlock()
	}
}

// split returns the clients that are served, those that wait, and the number of those that have ended.
func (c *crowd) split() (served, waiting []*crowdClient, ended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		select {
		case err := <-client.ended:
			client.ended <- err
			ended++
			continue
		default:
		}
		select {
		case <-client.served:
			served = append(served, client)
		default:
			waiting = append(waiting, client)
		}
	}
	return served, waiting, ended
}

// settle waits until so many clients are served, and the others wait.
func (c *crowd) settle(served, waiting int) {
	c.t.Helper()
	nettest.Wait(c.t, 15*time.Second, fmt.Sprintf("%d clients to be served", served), func() bool {
		have, _, _ := c.split()
		return len(have) >= served
	})
	time.Sleep(20 * time.Millisecond) // a further one would be served, or reset, at once
	have, wait, _ := c.split()
	require.Len(c.t, have, served)
	require.Len(c.t, wait, waiting)
}

// leaveOne ends the session of one client that is served, which another one takes the place of at once.
func (c *crowd) leaveOne() {
	c.t.Helper()
	served, waiting, _ := c.split()
	begin := time.Now()
	served[0].conn.Close()
	nettest.Wait(c.t, 15*time.Second, "the next client", func() bool {
		_, wait, _ := c.split()
		return len(wait) < len(waiting)
	})
	require.Less(c.t, nettest.Elapsed(begin), weirtest.Bound(time.Second))
	<-served[0].ended
	served[0].ended <- net.ErrClosed
}

func dialCrowd(addr string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		if path, ok := strings.CutPrefix(addr, "unix:"); ok {
			return net.Dial("unix", path)
		}
		return net.DialTimeout("tcp", addr, 5*time.Second)
	}
}

// Clients over max_sessions, or over runtime.max_sessions, wait. Each session that ends makes room for one of them at once,
// whatever event loop the kernel has queued it at. None is rejected, and the server never has more.
func TestFullListenerMakesClientsWait(t *testing.T) {
	const limit, clients = 4, 24
	unix := "unix:" + filepath.Join(weirtest.ShortTempDir(t), "l.sock")
	for _, c := range []struct{ name, listen, runtime, listener, text string }{
		{"listener", "", "loops = 4", "max_sessions = 4", ""},
		{"process", "", "loops = 4\nmax_sessions = 4", "", ""},
		{"both", "", "loops = 4\nmax_sessions = 4", "max_sessions = 4", ""},
		{"unix", unix, "loops = 4", "max_sessions = 4", ""},
		{"PROXY", "", "loops = 4", "max_sessions = 4\naccept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"},
		{"per source", "", "loops = 4", "max_sessions = 4\nmax_sessions_per_source = 100", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			crowd := newCrowd(t)
			_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
				Listen: c.listen, Runtime: c.runtime, Listener: c.listener + "\nwhen_full = \"wait\"", Levels: weirtest.OneLevel(crowd.host.Addr()),
			})
			crowd.join(clients, c.text, dialCrowd(addr))
			crowd.settle(limit, clients-limit)
			if c.listen == "" { // the kernel does not show the queue of a unix socket
				require.EqualValues(t, clients-limit, a.Get("listeners", 0, "waiting"))
				require.Equal(t, fmt.Sprint(clients-limit), a.Metric(`weir_clients_waiting{listener="l"}`))
				require.Contains(t, a.MustDo("GET /v1/status", ""), fmt.Sprintf("listener l is full: %d clients wait", clients-limit))
			}
			for range clients - limit {
				crowd.leaveOne()
			}
			crowd.settle(limit, 0)
			require.Equal(t, "0", a.Metric(`weir_clients_waiting{listener="l"}`))
			require.Empty(t, rejections(a))
		})
	}
}

// Sessions that end and begin all the time at several loops leave no client behind.
func TestNoClientIsStrandedWhileWaiting(t *testing.T) {
	crowd := newCrowd(t)
	const limit = 3
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 4", Listener: "max_sessions = 3\nwhen_full = \"wait\"", Levels: weirtest.OneLevel(crowd.host.Addr()),
	})
	var clients sync.WaitGroup
	var failed, now, most atomic.Int64
	for range 16 {
		clients.Go(func() {
			for range weirtest.Scaled(100) {
				if !greeted(addr, &now, &most) {
					failed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	require.Zero(t, failed.Load())
	require.LessOrEqual(t, most.Load(), int64(limit))
	require.Empty(t, rejections(a))
}

// greeted opens a session and reports whether it is served from its first byte to its end. now counts the clients that certainly
// have a session, and most the most at once.
func greeted(addr string, now, most *atomic.Int64) bool {
	c, err := nettest.TryDial(addr)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return false
	}
	n := now.Add(1)
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
	now.Add(-1)
	if weirtest.WriteText(c, "hello") != nil || c.CloseWrite() != nil {
		return false
	}
	text, end := nettest.ReadToEnd(c, 20*time.Second)
	return string(text) == "hello" && end == nettest.EOF
}

// A source over max_sessions_per_source is rejected, also where others wait.
func TestSourceLimitRejectsWhileOthersWait(t *testing.T) {
	crowd := newCrowd(t)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 2", Listener: "max_sessions = 4\nmax_sessions_per_source = 3\nwhen_full = \"wait\"", Levels: weirtest.OneLevel(crowd.host.Addr()),
	})
	for range 3 {
		_, ok := come(t, "127.0.0.2", addr)
		require.True(t, ok)
	}
	_, ok := come(t, "127.0.0.2", addr)
	require.False(t, ok)
	require.Equal(t, map[string]int{"max_sessions_per_source": 1}, rejections(a))
	crowd.join(5, "", dialCrowd(addr))
	crowd.settle(1, 4)
	for range 4 {
		crowd.leaveOne()
	}
	require.Equal(t, map[string]int{"max_sessions_per_source": 1}, rejections(a))
}

// A reload applies at once to the clients that wait.
func TestReloadOfFullListener(t *testing.T) {
	crowd := newCrowd(t)
	l := weirtest.Config{Listen: nettest.Reserve(t), Levels: weirtest.OneLevel(crowd.host.Addr())}
	config := func(runtime, listener string) string {
		l.Runtime, l.Listener = "loops = 4\n"+runtime, listener
		return l.String()
	}
	w := weirtest.Start(t, config("", "max_sessions = 2\nwhen_full = \"wait\""))
	crowd.join(12, "", dialCrowd(l.Listen))
	crowd.settle(2, 10)
	w.Reload(config("", "max_sessions = 5\nwhen_full = \"wait\""))
	crowd.settle(5, 7)
	w.Reload(config("max_sessions = 5", "when_full = \"wait\""))
	crowd.settle(5, 7)
	w.Reload(config("max_sessions = 7", "when_full = \"wait\""))
	crowd.settle(7, 5)
	w.Reload(config("max_sessions = 7", ""))
	nettest.Wait(t, 15*time.Second, "rejections", func() bool { _, waiting, _ := crowd.split(); return len(waiting) == 0 })
	served, _, ended := crowd.split()
	require.Len(t, served, 7)
	require.Equal(t, 5, ended)
}

// An upgrade keeps the limit and the clients that wait.
func TestUpgradeOfFullListener(t *testing.T) {
	crowd := newCrowd(t)
	const limit, clients = 4, 20
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 4", Listener: "max_sessions = 4\nwhen_full = \"wait\"", Levels: weirtest.OneLevel(crowd.host.Addr()),
	})
	crowd.join(clients, "", dialCrowd(addr))
	crowd.settle(limit, clients-limit)
	for range 2 {
		w.Upgrade()
		crowd.settle(limit, clients-limit-int(crowd.left()))
		crowd.leaveOne()
	}
	for range clients - limit - 2 {
		crowd.leaveOne()
	}
	require.Empty(t, rejections(a))
}

// left returns how many clients have ended.
func (c *crowd) left() int {
	_, _, ended := c.split()
	return ended
}

// A stop resets the clients that wait and lets sessions finish.
func TestStopOfFullListener(t *testing.T) {
	crowd := newCrowd(t)
	w, addr := weirtest.Serve(t, weirtest.Config{
		Runtime: "loops = 4", Listener: "max_sessions = 4\nwhen_full = \"wait\"", Levels: weirtest.OneLevel(crowd.host.Addr()),
	})
	crowd.join(12, "", dialCrowd(addr))
	crowd.settle(4, 8)
	w.Signal(syscall.SIGTERM)
	nettest.Wait(t, 15*time.Second, "the others to be reset", func() bool { return crowd.left() == 8 })
	served, _, _ := crowd.split()
	require.Len(t, served, 4)
	for _, client := range served {
		require.NoError(t, client.conn.(*net.TCPConn).CloseWrite())
		require.Equal(t, nettest.EOF, nettest.StreamEndOf(<-client.ended))
	}
	require.Equal(t, 0, w.WaitExit(15*time.Second))
}
