package tcp_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// perStalled is the memory that weir may hold for a session with a side that does not read: with fixed, 200 of them fit
// into 16 MiB.
const perStalled = 64 << 10

// Clients that do not read stop their servers, not weir's memory.
func TestStalledClients(t *testing.T) {
	host := nettest.Start(t, nettest.Send(1, 64<<20))
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	before := w.Process().RSS(t)
	n := weirtest.Scaled(40)
	for range n {
		nettest.Dial(t, addr)
	}
	time.Sleep(2 * time.Second)
	nettest.Wait(t, 10*time.Second, "the servers", func() bool { return host.Accepted() == n })
	require.Equal(t, n, host.Open(), "every server still has something to send")
	weirtest.RequireGrowth(t, w, before, int64(n)*perStalled+weirtest.FixedMemory)
}

// Servers that do not read stop their clients, not weir's memory.
func TestStalledServers(t *testing.T) {
	host := nettest.Start(t, nettest.NeverRead)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	before := w.Process().RSS(t)
	n := weirtest.Scaled(40)
	var wg sync.WaitGroup
	for range n {
		c := nettest.Dial(t, addr)
		wg.Go(func() {
			c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			written, err := c.Write(make([]byte, 64<<20))
			if err == nil {
				t.Errorf("%d bytes found room", written)
			}
		})
	}
	wg.Wait()
	weirtest.RequireGrowth(t, w, before, int64(n)*perStalled+weirtest.FixedMemory)
	host.Reset()
}

// A reader that pauses for long and resumes gets every byte.
func TestStalledReaderResumes(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	host := nettest.Start(t, nettest.Send(2, size))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	time.Sleep(3 * time.Second)
	c.SetDeadline(time.Now().Add(time.Minute))
	require.NoError(t, nettest.Expect(c, 2, size))
}

// A server that pauses reading gets every byte.
func TestStalledServerResumes(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{}
	host := nettest.Start(t, nettest.Pause(2*time.Second, d.Handle))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	require.NoError(t, d.Run(nettest.Dial(t, addr), 8, 32<<20, 1000))
	nettest.Wait(t, 5*time.Second, "the server's verdict", func() bool { return d.Good() == 1 })
}

// A stalled session does not delay the others.
func TestStalledSessionStallsNoOther(t *testing.T) {
	host := nettest.Start(t, nettest.Send(1, 64<<20))
	echo := nettest.Start(t, nettest.Echo)
	echoAddr := nettest.Reserve(t)
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("echo", echoAddr, echo.Addr())})
	for range 10 {
		nettest.Dial(t, addr)
	}
	// Neither does a session at full speed.
	busy := nettest.Dial(t, addr)
	go io.Copy(io.Discard, struct{ io.Reader }{busy})
	c, plain := nettest.Dial(t, echoAddr), nettest.Dial(t, relay(t, echo.Addr()))
	p := pace{t: t}
	for range 200 {
		p.measure(func() { require.NoError(t, weirtest.PingPong(c)) }, func() { require.NoError(t, weirtest.PingPong(plain)) })
	}
	p.within(50, 5*time.Millisecond)
}

// A session that has moved many bytes and is idle now holds two descriptors, no pipe and next to no memory. The same
// holds for a session that moves a byte now and then.
func TestIdleSessionsAreSmall(t *testing.T) {
	const volume = 1 << 20
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	before := w.Process().RSS(t)
	clients := make([]*net.TCPConn, weirtest.Scaled(500))
	for i := range clients {
		c := nettest.Dial(t, addr)
		clients[i] = c
		go c.Write(make([]byte, volume))
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{c}, volume)
		require.NoError(t, err)
	}
	n := len(clients)
	kinds := func() map[string]int { return w.DescriptorKinds() }
	nettest.Wait(t, 5*time.Second, "the pipes to be closed", func() bool { return kinds()["pipe"] == w.Baseline["pipe"] })
	require.Equal(t, w.Baseline["socket"]+2*n, kinds()["socket"])
	weirtest.RequireGrowth(t, w, before, int64(n)*16<<10+weirtest.FixedMemory)

	for range 10 {
		for _, c := range clients {
			require.NoError(t, weirtest.PingPong(c))
		}
	}
	require.Equal(t, w.Baseline["socket"]+2*n, kinds()["socket"])
	weirtest.RequireGrowth(t, w, before, int64(n)*20<<10+weirtest.FixedMemory)
}

// Over a slow line no timeout fires while bytes still arrive, and bytes that wait for the line are not in weir's
// memory.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	const size, downloads = 150_000, 8
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Exec("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2mbit", "burst", "20kb", "latency", "200ms")
	ns.Start("127.0.0.1:7001", nettest.Send(4, size))
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "10.99.0.1:7000", Listener: "client_idle_timeout = \"3s\"\nhalf_close_timeout = \"3s\"",
		Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	before := w.Process().RSS(t)
	var wg sync.WaitGroup
	for range downloads {
		c := clients.Dial("10.99.0.1:7000")
		wg.Go(func() {
			c.SetDeadline(time.Now().Add(time.Minute))
			if err := nettest.Expect(c, 4, size); err != nil {
				t.Error(err, w.SessionRecord(c))
			}
			c.Close()
		})
	}
	wg.Wait()
	weirtest.RequireGrowth(t, w, before, downloads*perStalled+weirtest.FixedMemory)
}

// A client that reads slowly but steadily is not idle, though all bytes it has to read have left weir for the kernel:
// no timeout discards received bytes.
func TestSlowReaderIsNotCut(t *testing.T) {
	t.Parallel()
	const size = 1_000_000 // nearly four seconds
	stay := func(ctx context.Context, c *net.TCPConn) {
		io.Copy(c, io.LimitReader(nettest.Pattern(6), size))
		<-ctx.Done()
	}
	late := func(ctx context.Context, c *net.TCPConn) {
		time.Sleep(60 * time.Millisecond) // the session has been found idle by then, with nothing in the kernel
		stay(ctx, c)
	}
	for _, c := range []struct {
		name    string
		handler nettest.Handler
		limits  string
		end     nettest.StreamEnd
	}{
		{"after the server's FIN", nettest.Send(6, size), `half_close_timeout = "2s"`, nettest.EOF},
		{"after the server's reset", nettest.ResetWhenTaken(size, 50*time.Millisecond), `half_close_timeout = "2s"`, nettest.Reset},
		{"while the server is silent", stay, `client_idle_timeout = "2s"`, ""},
		{"when everything came late", late, `client_idle_timeout = "2s"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, c.handler)
			w, addr := weirtest.Serve(t, weirtest.Config{Listener: c.limits, Levels: weirtest.OneLevel(host.Addr())})
			conn := nettest.Dial(t, addr)
			require.NoError(t, conn.SetReadBuffer(64<<10))
			buf := make([]byte, 20_000)
			got := 0
			for got < size {
				n, err := conn.Read(buf)
				got += n
				if err != nil {
					t.Log(w.SessionRecord(conn))
					require.NoError(t, err, "at %d of %d", got, size)
				}
				time.Sleep(75 * time.Millisecond)
			}
			require.Equal(t, size, got)
			if c.end != "" {
				_, end := nettest.ReadToEnd(conn, 5*time.Second)
				require.Equal(t, c.end, end)
			}
			conn.Close()
			host.Close()
		})
	}
}
