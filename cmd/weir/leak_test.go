package main_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// goroutines ends the process with SIGQUIT and counts the goroutines in Go's traceback, by the function that started
// them.
func (w *weir) goroutines() map[string]int {
	w.t.Helper()
	w.signal(syscall.SIGQUIT)
	w.exit(10 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for _, stack := range strings.Split(strings.Join(w.other, "\n"), "\n\n") {
		if !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 ") {
			continue // text, or the scheduler's own stack
		}
		by := "main"
		if m := createdBy.FindStringSubmatch(stack); m != nil {
			by = m[1]
		}
		if !strings.HasPrefix(by, "runtime.") { // the collector's workers come as they are needed
			out[by]++
		}
	}
	return out
}

var createdBy = regexp.MustCompile(`created by (\S+)`)

// every lets sessions of every ending happen: served, refused by every server, reset by either side, timed out while idle
// and half-closed; n of each. Its servers live as long as the test.
type every struct {
	layout
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
	e.layout = layout{
		listen: e.normal, levels: servers(echo.Addr()),
		more: pair("refused", e.refused, nettest.Reserve(t), nettest.Reserve(t)) +
			pair("reset", e.reset, aborts.Addr()) +
			strings.Replace(pair("idle", e.idle, echo.Addr()), "cluster =", "client_idle_timeout = \"200ms\"\ncluster =", 1) +
			strings.Replace(pair("silent", e.silent, echo.Addr()), "cluster =", "half_close_timeout = \"200ms\"\ncluster =", 1),
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
				nettest.ReadToEnd(c, 10*time.Second)
				c.Close()
			}
		},
		func() { // reset by the server
			if c := dial(e.reset); c != nil {
				nettest.ReadToEnd(c, 10*time.Second)
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
				_, end := nettest.ReadToEnd(c, 10*time.Second)
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
					nettest.ReadToEnd(c, 10*time.Second)
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

// After sessions of every ending, descriptors and goroutines are exactly those of a weir that has served none.
func TestNothingIsLeftAfterSessions(t *testing.T) {
	e := newEvery(t)
	config := e.layout.String()
	fresh := start(t, config)
	e.storm(t, 1) // what is made at first use is not a leak
	fresh.rested()
	want := fresh.goroutines()

	w := start(t, config)
	e.storm(t, 20)
	w.rested()
	threads, memory := w.proc().Threads(t), w.proc().RSS(t)
	e.storm(t, scaled(250))
	w.rested()
	require.LessOrEqual(t, w.proc().Threads(t), threads+5)
	grown(t, w, memory, memory/10+fixed)
	require.Empty(t, w.loud())
	require.Equal(t, want, w.goroutines())
}

// An idle session holds two descriptors.
func TestDescriptorsPerSession(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := serve(t, layout{levels: servers(host.Addr())})
	n := scaled(200)
	for range n {
		require.NoError(t, pingpong(nettest.Dial(t, addr)))
	}
	kinds := w.kinds()
	require.Equal(t, w.base["socket"]+2*n, kinds["socket"])
	require.Equal(t, w.base["pipe"], kinds["pipe"])
}

// Checks, whether they pass, are refused, or time out, leave nothing behind.
func TestNothingIsLeftAfterChecks(t *testing.T) {
	t.Parallel()
	up, silent := nettest.Start(t, nettest.SendText("PONG")), nettest.Start(t, nettest.Silent)
	config := layout{
		listen: nettest.Reserve(t),
		levels: servers(up.Addr(), silent.Addr(), nettest.Reserve(t), nettest.FullBacklog(t)),
		checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"20ms\"\ntimeout = \"15ms\"\nsend = \"PING\"\nexpect = \"PONG\"\n" +
			"[[cluster.c.check]]\ntype = \"tcp\"\nid = \"connect\"\ninterval = \"20ms\"\ntimeout = \"15ms\"\n",
	}.String()
	w := start(t, config)
	nettest.Wait(t, 20*time.Second, "checks", func() bool { return up.Accepted() > 50 })
	threads := w.proc().Threads(t)
	nettest.Wait(t, 60*time.Second, "checks", func() bool { return up.Accepted() > 50+scaled(300) })
	// At most one check of a kind and server is under way at any moment.
	require.LessOrEqual(t, w.kinds()["socket"], w.base["socket"]+8)
	require.LessOrEqual(t, w.proc().Threads(t), threads+5)
	few := strings.Replace(config, "[[cluster.c.check]]", "[[cluster.c.check]]\ndown_interval = \"1m\"", -1)
	w.reload(strings.ReplaceAll(few, `interval = "20ms"`, `interval = "1m"`))
	silent.Reset()
	w.rested()
}
