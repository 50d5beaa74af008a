package tcp_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// every runs n sessions of each termination: served, refused by every server, reset by either side, timed out while
// idle and half-closed. Its servers live as long as the test.
type every struct {
	weirtest.Config
	normal, refused, reset, idle, silent string // addresses of listeners
}

func newEvery(t *testing.T) *every {
	e := &every{
		normal: nettest.Reserve(t), refused: nettest.Reserve(t), reset: nettest.Reserve(t), idle: nettest.Reserve(t),
		silent: nettest.Reserve(t),
	}
	echo := nettest.Start(t, nettest.Echo)
	aborts := nettest.Start(t, nettest.ResetAfter(1000, 0))
	quiet := nettest.Start(t, func(ctx context.Context, c *net.TCPConn) { // says nothing until it is reset
		io.Copy(io.Discard, c)
		<-ctx.Done()
	})
	t.Cleanup(quiet.Close)
	e.Config = weirtest.Config{
		Listen: e.normal, Levels: weirtest.OneLevel(echo.Addr()),
		More: weirtest.ListenerTables("refused", e.refused, nettest.Reserve(t), nettest.Reserve(t)) +
			weirtest.ListenerTables("reset", e.reset, aborts.Addr()) +
			strings.Replace(weirtest.ListenerTables("idle", e.idle, echo.Addr()), "cluster =", "client_idle_timeout = \"200ms\"\ncluster =", 1) +
			strings.Replace(weirtest.ListenerTables("silent", e.silent, echo.Addr()), "cluster =", "half_close_timeout = \"200ms\"\ncluster =", 1),
	}
	return e
}

// storm runs n sessions of each kind, eight at a time.
func (e *every) storm(t *testing.T, n int) {
	dial := func(addr string) *net.TCPConn {
		c, err := nettest.TryDial(addr)
		if err != nil && nettest.StreamEndOf(err) != nettest.Reset { // as a quick refusal is seen
			t.Error(err)
		}
		return c
	}
	kinds := []func(){
		func() { // served
			if c := dial(e.normal); c != nil {
				if err := nettest.Exchange(c, rand.Uint64(), rand.Int64N(50_000), 5000); err != nil {
					t.Error(err)
				}
			}
		},
		func() { // refused by every server
			if c := dial(e.refused); c != nil {
				nettest.ReadToEnd(c, 20*time.Second)
				c.Close()
			}
		},
		func() { // reset by the server
			if c := dial(e.reset); c != nil {
				nettest.ReadToEnd(c, 20*time.Second)
				c.Close()
			}
		},
		func() { // reset by the client, with bytes on their way
			if c := dial(e.normal); c != nil {
				c.Write(make([]byte, rand.IntN(100_000)))
				nettest.Abort(c)
			}
		},
		func() { // idle until it is cut
			if c := dial(e.idle); c != nil {
				_, end := nettest.ReadToEnd(c, 20*time.Second)
				if end == nettest.Timeout {
					t.Error("an idle session was not cut")
				}
				c.Close()
			}
		},
		func() { // half-closed, and closed before it is read
			if c := dial(e.silent); c != nil {
				c.Write([]byte("hello"))
				c.CloseWrite()
				if rand.IntN(2) == 0 {
					nettest.ReadToEnd(c, 20*time.Second)
				}
				c.Close()
			}
		},
		func() { // gone before it is served
			if c := dial(e.normal); c != nil {
				c.Close()
			}
		},
	}
	work := make(chan func())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	for range n {
		for _, f := range kinds {
			work <- f
		}
	}
	close(work)
	wg.Wait()
}

// After sessions of every termination, descriptors and goroutines are exactly those of a weir that has served none.
func TestSessionsLeakNothing(t *testing.T) {
	e := newEvery(t)
	config := e.Config.String()
	fresh := weirtest.Start(t, config)
	e.storm(t, 1) // what is made at first use is not a leak
	fresh.WaitDescriptors()
	want := fresh.Goroutines()

	w := weirtest.Start(t, config)
	e.storm(t, 20)
	w.WaitDescriptors()
	threads, memory := w.Process().Threads(t), w.Process().RSS(t)
	e.storm(t, weirtest.Scaled(250))
	w.WaitDescriptors()
	require.LessOrEqual(t, w.Process().Threads(t), threads+15)
	weirtest.RequireGrowth(t, w, memory, memory/10+weirtest.FixedMemory)
	require.Empty(t, w.Warnings())
	require.Equal(t, want, w.Goroutines())
}

// An idle session holds two descriptors.
func TestDescriptorsPerSession(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	n := weirtest.Scaled(200)
	for range n {
		require.NoError(t, weirtest.PingPong(nettest.Dial(t, addr)))
	}
	kinds := w.DescriptorKinds()
	require.Equal(t, w.Baseline["socket"]+2*n, kinds["socket"])
	require.Equal(t, w.Baseline["pipe"], kinds["pipe"])
}

// Checks leak nothing, whether they pass, are refused or time out.
func TestChecksLeakNothing(t *testing.T) {
	t.Parallel()
	up, silent := nettest.Start(t, nettest.SendText("PONG")), nettest.Start(t, nettest.Silent)
	config := weirtest.Config{
		Listen: nettest.Reserve(t),
		Levels: weirtest.OneLevel(up.Addr(), silent.Addr(), nettest.Reserve(t), nettest.FullBacklog(t)),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"20ms\"\ntimeout = \"15ms\"\nsend = \"PING\"\nexpect = \"PONG\"\n" +
			"[[cluster.c.check]]\ntype = \"tcp\"\nid = \"connect\"\ninterval = \"20ms\"\ntimeout = \"15ms\"\n",
	}.String()
	w := weirtest.Start(t, config)
	nettest.Wait(t, 20*time.Second, "checks", func() bool { return up.Accepted() > 50 })
	threads := w.Process().Threads(t)
	nettest.Wait(t, 60*time.Second, "checks", func() bool { return up.Accepted() > 50+weirtest.Scaled(300) })
	// At most one check of a kind and server runs at a time.
	require.LessOrEqual(t, w.DescriptorKinds()["socket"], w.Baseline["socket"]+8)
	require.LessOrEqual(t, w.Process().Threads(t), threads+15)
	few := strings.Replace(config, "[[cluster.c.check]]", "[[cluster.c.check]]\ndown_interval = \"1m\"", -1)
	w.Reload(strings.ReplaceAll(few, `interval = "20ms"`, `interval = "1m"`))
	silent.Reset()
	w.WaitDescriptors()
}
