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

// Random amounts in random pieces, in both directions, half-closed in random order: every byte arrives once, in order,
// and in its own session.
func TestStreamsArriveWhole(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{}
	host := nettest.Start(t, d.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	const workers = 8
	each := weirtest.Scaled(15)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(k), 3))
			for i := range each {
				up, down := random.Int64N(4<<20), random.Int64N(4<<20)
				switch random.IntN(8) {
				case 0:
					up = 0
				case 1:
					down = 0
				case 2:
					up, down = random.Int64N(2000), random.Int64N(2000)
				}
				c, err := nettest.TryDial(addr)
				if err == nil {
					err = d.Run(c, uint64(k*10_000+i), up, down)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	nettest.Wait(t, 5*time.Second, "the server's verdicts", func() bool { return d.Good()+len(d.Errs()) == workers*each })
	require.Empty(t, d.Errs())
	require.Empty(t, w.Warnings())
}

// One long session is exact to the byte, in the stream and in the counters. At scale 16 it passes 4 GiB.
func TestLongSession(t *testing.T) {
	t.Parallel()
	size := int64(weirtest.Scaled(288 << 20))
	d := &nettest.Duplex{MaxChunk: 256 << 10}
	host := nettest.Start(t, d.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.Dial(t, addr)
	require.NoError(t, d.Run(c, 42, size, size))
	r := w.SessionRecord(c)
	require.EqualValues(t, size, r["bytes_down"])
	require.EqualValues(t, size+24, r["bytes_up"], "the stream and its header")
	require.Empty(t, d.Errs())
}

// Small messages are forwarded immediately: none waits 40 ms for a delayed acknowledgement or 200 ms for more data.
func TestPingPongDoesNotStall(t *testing.T) {
	host := nettest.Start(t, nettest.Echo)
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c, plain := nettest.Dial(t, addr), nettest.Dial(t, relay(t, host.Addr()))
	p := pace{t: t}
	n := weirtest.Scaled(5000)
	for range n {
		p.measure(func() { require.NoError(t, weirtest.PingPong(c)) }, func() { require.NoError(t, weirtest.PingPong(plain)) })
	}
	p.within(50, time.Millisecond)
	p.within(99, 10*time.Millisecond)
	stalled := func(took []time.Duration) (n int) {
		for _, d := range took {
			if d > 35*time.Millisecond {
				n++
			}
		}
		return n
	}
	require.LessOrEqual(t, stalled(p.weir), n/1000+3*stalled(p.relay), "round trips of 35 ms and more")
}

// Messages in two pieces, as many protocols send them, do not stall.
func TestSplitMessagesDoNotStall(t *testing.T) {
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		buf := make([]byte, 1000)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			c.Write(buf[:10])
			c.Write(buf[10:])
		}
	})
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	trip := func(c net.Conn) func() {
		buf := make([]byte, 1000)
		return func() {
			c.Write(buf[:10])
			c.Write(buf[10:])
			_, err := io.ReadFull(c, buf)
			require.NoError(t, err)
		}
	}
	through, plain := trip(nettest.Dial(t, addr)), trip(nettest.Dial(t, relay(t, host.Addr())))
	p := pace{t: t}
	for range 500 {
		p.measure(through, plain)
	}
	p.within(95, 10*time.Millisecond)
}

// Connections without a byte leak nothing and cause no warning.
func TestConnectAndClose(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range weirtest.Scaled(500) {
				c, err := nettest.TryDial(addr)
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					nettest.Abort(c)
				} else {
					c.Close()
				}
			}
		})
	}
	wg.Wait()
	w.WaitSockets(5 * time.Second)
	require.Empty(t, w.Warnings())
	text, _ := weirtest.EchoOnce(t, addr)
	require.Equal(t, "hello", text)
}

// With many sessions, some of them killed, no session ever gets a byte of another one.
func TestSessionsDoNotMix(t *testing.T) {
	t.Parallel()
	d := &nettest.Duplex{MaxChunk: 512}
	host := nettest.Start(t, d.Handle)
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	var wg sync.WaitGroup
	room := make(chan struct{}, 1000) // at one time: no more than the server has room for in its queue
	for i := range weirtest.Scaled(300) {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			c, err := nettest.TryDial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			kill := i%10 == 0
			if kill {
				time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { nettest.Abort(c) })
			}
			if err := d.Run(c, uint64(i), 200_000, 200_000); err != nil && (!kill || errors.Is(err, nettest.ErrCorrupt)) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.WaitSockets(5 * time.Second)
	for _, err := range d.Errs() {
		require.NotErrorIs(t, err, nettest.ErrCorrupt)
	}
}

// Waiting sessions (idle, half-closed, or with a stalled reader) cost no CPU time.
func TestWaitingSessionsCostNothing(t *testing.T) {
	idle := nettest.Start(t, nettest.Echo)
	stay := nettest.Start(t, nettest.Silent)
	flood := nettest.Start(t, nettest.Send(1, 64<<20))
	stayAddr, floodAddr := nettest.Reserve(t), nettest.Reserve(t)
	w, addr := weirtest.Serve(t, weirtest.Config{
		Levels: weirtest.OneLevel(idle.Addr()), More: weirtest.ListenerTables("stay", stayAddr, stay.Addr()) + weirtest.ListenerTables("flood", floodAddr, flood.Addr()),
	})
	for range weirtest.Scaled(200) {
		require.NoError(t, weirtest.PingPong(nettest.Dial(t, addr)))
	}
	var halfClosed []*net.TCPConn
	for range weirtest.Scaled(50) {
		c := nettest.Dial(t, stayAddr)
		require.NoError(t, c.CloseWrite())
		halfClosed = append(halfClosed, c)
	}
	for range 20 {
		nettest.Dial(t, floodAddr)
	}
	usage := func(span time.Duration) time.Duration {
		before := w.Process().CPUTime(t)
		time.Sleep(span)
		return w.Process().CPUTime(t) - before
	}
	nettest.Wait(t, 20*time.Second, "all to wait", func() bool { return usage(time.Second/2) <= 20*time.Millisecond })
	const span = 3 * time.Second
	percent := time.Duration(2)
	if weirtest.RaceEnabled { // which multiplies the cost of what little there is
		percent = 5
	}
	require.LessOrEqual(t, usage(span), span*percent/100, "of %v", span)
	for _, c := range halfClosed {
		nettest.Abort(c)
	}
	stay.Reset()
}

// A server that sends first reaches the client immediately, before the client sends a byte.
func TestServerSpeaksFirst(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.Greet("ready", nettest.Echo))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	heard := func(addr string) func() {
		return func() {
			_, err := io.ReadFull(nettest.Dial(t, addr), make([]byte, 5))
			require.NoError(t, err)
		}
	}
	p, plain := pace{t: t}, relay(t, host.Addr())
	for range 20 {
		p.measure(heard(addr), heard(plain))
	}
	p.within(50, 5*time.Millisecond)
}
