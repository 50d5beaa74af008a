package tcp_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// arrivals is a server that records the first byte of each session, and when it came.
type arrivals struct {
	mu    sync.Mutex
	first map[int]string // by the number of the accepted connection
	times []time.Time
}

func (a *arrivals) handle(ctx context.Context, c *net.TCPConn) {
	defer c.Close()
	b := make([]byte, 1)
	if _, err := c.Read(b); err != nil {
		return
	}
	a.mu.Lock()
	if a.first == nil {
		a.first = map[int]string{}
	}
	a.first[nettest.AcceptedNumber(ctx)] = string(b)
	a.times = append(a.times, time.Now())
	a.mu.Unlock()
	c.Write(b)
	nettest.Echo(context.Background(), c)
}

// sessions returns the first bytes in the order in which the sessions were accepted.
func (a *arrivals) sessions() (text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(a.first)) {
		text += a.first[n]
	}
	return text
}

// heldClient opens a session, sends text, and returns when it is held.
func heldClient(t *testing.T, a weirtest.API, addr, text string) *net.TCPConn {
	t.Helper()
	c := nettest.Dial(t, addr)
	require.NoError(t, weirtest.WriteText(c, text))
	a.WaitPhase(c, "hold")
	return c
}

// maint takes a server of cluster c out of service, or puts it back.
func maint(a weirtest.API, server string, on bool) {
	state := "null"
	if on {
		state = `"maint"`
	}
	a.MustDo("PATCH /v1/clusters/c/servers/"+server, `{"state": `+state+`}`)
}

// A session waits while its server is in maint, down or missing, and is served with what its client has sent. Sessions are
// served in order of arrival; one that arrives later does not overtake.
func TestSessionsAreHeldUntilServerReturns(t *testing.T) {
	t.Parallel()
	var seen arrivals
	host := nettest.Start(t, seen.handle)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "hold_timeout = \"1m\"\nrelease_rate = 2", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	maint(a, "A", true)
	var clients []*net.TCPConn
	for i := range 5 {
		clients = append(clients, heldClient(t, a, addr, fmt.Sprint(i)))
	}
	require.EqualValues(t, 5, a.Get("clusters", 0, "held_sessions"))
	require.Equal(t, "5", a.Metric(`weir_cluster_held_sessions{cluster="c"}`))
	_, out := a.RunCommand("status")
	require.Contains(t, out, "5 sessions held")
	require.Zero(t, host.Accepted())
	maint(a, "A", false)
	clients = append(clients, nettest.Dial(t, addr))
	require.NoError(t, weirtest.WriteText(clients[5], "5"))
	for i, c := range clients {
		require.Equal(t, fmt.Sprint(i), weirtest.ReadByte(t, c))
	}
	require.Equal(t, "012345", seen.sessions())
	require.Equal(t, "6", a.Metric(`weir_sessions_held_total{cluster="c"}`))
	require.Equal(t, "6", a.Metric(`weir_sessions_held_ended_total{cluster="c",outcome="connected"}`))
	require.Equal(t, "0", a.Metric(`weir_cluster_held_sessions{cluster="c"}`))
	for _, c := range clients {
		c.Close()
		r := w.SessionRecord(c)
		require.Equal(t, "relay client_closed", r.Termination())
		require.Equal(t, 1, r.Int("attempts"))
	}
}

