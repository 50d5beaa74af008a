package upgrade_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server at max_sessions stays at it during an upgrade: sessions that wait for it move to the new process, wait on there in their
// order, and get the places that become free. New clients get none of these.
func TestUpgradeKeepsQueueOfFullServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open, most, order := 0, 0, ""
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		defer func() {
			mu.Lock()
			open--
			mu.Unlock()
		}()
		b := make([]byte, 1)
		if _, err := c.Read(b); err == nil {
			mu.Lock()
			order += string(b)
			mu.Unlock()
			c.Write(b)
			nettest.Echo(ctx, c)
		}
	})
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "max_sessions = 4\nqueue_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(config.String()))
	var clients []*net.TCPConn
	dial := func() *net.TCPConn {
		c := nettest.Dial(t, config.Listen)
		require.NoError(t, weirtest.WriteText(c, fmt.Sprintf("%c", 'a'+len(clients))))
		clients = append(clients, c)
		return c
	}
	for range 4 {
		require.NotEmpty(t, weirtest.ReadByte(t, dial()))
	}
	for range 6 {
		a.WaitPhase(dial(), "queue")
	}
	leaves := nettest.Dial(t, config.Listen)
	a.WaitPhase(leaves, "queue")
	for range 2 {
		stop, dialled := make(chan struct{}), make(chan []net.Conn)
		go func() { // new clients during the upgrade
			var all []net.Conn
			for {
				select {
				case <-stop:
					dialled <- all
					return
				default:
				}
				if c, err := nettest.TryDial(config.Listen); err == nil {
					all = append(all, c)
				}
				time.Sleep(2 * time.Millisecond)
			}
		}()
		w.Upgrade()
		close(stop)
		for _, c := range <-dialled {
			c.Close()
		}
		require.Len(t, w.Records(func(r weirtest.Record) bool { return r.Termination() == "queue queue_timeout" }), 0)
	}
	nettest.Abort(leaves)
	require.Equal(t, "queue client_reset", w.SessionRecord(leaves).Termination())
	mu.Lock()
	require.Equal(t, 4, most)
	mu.Unlock()
	for i := range 6 {
		nettest.Abort(clients[i])
		require.Equal(t, string(rune('a'+4+i)), weirtest.ReadByte(t, clients[4+i]))
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, "efghij", order[4:])
	require.NoError(t, weirtest.PingPong(clients[9]))
}

// A session that waits for a full server waits on in the new process although its listener was removed before the upgrade, or
// queue_timeout was set to 0 with it; it is served, or ends at the time that it was promised.
func TestQueuedSessionKeepsItsTimeThroughUpgrade(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	removed := nettest.Reserve(t)
	cluster := "max_sessions = 1\nqueue_timeout = "
	config := weirtest.Config{
		Listen: nettest.Reserve(t), Runtime: `drain_timeout = "2m"`, Cluster: cluster + `"20s"`, Levels: weirtest.OneLevel(host.Addr() + " name=A"),
		More: fmt.Sprintf("[[listener]]\nname = \"removed\"\naddress = %q\ncluster = \"c\"\n", removed),
	}
	a := weirtest.NewAPI(t)
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, a.AddTo(config.String()))
	active := nettest.Dial(t, config.Listen)
	require.Equal(t, "A", weirtest.ReadByte(t, active))
	begin := time.Now()
	served, late := nettest.Dial(t, removed), nettest.Dial(t, removed)
	a.WaitPhase(served, "queue")
	a.WaitPhase(late, "queue")
	config.More = ""
	w.Reload(a.AddTo(config.String()))
	config.Cluster = cluster + `"0s"`
	w.WriteConfig(a.AddTo(config.String()))
	w.Upgrade()
	for _, c := range []net.Conn{served, late} {
		a.WaitPhase(c, "queue")
	}
	nettest.Abort(active)
	first := served
	one := make([]byte, 1)
	first.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := first.Read(one); err != nil { // they began at the same time
		first, late = late, served
		require.Equal(t, "A", weirtest.ReadByte(t, first))
	}
	_, end := nettest.ReadToEnd(late, 40*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "queue queue_timeout", w.SessionRecord(late).Termination())
	weirtest.RequireBetween(t, 20*time.Second, time.Since(begin))
	require.NoError(t, weirtest.PingPong(first))
	require.NoError(t, first.CloseWrite())
	_, end = nettest.ReadToEnd(first, 10*time.Second)
	require.Equal(t, nettest.EOF, end)
	r := w.SessionRecord(first)
	require.Equal(t, "relay client_closed", r.Termination())
	require.Equal(t, "1", r.Text("cluster_level"))
	w.Baseline = nil // a listener has left
}
