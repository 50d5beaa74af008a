package tcp_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// waits checks that a session has no server yet: no byte arrives.
func waits(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	_, err := c.Read(make([]byte, 1))
	require.Equal(t, nettest.Timeout, nettest.StreamEndOf(err))
	c.SetReadDeadline(time.Now().Add(15 * time.Second))
}

// inQueue opens a session that has to wait, and returns when it is queued.
func inQueue(t *testing.T, a weirtest.API, addr string) *net.TCPConn {
	t.Helper()
	c := nettest.Dial(t, addr)
	a.WaitPhase(c, "queue")
	waits(t, c, 20*time.Millisecond)
	return c
}

// Queued sessions are served in order of arrival, and the bytes they have sent reach the server.
func TestQueueIsFirstInFirstOut(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 1", // with several it is their business who is first among clients that come together
		Cluster: "max_sessions = 1\nqueue_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr()),
	})
	held := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(held))
	var queue []*net.TCPConn
	for i := range 5 {
		c := inQueue(t, api, addr)
		_, err := fmt.Fprint(c, i)
		require.NoError(t, err)
		queue = append(queue, c)
	}
	require.Equal(t, 1, host.Accepted())
	for i, c := range queue {
		held.Close()
		require.Equal(t, fmt.Sprint(i), weirtest.ReadByte(t, c))
		for _, later := range queue[i+1:] {
			waits(t, later, time.Millisecond)
		}
		held = c
	}
	held.Close()
	require.Equal(t, "relay client_closed", w.SessionRecord(held).Termination())
}

// A client that leaves the queue, in whatever way, gives up its place; the next one moves up, and no free slot is lost.
func TestClientLeavesQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{Cluster: "max_sessions = 1\nqueue_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr())})
	held := nettest.Dial(t, addr)
	require.Equal(t, "A", weirtest.ReadByte(t, held))
	aborts, closes, stays := inQueue(t, api, addr), inQueue(t, api, addr), inQueue(t, api, addr)
	nettest.Abort(aborts)
	require.Equal(t, "queue client_reset", w.SessionRecord(aborts).Termination())
	closes.Close()
	held.Close()
	require.Equal(t, "A", weirtest.ReadByte(t, stays))
	for range 3 {
		stays.Close()
		stays = nettest.Dial(t, addr)
		require.Equal(t, "A", weirtest.ReadByte(t, stays))
	}
}

// queue_timeout ends a wait on time with its own reason; later sessions have their own timeout.
func TestQueueTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 1\nqueue_timeout = \"1500ms\"", Levels: weirtest.OneLevel(host.Addr())})
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	begin := time.Now()
	early := nettest.Dial(t, addr)
	waits(t, early, 300*time.Millisecond)
	middle := time.Now()
	late := nettest.Dial(t, addr)
	_, end := nettest.ReadToEnd(early, 15*time.Second)
	require.Equal(t, nettest.Reset, end)
	weirtest.RequireBetween(t, 1500*time.Millisecond, time.Since(begin))
	_, end = nettest.ReadToEnd(late, 15*time.Second)
	require.Equal(t, nettest.Reset, end)
	weirtest.RequireBetween(t, 1500*time.Millisecond, time.Since(middle))
	for _, c := range []net.Conn{early, late} {
		r := w.SessionRecord(c)
		require.Equal(t, "queue queue_timeout", r.Termination())
		require.Zero(t, r.Int("attempts"))
	}
	require.Equal(t, 1, host.Accepted())
}

// A full level is left immediately without a queue, and keeps its sessions with one.
func TestFullLevelAndTheNext(t *testing.T) {
	t.Parallel()
	for queue, spills := range map[string]bool{"0s": true, "1m": false} {
		a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
		w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
			Cluster: fmt.Sprintf("queue_timeout = %q", queue), Levels: [][]string{{a.Addr() + " max_sessions=2"}, {b.Addr()}},
		})
		held := nettest.Dial(t, addr)
		require.Equal(t, "A", weirtest.ReadByte(t, held))
		require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
		if spills {
			require.Equal(t, "B", weirtest.ReadByte(t, nettest.Dial(t, addr)))
			held.Close()
			w.SessionRecord(held)
			require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)), "the better level, as soon as there is room")
			continue
		}
		c := inQueue(t, api, addr)
		held.Close()
		require.Equal(t, "A", weirtest.ReadByte(t, c))
		require.Zero(t, b.Accepted())
	}
}