// Whatever the reason why no server can serve, the session waits for the change.
func TestEachReasonToHold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config        weirtest.Config
		before, after func(w *weirtest.Weir, a weirtest.API, host *nettest.Host)
	}{
		"drain": {
			before: func(_ *weirtest.Weir, a weirtest.API, _ *nettest.Host) {
				a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": "drain"}`)
			},
			after: func(_ *weirtest.Weir, a weirtest.API, _ *nettest.Host) {
				a.MustDo("PATCH /v1/clusters/c/servers/A", `{"state": null}`)
			},
		},
		"down by a check": {
			config: weirtest.Config{Checks: weirtest.PassingCheck},
			before: func(w *weirtest.Weir, _ weirtest.API, host *nettest.Host) {
				host.Down()
				w.WaitEvent("server_down", "A")
			},
			after: func(_ *weirtest.Weir, _ weirtest.API, host *nettest.Host) { host.Up() },
		},
		"refused": {
			config: weirtest.Config{Cluster: "max_fails = 0"},
			before: func(_ *weirtest.Weir, _ weirtest.API, host *nettest.Host) { host.Down() },
			after:  func(_ *weirtest.Weir, _ weirtest.API, host *nettest.Host) { host.Up() },
		},
		"failing": {
			config: weirtest.Config{Cluster: "max_fails = 1\nfail_timeout = \"1s\""},
			before: func(_ *weirtest.Weir, _ weirtest.API, host *nettest.Host) { host.Down() },
			after:  func(_ *weirtest.Weir, _ weirtest.API, host *nettest.Host) { host.Up() },
		},
		"no server": {
			before: func(_ *weirtest.Weir, a weirtest.API, _ *nettest.Host) {
				a.MustDo("DELETE /v1/clusters/c/servers/A", "")
			},
			after: func(_ *weirtest.Weir, a weirtest.API, host *nettest.Host) {
				a.MustDo("POST /v1/clusters/c/servers", fmt.Sprintf(`{"address": %q, "name": "A"}`, host.Addr()))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
			test.config.Cluster += "\nhold_timeout = \"1m\""
			test.config.Levels = weirtest.OneLevel(host.Addr() + " name=A")
			w, addr, a := weirtest.ServeAPI(t, test.config)
			test.before(w, a, host)
			accepted := host.Accepted()
			c := heldClient(t, a, addr, "x")
			other := heldClient(t, a, addr, "y")
			require.Equal(t, accepted, host.Accepted())
			test.after(w, a, host)
			require.Equal(t, "A", weirtest.ReadByte(t, c))
			require.Equal(t, "A", weirtest.ReadByte(t, other))
		})
	}
}

// hold_timeout ends the wait on time with its own reason, also if protection lets the session try the dead server then; a
// session that does not fit max_held ends at once.
func TestHoldTimeoutAndHoldFull(t *testing.T) {
	t.Parallel()
	for _, protected := range []bool{false, true} {
		host := nettest.Start(t, nettest.Echo)
		w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
			Cluster: fmt.Sprintf("hold_timeout = \"2s\"\nmax_held = 2\nprotected = %v", protected),
			Checks:  weirtest.PassingCheck, Levels: weirtest.OneLevel(host.Addr() + " name=A"),
		})
		host.Down()
		w.WaitEvent("server_down", "A")
		begin := time.Now()
		one, two := nettest.Dial(t, addr), nettest.Dial(t, addr)
		nettest.Wait(t, weirtest.Bound(5*time.Second), "two held sessions", func() bool { return a.Metric(`weir_cluster_held_sessions{cluster="c"}`) == "2" })
		if full, err := nettest.TryDial(addr); err == nil { // the reset may come first
			_, end := nettest.ReadToEnd(full, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
			full.Close()
		}
		w.WaitRecord(5*time.Second, "the record of a session too many", func(r weirtest.Record) bool { return r.Termination() == "hold hold_full" })
		for _, c := range []net.Conn{one, two} {
			_, end := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
			r := w.SessionRecord(c)
			require.Equal(t, "hold hold_timeout", r.Termination())
			require.Equal(t, protected, r.Int("attempts") == 1)
		}
		weirtest.RequireBetween(t, 2*time.Second, time.Since(begin))
		require.Equal(t, "2", a.Metric(`weir_sessions_held_ended_total{cluster="c",outcome="hold_timeout"}`))
		require.Equal(t, "1", a.Metric(`weir_sessions_ended_total{listener="l",phase="hold",reason="hold_full"}`))
	}
}

// While a session is held it does not get a server that only protection keeps in service; it does when the time is over.
func TestProtectedServerServesAfterTheHold(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	other := nettest.Start(t, nettest.Silent)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "hold_timeout = \"2s\"", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
		Checks: fmt.Sprintf("%s\nport = %d\n", weirtest.PassingCheck, other.AddrPort().Port()),
	})
	other.Down()
	w.WaitEvent("server_down", "A")
	require.Equal(t, "unstable", a.ServerState(0))
	begin := time.Now()
	c := nettest.Dial(t, addr)
	a.WaitPhase(c, "hold")
	require.Equal(t, "A", weirtest.ReadByte(t, c))
	weirtest.RequireBetween(t, 2*time.Second, time.Since(begin))
}

