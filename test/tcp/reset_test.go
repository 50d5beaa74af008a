package tcp_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server's reset reaches the client as a reset, after the bytes that came before it.
func TestServerResetIsForwarded(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.ResetAfter(1000, 100*time.Millisecond))
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Len(t, data, 1000)
	require.Equal(t, nettest.Reset, end)
	r := w.SessionRecord(c)
	require.Contains(t, r.Termination(), "server")
	require.Contains(t, r.Termination(), "reset")
	require.Equal(t, 1000, r.Int("bytes_down"))
}

// This includes a server that sends and resets before its connect is noticed: it was reached, and no other server is
// tried.
func TestServerThatResetsImmediately(t *testing.T) {
	t.Parallel()
	host, other := nettest.Start(t, nettest.ResetAfter(500, 0)), nettest.Start(t, nettest.SendText("other"))
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: `balance = "first"`, Levels: weirtest.OneLevel(host.Addr(), other.Addr())})
	n := weirtest.Scaled(100)
	for range n {
		c, err := nettest.TryDial(addr)
		if err != nil { // so quick that the client's system reports the reset in place of the connection
			require.Equal(t, nettest.Reset, nettest.StreamEndOf(err))
			continue
		}
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		c.Close()
		require.Len(t, data, 500)
		require.Equal(t, nettest.Reset, end)
	}
	ended := func() []weirtest.Record {
		return w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })
	}
	nettest.Wait(t, 5*time.Second, "the sessions' records", func() bool { return len(ended()) == n })
	for _, r := range ended() {
		require.Equal(t, "relay server_reset", r.Termination())
		require.Equal(t, 500, r.Int("bytes_down"))
	}
	require.Zero(t, other.Accepted())
}

// Bytes that a server sent before its reset are delivered, even if the client reads later.
func TestServerResetWaitsForSlowClient(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.ResetWhenTaken(200_000, 50*time.Millisecond))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	nettest.Wait(t, 5*time.Second, "the reset", func() bool { return host.Accepted() == 1 && host.Open() == 0 })
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Len(t, data, 200_000)
	require.Equal(t, nettest.Reset, end)
}

// A client that never reads cannot delay a server's reset for ever: half_close_timeout bounds the wait.
func TestServerResetWaitIsBounded(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.ResetAfter(3<<20, 0))
	w, addr := weirtest.Serve(t, weirtest.Config{Listener: `half_close_timeout = "1s"`, Levels: weirtest.OneLevel(host.Addr())})
	nettest.Dial(t, addr)
	nettest.Wait(t, 5*time.Second, "the connection at the server", func() bool { return host.Accepted() == 1 })
	w.WaitSockets(5 * time.Second)
}

// A client's reset reaches the server as a reset, immediately.
func TestClientResetIsForwarded(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "hello"}
	host := nettest.Start(t, rec.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	var took []time.Duration
	for i := range 20 {
		c := nettest.Dial(t, addr)
		_, err := io.ReadFull(c, make([]byte, 5))
		require.NoError(t, err)
		begin := time.Now()
		nettest.Abort(c)
		v := rec.WaitEnd(t, i, 5*time.Second)
		require.Equal(t, nettest.Reset, v.End)
		took = append(took, v.EndAt.Sub(begin))
		require.Contains(t, w.SessionRecord(c).Termination(), "client")
	}
	require.Less(t, weirtest.Median(took), weirtest.Bound(100*time.Millisecond))
}

// Bytes that a client sent before its reset are delivered, even if the server reads later.
func TestClientResetWaitsForSlowServer(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{}
	read := make(chan struct{})
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		select {
		case <-read:
			rec.Handle(ctx, c)
		case <-ctx.Done():
		}
	})
	_, addr, api := weirtest.ServeAPI(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	_, err := c.Write(make([]byte, 200_000))
	require.NoError(t, err)
	api.WaitSession(c, "with all bytes", func(r weirtest.Record) bool { return r.Int("bytes_up") == 200_000 })
	nettest.Abort(c)
	api.WaitPhase(c, "abort")
	close(read)
	v := rec.WaitEnd(t, 0, 5*time.Second)
	require.EqualValues(t, 200_000, v.Bytes)
	require.Equal(t, nettest.Reset, v.End)
}

// A reset is forwarded even if its receiver has already closed its own side.
func TestResetAfterHalfClose(t *testing.T) {
	t.Parallel()
	t.Run("client closed its side, server resets", func(t *testing.T) {
		t.Parallel()
		host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
			io.Copy(io.Discard, c)
			time.Sleep(50 * time.Millisecond)
			nettest.Abort(c)
		})
		w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
		c := nettest.Dial(t, addr)
		require.NoError(t, c.CloseWrite())
		begin := time.Now()
		data, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Empty(t, data)
		require.Equal(t, nettest.Reset, end)
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(time.Second))
		w.WaitSockets(weirtest.Bound(time.Second))
	})
	t.Run("server closed its side, client resets", func(t *testing.T) {
		t.Parallel()
		rec := &nettest.Recorder{Banner: "bye", CloseSide: true}
		host := nettest.Start(t, rec.Handle)
		w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
		c := nettest.Dial(t, addr)
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.EOF, end)
		require.NoError(t, weirtest.WriteText(c, "more"))
		nettest.Wait(t, 5*time.Second, "the bytes at the server", func() bool { return rec.Conns()[0].Bytes == 4 })
		nettest.Abort(c)
		require.Equal(t, nettest.Reset, rec.WaitEnd(t, 0, 5*time.Second).End)
		w.WaitSockets(weirtest.Bound(time.Second))
	})
}

