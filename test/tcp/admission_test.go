// Admission: ACL, limits and rate.

package tcp_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// come connects from a local address and reports whether the client is served. The connection then stays open until the
// test ends or the caller closes it. A rejection must be a reset; TestRejectionsAreImmediate measures how soon it
// comes.
func come(t *testing.T, from, addr string) (net.Conn, bool) {
	t.Helper()
	network, local := "tcp", net.Addr(&net.TCPAddr{IP: net.ParseIP(from)})
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, local, addr = "unix", nil, path
	}
	begin := time.Now()
	c, err := (&net.Dialer{Timeout: 5 * time.Second, LocalAddr: local}).Dial(network, addr)
	if err == nil {
		t.Cleanup(func() { c.Close() })
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err = io.ReadFull(c, make([]byte, 1)); err == nil {
			c.SetReadDeadline(time.Time{})
			return c, true
		}
		c.Close()
	}
	if network == "unix" {
		require.NotEqual(t, nettest.Timeout, nettest.StreamEndOf(err))
	} else {
		require.Equal(t, nettest.Reset, nettest.StreamEndOf(err), "%v", err)
	}
	require.Less(t, nettest.Elapsed(begin), 3*time.Second)
	return nil, false
}

// Denied clients and clients over a limit are rejected within 100 ms.
func TestRejectionsAreImmediate(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	for limit, from := range map[string]string{
		"max_sessions = 1": "127.0.0.2", "max_sessions_per_source = 1": "127.0.0.1", "max_session_rate = 1": "127.0.0.2",
		`deny = ["127.0.0.2"]`: "127.0.0.2",
	} {
		_, addr := weirtest.Serve(t, weirtest.Config{Listener: limit, Levels: weirtest.OneLevel(host.Addr())})
		_, ok := come(t, "127.0.0.1", addr)
		require.True(t, ok)
		var took, usual []time.Duration
		plain := relay(t, host.Addr())
		for range 9 {
			begin := time.Now()
			for _, ok := come(t, from, addr); ok; _, ok = come(t, from, addr) {
				require.Contains(t, limit, "rate") // which admits the next one, after a second
				begin = time.Now()
			}
			took = append(took, time.Since(begin))
			begin = time.Now() // on a busy machine one waits for one's turn, and weir does so for each of its looks whether there is room
			for range 10 {
				if c, ok := come(t, from, plain); ok {
					c.Close()
				}
				time.Sleep(time.Millisecond)
			}
			usual = append(usual, time.Since(begin))
		}
		require.Less(t, weirtest.Median(took), weirtest.Bound(100*time.Millisecond)+weirtest.Median(usual), limit)
	}
}

// rejections returns the number of rejected clients by reason, over all listeners.
func rejections(a weirtest.API) map[string]int {
	a.T.Helper()
	sum := map[string]int{}
	for line := range strings.Lines(a.MustDo("GET /metrics", "")) {
		if rest, ok := strings.CutPrefix(line, "weir_sessions_refused_total{"); ok {
			labels, value, _ := strings.Cut(strings.TrimSpace(rest), "} ")
			_, why, _ := strings.Cut(labels, `reason="`)
			n, err := strconv.Atoi(value)
			require.NoError(a.T, err)
			if n > 0 {
				sum[strings.TrimSuffix(why, `"`)] += n
			}
		}
	}
	return sum
}