// A client that resets its connection ends its hold; one that has sent a FIN is served.
func TestClientOfHeldSessionLeaves(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "hold_timeout = \"1m\"\nmax_held = 2", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	maint(a, "A", true)
	resets, closes := heldClient(t, a, addr, "x"), heldClient(t, a, addr, "hello")
	require.NoError(t, closes.CloseWrite())
	nettest.Abort(resets)
	require.Equal(t, "hold client_reset", w.SessionRecord(resets).Termination())
	next := heldClient(t, a, addr, "y")
	maint(a, "A", false)
	data, end := nettest.ReadToEnd(closes, 5*time.Second)
	require.Equal(t, "hello", string(data))
	require.Equal(t, nettest.EOF, end)
	require.Equal(t, "y", weirtest.ReadByte(t, next))
	require.Equal(t, "1", a.Metric(`weir_sessions_held_ended_total{cluster="c",outcome="client_reset"}`))
}

// try_timeout does not run while a session is held.
func TestTryTimeoutDoesNotRunWhileHeld(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "hold_timeout = \"1m\"\ntry_timeout = \"300ms\"", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	maint(a, "A", true)
	c := heldClient(t, a, addr, "x")
	waits(t, c, 600*time.Millisecond)
	maint(a, "A", false)
	require.Equal(t, "A", weirtest.ReadByte(t, c))
}

// A server that refuses is tried once a second, however many sessions are held, and serves them all when it is back.
func TestRefusingServerIsTriedOnceASecond(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "hold_timeout = \"1m\"\nmax_fails = 0", Levels: weirtest.OneLevel(host.Addr() + " name=A")})
	host.Down()
	const sessions = 20
	var clients []*net.TCPConn
	for range sessions {
		clients = append(clients, nettest.Dial(t, addr))
	}
	nettest.Wait(t, weirtest.Bound(5*time.Second), "held sessions", func() bool { return a.Metric(`weir_cluster_held_sessions{cluster="c"}`) == fmt.Sprint(sessions) })
	dials := func() (n int) {
		fmt.Sscan(a.Metric(`weir_server_dials_total{cluster="c",server="A"}`), &n)
		return n
	}
	begin := time.Now()
	before := dials()
	time.Sleep(2500 * time.Millisecond)
	after, took := dials(), time.Since(begin)
	require.GreaterOrEqual(t, after-before, 1)
	require.LessOrEqual(t, after-before, int(took/time.Second)+1)
	host.Up()
	begin = time.Now()
	for _, c := range clients {
		require.Equal(t, "A", weirtest.ReadByte(t, c))
	}
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(1500*time.Millisecond))
}

// A server that is only full is for the queue: a session is not held for it, and held sessions queue for it when it returns.
func TestFullServerQueuesInsteadOfHold(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "hold_timeout = \"1m\"\nmax_sessions = 1", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	require.Equal(t, "A", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	if c, err := nettest.TryDial(addr); err == nil { // the reset may come first
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
		c.Close()
	}
	w.WaitRecord(5*time.Second, "the record of a session too many", func(r weirtest.Record) bool { return r.Termination() == "dial no_server" })

	var seen arrivals
	host = nettest.Start(t, seen.handle)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Cluster: "hold_timeout = \"1m\"\nqueue_timeout = \"1m\"\nmax_sessions = 1", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	maint(a, "A", true)
	var clients []*net.TCPConn
	for i := range 4 {
		clients = append(clients, heldClient(t, a, addr, fmt.Sprint(i)))
	}
	maint(a, "A", false)
	for i, c := range clients {
		require.Equal(t, fmt.Sprint(i), weirtest.ReadByte(t, c))
		if i == 0 {
			a.WaitPhase(clients[1], "queue")
			a.WaitPhase(clients[3], "queue")
		}
		c.Close()
	}
	require.Equal(t, "0123", seen.sessions())
}

// A cut by an operator, a stop and the removal of the listener end holds.
func TestHeldSessionsAreCut(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	config := weirtest.Config{Runtime: "drain_timeout = \"100ms\"", Cluster: "hold_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr() + " name=A state=maint")}
	w, addr, a := weirtest.ServeAPI(t, config)
	c := heldClient(t, a, addr, "x")
	var id int
	a.WaitSession(c, "with an id", func(r weirtest.Record) bool { id = r.Int("id"); return true })
	a.MustDo(fmt.Sprintf("DELETE /v1/sessions/%d", id), "")
	require.Equal(t, "hold cut_operator", w.SessionRecord(c).Termination())

	c = heldClient(t, a, addr, "x")
	text := config.String()
	other := nettest.Reserve(t)
	w.Reload(a.AddTo(strings.Replace(text, `address = ""`, fmt.Sprintf("address = %q", other), 1)))
	require.Equal(t, "hold cut_listener_removed", w.SessionRecord(c).Termination())

	c = heldClient(t, a, other, "x")
	w.Signal(syscall.SIGTERM)
	require.Equal(t, "hold cut_shutdown", w.SessionRecord(c).Termination())
	require.Equal(t, 3, w.WaitExit(weirtest.Bound(5*time.Second)))
}

// Held sessions use the settings of a reload: a shorter time, no hold any more, another cluster.
func TestReloadChangesHolds(t *testing.T) {
	t.Parallel()
	host, blue := nettest.Start(t, nettest.Greet("A", nettest.Echo)), nettest.Start(t, nettest.Greet("B", nettest.Echo))
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "hold_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr() + " name=A state=maint"),
		More: "[cluster.d]\nhold_timeout = \"1m\"\n[[cluster.d.level]]\nservers = [\"" + blue.Addr() + " name=B\"]\n"}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	c := heldClient(t, a, config.Listen, "x")
	begin := time.Now()
	config.Cluster = "hold_timeout = \"500ms\""
	w.Reload(a.AddTo(config.String()))
	require.Equal(t, "hold hold_timeout", w.SessionRecord(c).Termination())
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(5*time.Second))

	config.Cluster = "hold_timeout = \"1m\""
	w.Reload(a.AddTo(config.String()))
	c = heldClient(t, a, config.Listen, "x")
	config.Cluster = ""
	w.Reload(a.AddTo(config.String()))
	require.Equal(t, "dial no_server", w.SessionRecord(c).Termination())

	config.Cluster = "hold_timeout = \"1m\""
	w.Reload(a.AddTo(config.String()))
	c = heldClient(t, a, config.Listen, "x")
	w.Reload(strings.Replace(a.AddTo(config.String()), `cluster = "c"`, `cluster = "d"`, 1))
	require.Equal(t, "B", weirtest.ReadByte(t, c), "the listener's cluster is another one now")
	c.Close()
	require.Equal(t, "d", w.SessionRecord(c).Text("cluster"))
}