// A client that resets during the dial ends it: no other server is tried, and nothing is kept.
func TestClientResetCancelsDial(t *testing.T) {
	t.Parallel()
	other := nettest.Start(t, nettest.Echo)
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: `connect_timeout = "30s"`, Levels: weirtest.OneLevel(nettest.FullBacklog(t), other.Addr()),
	})
	c := nettest.Dial(t, addr)
	api.WaitPhase(c, "dial")
	nettest.Abort(c)
	r := w.SessionRecord(c)
	require.Equal(t, "dial client_reset", r.Termination())
	w.WaitSockets(weirtest.Bound(time.Second))
	require.Zero(t, other.Accepted())
}

// Bytes that were sent to one server are never sent to another one.
func TestNoReplayAfterReset(t *testing.T) {
	t.Parallel()
	first := nettest.Start(t, nettest.ResetAfterReading(64<<10, 0))
	other := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(first.Addr(), other.Addr())})
	c := nettest.Dial(t, addr)
	_, err := c.Write(make([]byte, 64<<10))
	require.NoError(t, err)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Empty(t, data)
	require.Equal(t, nettest.Reset, end)
	require.Zero(t, other.Accepted())
	require.Equal(t, 1, w.SessionRecord(c).Int("attempts"))
}

// When a server process is killed, each of its clients gets a reset within a second, and no session remains.
func TestServerProcessKilled(t *testing.T) {
	redis := nettest.StartRedis(t)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(redis.Addr())})
	clients := make([]*net.TCPConn, weirtest.Scaled(500))
	for i := range clients {
		clients[i] = nettest.Dial(t, addr)
		require.NoError(t, weirtest.WriteText(clients[i], "PING\r\n"))
		_, err := io.ReadFull(clients[i], make([]byte, len("+PONG\r\n")))
		require.NoError(t, err)
	}
	redis.Kill()
	begin := time.Now()
	for _, c := range clients {
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Contains(t, []nettest.StreamEnd{nettest.EOF, nettest.Reset}, end)
	}
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(1200*time.Millisecond))
	for _, c := range clients {
		c.Close()
	}
	w.WaitSockets(5 * time.Second)
}

// Keepalive detects a server that has vanished from the network in an idle session, and the client is reset.
func TestKeepaliveDetectsVanishedServer(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Start("127.0.0.1:7001", nettest.Echo)
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Listener: `tcp_keepalive = "1s"`, Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	c := ns.Dial("127.0.0.1:7000")
	require.NoError(t, weirtest.PingPong(c))
	ns.DropAll(7001)
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	w.WaitSockets(weirtest.Bound(time.Second))
}

// tcp_user_timeout detects a server that has vanished while data is on its way to it.
func TestUserTimeoutDetectsVanishedServer(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Start("127.0.0.1:7001", nettest.Echo)
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "127.0.0.1:7000", Listener: `tcp_user_timeout = "1s"`, Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	c := ns.Dial("127.0.0.1:7000")
	require.NoError(t, weirtest.PingPong(c))
	ns.DropAll(7001)
	require.NoError(t, weirtest.WriteText(c, "is anybody there?"))
	_, end := nettest.ReadToEnd(c, 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	w.WaitSockets(weirtest.Bound(time.Second))
}

// If a server resets during an upload, with a response on its way to a client that reads late, the client gets the
// received bytes and then the reset, never a FIN.
func TestServerResetDuringUpload(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{Late: 30 * time.Millisecond}
	host := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		timer := time.AfterFunc(time.Duration(5+rand.IntN(15))*time.Millisecond, func() { nettest.Abort(c) })
		defer timer.Stop()
		d.Handle(ctx, c)
	})
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	var mu sync.Mutex
	var corrupt []string // clients
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := range weirtest.Scaled(60) {
				c, err := nettest.TryDial(addr)
				if err != nil {
					continue // connected, and reset before it was noticed
				}
				err = d.Run(c, uint64(k*1000+i), 256<<20, 256<<20)
				if err == nil || errors.Is(err, nettest.ErrCorrupt) {
					t.Error(err)
					mu.Lock()
					corrupt = append(corrupt, c.LocalAddr().String())
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for _, client := range corrupt {
		t.Log(w.Records(func(r weirtest.Record) bool { return r.Text("client") == client }))
	}
}

// Aborts at random moments of random streams are always visible as resets on the other side: received bytes are
// correct, and a truncated stream never ends like a complete one.
func TestTruncationIsAlwaysVisible(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{}
	cut := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) {
		// The server's side of a session resets after a while.
		timer := time.AfterFunc(time.Duration(rand.IntN(30_000))*time.Microsecond, func() { nettest.Abort(c) })
		defer timer.Stop()
		d.Handle(ctx, c)
	})
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(cut.Addr())})
	var mu sync.Mutex
	var corrupt []error
	broken := 0
	const workers = 8
	each := weirtest.Scaled(25)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(k), 2))
			for i := range each {
				c, err := nettest.TryDial(addr)
				if err == nil {
					if random.IntN(4) == 0 {
						timer := time.AfterFunc(time.Duration(random.IntN(20_000))*time.Microsecond, func() { nettest.Abort(c) })
						defer timer.Stop()
					}
					err = d.Run(c, uint64(k*1000+i), random.Int64N(16<<20), random.Int64N(16<<20))
				}
				mu.Lock()
				if errors.Is(err, nettest.ErrCorrupt) {
					corrupt = append(corrupt, err)
				} else if err != nil {
					broken++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.WaitSockets(5 * time.Second)
	require.Empty(t, corrupt, "at clients")
	for _, err := range d.Errs() {
		require.NotErrorIs(t, err, nettest.ErrCorrupt, "at the server")
	}
	require.Greater(t, broken, each, "most sessions were cut")
}