// Allow and deny rules admit the same clients as nginx's access module, for every kind of listener.
func TestAllowAndDeny(t *testing.T) {
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	path := "unix:" + filepath.Join(t.TempDir(), "l.sock")
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	any := ":" + port(nettest.Reserve(t))
	l := weirtest.Config{Listen: path, Levels: weirtest.OneLevel(host.Addr())}
	config := func(rules string) string {
		l.Listener = rules
		return strings.Replace(l.String(), fmt.Sprintf("address = %q", path), fmt.Sprintf("address = [%q, %q]", any, path), 1)
	}
	w := weirtest.Start(t, config(""))
	const v4, v6, unix = "127.0.0.1", "::1", ""
	for _, c := range []struct{ rules, served string }{
		{``, "46u"},
		{`allow = ["all"]`, "46u"},
		{`allow = ["0.0.0.0/0", "::/0"]`, "46u"},
		{`deny = ["all"]`, ""},
		{`deny = ["0.0.0.0/0", "::/0"]`, ""},
		{`deny = ["127.0.0.1"]`, "6u"},
		{`deny = ["127.0.0.0/8"]`, "6u"},
		{`deny = ["::ffff:127.0.0.1"]`, "6u"},
		{`deny = ["::ffff:127.0.0.0/104"]`, "6u"},
		{`deny = ["::1"]`, "4u"},
		{`deny = ["unix:"]`, "46"},
		{`allow = ["127.0.0.0/8"]`, "4"},
		{`allow = ["::1"]`, "6"},
		{`allow = ["unix:"]`, "u"},
		{"allow = [\"all\"]\ndeny = [\"127.0.0.0/8\"]", "6u"},
		{"allow = [\"127.0.0.1\"]\ndeny = [\"127.0.0.0/8\"]", ""},
	} {
		w.Reload(config(c.rules))
		before, served := host.Accepted(), ""
		for who, from := range map[string]string{"4": v4, "6": v6, "u": unix} {
			to := path
			if from != "" {
				to = net.JoinHostPort(from, any[1:])
			}
			conn, ok := come(t, from, to)
			require.Equal(t, strings.Contains(c.served, who), ok, "%s: %s", c.rules, who)
			if ok {
				served += who
				conn.Close()
			}
		}
		require.Equal(t, before+len(served), host.Accepted(), "a denied client reaches no server")
	}
	require.Empty(t, w.Records(func(r weirtest.Record) bool { return r.Text("level") == "ERROR" }))
}

// Limits hold over all addresses of a listener, for each source separately; rejected clients never reach a server. A
// reload that removes or raises a limit takes effect immediately, one that lowers it ends no session, and counts are
// kept.
func TestListenerLimits(t *testing.T) {
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	first, second := nettest.Reserve(t), nettest.Reserve(t)
	l := weirtest.Config{Listen: first, Levels: weirtest.OneLevel(host.Addr())}
	a := weirtest.NewAPI(t)
	config := func(limits string) string {
		l.Listener = limits
		return a.AddTo(strings.Replace(l.String(), fmt.Sprintf("address = %q", first), fmt.Sprintf("address = [%q, %q]", first, second), 1))
	}
	w := weirtest.Start(t, config("max_sessions = 10"))
	var in []net.Conn
	for i := range 10 {
		c, ok := come(t, "127.0.0.1", []string{first, second}[i%2])
		require.True(t, ok)
		in = append(in, c)
	}
	refused := func(from string) {
		t.Helper()
		for _, at := range []string{first, second} {
			_, ok := come(t, from, at)
			require.False(t, ok)
		}
	}
	refused("127.0.0.1")
	require.Equal(t, 10, host.Accepted())
	require.Equal(t, map[string]int{"max_sessions": 2}, rejections(a))
	ev := w.WaitRecord(5*time.Second, "the refusals to be told", func(r weirtest.Record) bool { return r.IsEvent("session_refused") })
	require.Equal(t, []string{"l", "max_sessions"}, []string{ev.Text("listener"), ev.Text("reason")})
	told := a.MustDo("GET /v1/events?follow=false", "")
	require.Contains(t, told, `"event":"session_refused","listener":"l","cluster":"c","level":"","server":"",`)
	require.Contains(t, told, `"reason":"max_sessions","count":`)
	require.Contains(t, a.MustRunCommand("events"), "session_refused  listener l  ")

	in[3].Close()
	nettest.Wait(t, 5*time.Second, "room for one", func() bool {
		c, ok := come(t, "127.0.0.1", second)
		if ok {
			in[3] = c
		}
		return ok
	})
	refused("127.0.0.1")

	w.Reload(config("max_sessions = 12")) // raised
	for range 2 {
		c, ok := come(t, "127.0.0.2", first)
		require.True(t, ok)
		in = append(in, c)
	}
	refused("127.0.0.3")
	w.Reload(config("max_sessions = 3")) // lowered
	refused("127.0.0.3")
	for _, c := range in {
		require.NoError(t, weirtest.PingPong(c.(*net.TCPConn)))
	}
	w.Reload(config("max_sessions_per_source = 3")) // another one, which counts those that are there
	refused("127.0.0.1")
	c, ok := come(t, "127.0.0.2", first)
	require.True(t, ok)
	in = append(in, c)
	refused("127.0.0.2")
	for range 3 {
		c, ok := come(t, "127.0.0.3", second)
		require.True(t, ok)
		in = append(in, c)
	}
	refused("127.0.0.3")
	w.Reload(config("")) // none
	for _, from := range []string{"127.0.0.1", "127.0.0.3"} {
		c, ok := come(t, from, first)
		require.True(t, ok)
		in = append(in, c)
	}
	w.Reload(config("max_sessions_per_source = 1")) // those that came meanwhile were not counted then, and are now
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		refused(from)
	}
	for _, c := range in {
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "room", func() bool {
		_, ok := come(t, "127.0.0.1", first)
		return ok
	})
}