// A held session whose cluster leaves the configuration with its listener does not wait any longer.
func TestRemovedClusterEndsHolds(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("A", nettest.Echo))
	config := weirtest.Config{Listen: nettest.Reserve(t), Cluster: "hold_timeout = \"1m\"", Levels: weirtest.OneLevel(host.Addr() + " name=A state=maint")}
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	c := heldClient(t, a, config.Listen, "x")
	begin := time.Now()
	w.Reload(a.AddTo("[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\nsessions = \"all\"\n" + weirtest.ListenerTables("m", nettest.Reserve(t), host.Addr())))
	require.Equal(t, "dial no_server", w.SessionRecord(c).Termination())
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(5*time.Second))
}

// Held sessions count for the listener's limits and not for those of servers.
func TestHeldSessionsCountForListenerLimits(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Listener: "max_sessions = 2", Cluster: "hold_timeout = \"1m\"\nmax_sessions = 5", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	maint(a, "A", true)
	one, _ := heldClient(t, a, addr, "1"), heldClient(t, a, addr, "2")
	if c, err := nettest.TryDial(addr); err == nil { // the reset may come first
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.Equal(t, nettest.Reset, end)
		c.Close()
	}
	nettest.Wait(t, 5*time.Second, "the rejection", func() bool {
		return a.Metric(`weir_sessions_refused_total{listener="l",reason="max_sessions"}`) == "1"
	})
	require.EqualValues(t, 0, a.Server("A")["sessions"])
	maint(a, "A", false)
	require.Equal(t, "1", weirtest.ReadByte(t, one))
}

// The PROXY header of a held client is kept: its server gets the address of it.
func TestHeldSessionKeepsItsProxyHeader(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	_, addr, a := weirtest.ServeAPI(t, weirtest.Config{
		Listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]",
		Cluster:  "hold_timeout = \"1m\"\nsend_proxy = \"v1\"", Levels: weirtest.OneLevel(host.Addr() + " name=A"),
	})
	maint(a, "A", true)
	c := nettest.Dial(t, addr)
	header := "PROXY TCP4 192.0.2.7 192.0.2.8 1000 2000\r\n"
	require.NoError(t, weirtest.WriteText(c, header+"hello"))
	require.NoError(t, c.CloseWrite())
	nettest.Wait(t, weirtest.Bound(5*time.Second), "a held session", func() bool { return a.Metric(`weir_cluster_held_sessions{cluster="c"}`) == "1" })
	maint(a, "A", false)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, header+"hello", string(data))
	require.Equal(t, nettest.EOF, end)
}
