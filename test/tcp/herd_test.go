package tcp_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// herd is the number of sessions of a herd.
const herd = 1000

// A herd of held sessions is released at the given rate, evenly and in order of arrival. All are served, with what their clients
// have sent, and a held session costs little memory.
func TestHerdIsReleasedAtTheRate(t *testing.T) {
	t.Parallel()
	const rate = 500
	ln := nettest.Listen(t, "127.0.0.1:0")
	var times []time.Time
	var order []string
	done := make(chan struct{})
	go func() { // one session after the other, in the order in which they were connected
		defer close(done)
		for len(times) < herd {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b := make([]byte, 4)
			if _, err := io.ReadFull(c, b); err == nil {
				times, order = append(times, time.Now()), append(order, string(b))
				c.Write(b)
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "loops = 1", Cluster: fmt.Sprintf("hold_timeout = \"1m\"\nrelease_rate = %d", rate), Levels: weirtest.OneLevel(ln.Addr().String() + " name=A"),
	})
	maint(a, "A", true)
	before := w.Process().RSS(t)
	var clients []*net.TCPConn
	var want []string
	for i := range herd {
		c := nettest.Dial(t, addr)
		want = append(want, fmt.Sprintf("%04d", i))
		require.NoError(t, weirtest.WriteText(c, want[i]))
		clients = append(clients, c)
	}
	nettest.Wait(t, weirtest.Bound(5*time.Second), "held sessions", func() bool { return a.Metric(`weir_cluster_held_sessions{cluster="c"}`) == fmt.Sprint(herd) })
	weirtest.RequireGrowth(t, w, before, weirtest.FixedMemory+herd*6<<10)
	begin := time.Now() // none was released before
	maint(a, "A", false)
	for i, c := range clients {
		b := make([]byte, 4)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := io.ReadFull(c, b)
		require.NoError(t, err)
		require.Equal(t, want[i], string(b))
	}
	<-done
	for i, text := range order { // the kernel may change the order of connections that two processors establish at the same time
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		require.InDelta(t, i, n, rate/20, "session %s has overtaken others", text)
	}
	for i, at := range times {
		require.GreaterOrEqual(t, at.Sub(begin), time.Duration(i)*time.Second/rate-20*time.Millisecond, "session %d is early", i)
	}
	took, even := times[herd-1].Sub(begin), time.Duration(herd-1)*time.Second/rate
	require.Less(t, took-nettest.StalledSince(begin), even+weirtest.Bound(even/5)+weirtest.Bound(200*time.Millisecond))
	require.Equal(t, fmt.Sprint(herd), a.Metric(`weir_sessions_held_ended_total{cluster="c",outcome="connected"}`))
}

// A herd of sessions is closed gently, at the given rate: each client and each server sees a FIN.
func TestHerdIsClosedGently(t *testing.T) {
	t.Parallel()
	const rate = 500
	rec := &nettest.Recorder{Banner: "A"}
	host := nettest.Start(t, rec.Handle)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: fmt.Sprintf("close_quiet = \"50ms\"\nclose_rate = %d", rate), Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	before := w.Process().RSS(t)
	var clients []*net.TCPConn
	for range herd {
		c := nettest.Dial(t, addr)
		require.Equal(t, "A", weirtest.ReadByte(t, c))
		clients = append(clients, c)
	}
	began := time.Now()
	a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain", "deadline": "1m"}`)
	ends := map[nettest.StreamEnd]int{}
	var mu sync.Mutex
	var g sync.WaitGroup
	for _, c := range clients {
		g.Go(func() {
			_, end := nettest.ReadToEnd(c, 20*time.Second)
			mu.Lock()
			defer mu.Unlock()
			ends[end]++
		})
	}
	g.Wait()
	took := time.Since(began)
	require.Equal(t, map[nettest.StreamEnd]int{nettest.EOF: herd}, ends)
	even := time.Duration(herd-1) * time.Second / rate
	require.GreaterOrEqual(t, took, even-even/20)
	require.Less(t, took-nettest.StalledSince(began), even+weirtest.Bound(even/5)+weirtest.Bound(200*time.Millisecond))
	require.Equal(t, fmt.Sprint(herd), a.Metric(`weir_sessions_closed_total{cause="drain",cluster="c",kind="quiet"}`))
	nettest.Wait(t, 5*time.Second, "the server to see the ends", func() bool {
		n := 0
		for _, c := range rec.Conns() {
			if c.End == nettest.EOF {
				n++
			}
		}
		return n == herd
	})
	for _, c := range clients {
		c.Close()
	}
	w.WaitNoSessions(a)
	weirtest.RequireGrowth(t, w, before, weirtest.FixedMemory+herd*6<<10)
}

// weir runs out of descriptors while sessions are held and when they are released: none is lost. Those that find no descriptor are
// held on, and are served when others end.
func TestHeldSessionsWaitForDescriptors(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "hold_timeout = \"1m\"", Checks: weirtest.PassingCheck, Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	w.Baseline = nil // the limit may end the connections of checks and of the API
	host.Down()
	w.WaitEvent("server_down", "A")
	const sessions, late = 40, 5
	var clients []*net.TCPConn
	for i := range sessions {
		clients = append(clients, heldClient(t, a, addr, string(rune('A'+i))))
	}
	limit := func(spare int) {
		t.Helper()
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.Process()))
		require.NoError(t, err)
		out, err := exec.Command("prlimit", "--pid", strconv.Itoa(int(w.Process())), "--nofile="+strconv.Itoa(len(open)+spare)+":").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	limit(2)
	for i := range late { // they wait in the kernel's queue
		clients = append(clients, nettest.Dial(t, addr))
		require.NoError(t, weirtest.WriteText(clients[sessions+i], string(rune('A'+sessions+i))))
	}
	w.WaitRecord(10*time.Second, "a shortage", func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "cannot accept") })
	for _, c := range clients {
		waits(t, c, time.Millisecond)
	}
	limit(late + 8) // for those and for checks
	host.Up()
	served := make(chan string, len(clients))
	var g sync.WaitGroup
	for _, c := range clients {
		g.Go(func() { // each makes room for others
			b := make([]byte, 1)
			c.SetReadDeadline(time.Now().Add(50 * time.Second))
			if _, err := io.ReadFull(c, b); err != nil {
				served <- err.Error()
			} else {
				served <- string(b)
			}
			c.Close()
		})
	}
	g.Wait()
	close(served)
	got := map[string]int{}
	for s := range served {
		got[s]++
	}
	for i := range clients {
		require.Equal(t, 1, got[string(rune('A'+i))], "%v", got)
	}
	more := func(r weirtest.Record) bool { return r.Text("msg") == "session" && r.Int("attempts") > 1 }
	w.WaitRecord(5*time.Second, "a session that found no descriptor", more)
	limit(1000)
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
}