// The rate limit admits a burst of one second's worth immediately, and then the rate.
func TestSessionRateLimit(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	_, addr := weirtest.Serve(t, weirtest.Config{Listener: "max_session_rate = 10", Levels: weirtest.OneLevel(host.Addr())})
	begin := time.Now()
	served := 0
	for range 30 {
		if _, ok := come(t, "127.0.0.1", addr); ok {
			served++
		}
	}
	require.GreaterOrEqual(t, served, 10)
	require.LessOrEqual(t, served, 10+int(10*time.Since(begin).Seconds())+1)
	require.Equal(t, served, host.Accepted())
	time.Sleep(1100 * time.Millisecond) // after which a second's worth is there again, however long the others took
	for range 10 {
		_, ok := come(t, "127.0.0.1", addr)
		require.True(t, ok)
	}
}

// A client that closes a connection and opens another at once is not rejected by the limit, unless weir got no CPU time
// for as long as it keeps pending clients.
func TestReconnectingClientIsAdmitted(t *testing.T) {
	for _, c := range []struct {
		limit, runtime string
		clients        int
	}{
		{limit: "max_sessions = 1", clients: 1},
		{limit: "max_sessions_per_source = 1", clients: 1},
		{runtime: "max_sessions = 1", clients: 1},
		{limit: "max_sessions = 12", clients: 12},
	} {
		t.Run(c.limit+c.runtime, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.SendText("x")) // closes first: what is late is weir's alone
			w, addr := weirtest.Serve(t, weirtest.Config{Listener: c.limit, Runtime: c.runtime, Levels: weirtest.OneLevel(host.Addr())})
			again := func(i int) error {
				c, err := nettest.TryDial(addr)
				if err != nil {
					return err
				}
				defer nettest.Close(c)
				c.SetDeadline(time.Now().Add(5 * time.Second))
				_, err = io.ReadFull(c, make([]byte, 1))
				if i%2 == 0 {
					nettest.Abort(c)
				} else if err == nil {
					_, err = c.Read(make([]byte, 1))
					if errors.Is(err, io.EOF) {
						err = nil
					}
				}
				return err
			}
			var clients sync.WaitGroup
			var unexplained atomic.Int64
			for range c.clients {
				clients.Go(func() {
					before, now := w.Process().SchedulingDelay(), time.Duration(0) // at the start of the last round
					began, next := time.Now(), time.Time{}                         // the same for the clock
					delayed := func() bool {
						// A wait is counted at its end, which needs a turn of both loops.
						for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
							if w.Process().SchedulingDelay()-before >= 50*time.Millisecond || nettest.StalledSince(began) >= 50*time.Millisecond {
								return true
							}
						}
						return false
					}
					for i := range weirtest.Scaled(500) / c.clients {
						now, next = w.Process().SchedulingDelay(), time.Now()
						if err := again(i); err != nil && !delayed() {
							t.Logf("round %d: %v", i, err)
							unexplained.Add(1)
						}
						before, began = now, next
					}
				})
			}
			clients.Wait()
			// The kernel does not count every pause of a thread, such as those of a virtual processor.
			require.LessOrEqual(t, unexplained.Load(), int64(weirtest.Scaled(500)/250))
		})
	}
}