// If the level fails for which they wait, sessions use the next one.
func TestQueueMovesToTheNextLevel(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "max_sessions = 1\nqueue_timeout = \"1m\"", Checks: weirtest.PassingCheck, Levels: [][]string{{a.Addr() + " name=A"}, {b.Addr() + " name=B"}},
	})
	held := nettest.Dial(t, addr)
	require.Equal(t, "A", weirtest.ReadByte(t, held))
	one, two := inQueue(t, api, addr), inQueue(t, api, addr)
	a.Down()
	w.WaitEvent("server_down", "A")
	require.Equal(t, "B", weirtest.ReadByte(t, one))
	waits(t, two, 50*time.Millisecond)
	one.Close()
	require.Equal(t, "B", weirtest.ReadByte(t, two))
	require.NoError(t, weirtest.PingPong(held))
}

// With one slot, a client that connects after the end of the previous session is never rejected, however quick it is.
func TestOneSessionAtATime(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 1", Levels: weirtest.OneLevel(host.Addr())})
	for i := range weirtest.Scaled(2000) {
		c, err := nettest.TryDial(addr)
		require.NoError(t, err)
		require.NoError(t, weirtest.WriteText(c, "x"))
		require.NoError(t, c.CloseWrite())
		data, end := nettest.ReadToEnd(c, 15*time.Second)
		require.Equal(t, "x", string(data), "session %d", i)
		require.Equal(t, nettest.EOF, end)
		c.Close()
	}
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Termination() != "" && r.Termination() != "relay client_closed" }))
}

// With a queue it does not have to wait for the end of the previous session.
func TestOneSessionAtATimeInQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 1\nqueue_timeout = \"5s\"", Levels: weirtest.OneLevel(host.Addr())})
	for range weirtest.Scaled(2000) {
		c, err := nettest.TryDial(addr)
		require.NoError(t, err)
		require.NoError(t, weirtest.PingPong(c))
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "the end of all", func() bool { return host.Open() == 0 })
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Termination() != "" && r.Termination() != "relay client_closed" }))
}

// Many sessions that wait for few slots are all served exactly once.
func TestQueueUnderLoad(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 3\nqueue_timeout = \"30s\"", Levels: weirtest.OneLevel(host.Addr())})
	errs := make(chan error)
	var inside atomic.Int32 // clients that have been answered and have not hung up
	const workers = 24
	for range workers {
		go func() {
			for range 25 {
				c, err := nettest.TryDial(addr)
				if err == nil {
					if err = weirtest.PingPong(c); err == nil {
						if n := inside.Add(1); n > 3 {
							err = fmt.Errorf("%d sessions at once", n)
						}
						time.Sleep(time.Millisecond) // for the others to overlap with
						inside.Add(-1)
					}
					c.Close()
				}
				if err != nil && err != io.EOF {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		require.NoError(t, <-errs)
	}
	require.Equal(t, workers*25, host.Accepted())
	require.Empty(t, w.Warnings())
}

// A session that leaves the queue and is refused by its server waits for another one until queue_timeout, counted from
// its first wait.
func TestQueueAgainAfterRefusal(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	w, addr, api := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 1", // so that those who come together keep their order
		Cluster: "max_sessions = 1\nqueue_timeout = \"4s\"\nconnect_timeout = \"200ms\"\nmax_fails = 0",
		Levels:  weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
	})
	onA, onB := nettest.Dial(t, addr), nettest.Dial(t, addr)
	require.Equal(t, "AB", weirtest.ReadByte(t, onA)+weirtest.ReadByte(t, onB))
	begin := time.Now()
	served, ends := inQueue(t, api, addr), inQueue(t, api, addr)
	a.Down()
	onA.Close()
	waits(t, served, 600*time.Millisecond)
	onB.Close()
	require.Equal(t, "B", weirtest.ReadByte(t, served))
	_, end := nettest.ReadToEnd(ends, 15*time.Second)
	require.Equal(t, nettest.Reset, end)
	weirtest.RequireBetween(t, 4*time.Second, time.Since(begin))
	require.Contains(t, w.SessionRecord(ends).Termination(), "queue_timeout")
}

// try_timeout bounds waiting and dialing: a session that may not dial any more does not wait.
func TestTryTimeoutInQueue(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "max_sessions = 1\nqueue_timeout = \"3s\"\ntry_timeout = \"500ms\"", Levels: weirtest.OneLevel(host.Addr()),
	})
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	begin := time.Now()
	c := nettest.Dial(t, addr)
	_, end := nettest.ReadToEnd(c, 15*time.Second)
	require.Equal(t, nettest.Reset, end)
	weirtest.RequireBetween(t, 500*time.Millisecond, time.Since(begin))
	require.Equal(t, "queue try_timeout", w.SessionRecord(c).Termination())
}