// After many clients that were served, refused, denied, reset, gone early or without a server, every gauge is exactly 0
// and all slots are free.
func TestNoSlotIsLost(t *testing.T) {
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	dead := nettest.Reserve(t)
	limits := "max_sessions = 8\nmax_sessions_per_source = 3\nmax_session_rate = 100000\ndeny = [\"127.0.0.9\"]"
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Runtime: "max_sessions = 10", Listener: limits, Cluster: "max_fails = 0", Levels: weirtest.OneLevel(host.Addr()),
		More: strings.Replace(weirtest.ListenerTables("dead", dead, nettest.Reserve(t)), "cluster =", "max_sessions = 4\ncluster =", 1),
	})
	var wait sync.WaitGroup
	for worker := range 16 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(worker)))
			for range weirtest.Scaled(300) {
				from := fmt.Sprintf("127.0.0.%d", 2+random.IntN(8))
				to := addr
				if random.IntN(5) == 0 {
					to = dead
				}
				c, err := (&net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", to)
				if err != nil {
					if nettest.StreamEndOf(err) != nettest.Reset {
						t.Error(err)
					}
					continue
				}
				switch random.IntN(16) % 5 {
				case 0:
					nettest.Abort(c.(*net.TCPConn))
				case 1:
					c.(*net.TCPConn).CloseWrite()
					c.SetReadDeadline(time.Now().Add(5 * time.Second))
					io.Copy(io.Discard, c)
				case 2:
					c.SetReadDeadline(time.Now().Add(5 * time.Second))
					c.Read(make([]byte, 1))
				case 4: // stays longer than a pending client may wait for a slot
					c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					io.Copy(io.Discard, c)
				}
				c.Close()
			}
		})
	}
	wait.Wait()
	w.WaitSockets(5 * time.Second)
	for _, gauge := range []string{
		`weir_sessions{listener="l"}`, `weir_sessions{listener="dead"}`, `weir_loop_sessions{loop="0"}`, `weir_loop_sessions{loop="1"}`,
	} {
		nettest.Wait(t, 5*time.Second, gauge+" to be 0", func() bool { return a.Metric(gauge) == "0" })
	}
	require.Equal(t, 0.0, a.Get("sessions"))
	require.Subset(t, keysOf(rejections(a)), []string{"denied", "max_sessions", "max_sessions_per_source"})
	var in []net.Conn
	for i := range 8 {
		c, ok := come(t, fmt.Sprintf("127.0.0.%d", 2+i/3), addr)
		require.True(t, ok, "all the room is there")
		in = append(in, c)
	}
	_, ok := come(t, "127.0.0.8", addr)
	require.False(t, ok)
	for _, c := range in {
		c.Close()
	}
}

func keysOf(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// Ten thousand networks in an access list add no noticeable delay.
func TestLongAccessList(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.Greet("x", nettest.Echo))
	random := rand.New(rand.NewPCG(8, 9))
	var list strings.Builder
	for range 10_000 {
		fmt.Fprintf(&list, "\"%d.%d.%d.0/24\", ", 1+random.IntN(99), random.IntN(256), random.IntN(256))
	}
	plain := nettest.Reserve(t)
	_, listed := weirtest.Serve(t, weirtest.Config{
		Listener: "deny = [" + list.String() + "]", Levels: weirtest.OneLevel(host.Addr()), More: weirtest.ListenerTables("plain", plain, host.Addr()),
	})
	visit := func(addr string) time.Duration {
		begin := time.Now()
		c, ok := come(t, "127.0.0.1", addr)
		require.True(t, ok)
		defer c.Close()
		return time.Since(begin)
	}
	var took, usual []time.Duration
	for range 300 {
		took, usual = append(took, visit(listed)), append(usual, visit(plain))
	}
	with, without := weirtest.Median(took), weirtest.Median(usual)
	require.Less(t, with, time.Millisecond+without+without/2)
}
