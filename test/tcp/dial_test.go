package tcp_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// With one server refusing and one up, every client is served by the other one, without delay.
func TestRefusingServerDelaysNoClient(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.SendText("ok"))
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.Reserve(t), host.Addr())})
	p := pace{t: t}
	asked := func(addr string) func() {
		return func() {
			text, end := weirtest.ReadSession(addr)
			require.Equal(t, "ok", text)
			require.Equal(t, nettest.EOF, end)
		}
	}
	plain := relay(t, host.Addr())
	for range 20 {
		p.measure(asked(addr), asked(plain))
	}
	p.within(50, 5*time.Millisecond)
}

// A whole level that refuses is no error for any client while the next level serves, with and without passive health.
func TestRefusingLevelFailsNoClient(t *testing.T) {
	t.Parallel()
	for _, maxFails := range []int{3, 0} {
		t.Run(fmt.Sprintf("max_fails=%d", maxFails), func(t *testing.T) {
			t.Parallel()
			host := nettest.Start(t, nettest.SendText("ok"))
			_, addr := weirtest.Serve(t, weirtest.Config{
				Cluster: fmt.Sprintf("max_fails = %d", maxFails),
				Levels:  [][]string{{nettest.Reserve(t), nettest.Reserve(t)}, {host.Addr()}},
			})
			n := weirtest.Scaled(500)
			var failed atomic.Int64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range n / 8 {
						if text, end := weirtest.ReadSession(addr); text != "ok" || end != nettest.EOF {
							failed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			require.Zero(t, failed.Load())
			require.Equal(t, n/8*8, host.Accepted())
		})
	}
}

// A server that does not answer costs connect_timeout and not more.
func TestConnectTimeoutThenNextServer(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.SendText("ok"))
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: `connect_timeout = "500ms"`, Levels: weirtest.OneLevel(nettest.FullBacklog(t), host.Addr()),
	})
	begin := time.Now()
	c := nettest.Dial(t, addr)
	data, _ := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, "ok", string(data))
	require.GreaterOrEqual(t, time.Since(begin), 500*time.Millisecond)
	require.Less(t, nettest.Elapsed(begin), 500*time.Millisecond+weirtest.Bound(200*time.Millisecond))
	c.Close()
	r := w.SessionRecord(c)
	require.Equal(t, 2, r.Int("attempts"))
	require.Equal(t, host.Addr(), r.Text("server"))
}

// Each server is dialed once per session, failed attempts stop at `try`, and the client connection is then closed.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		cluster string
		level   string
		dead    int
		counts  []int // SYNs per port, the level-2 server's last; -1 = any
		total   int
		served  bool
	}{
		{"every server once by default", "", "", 3, []int{1, 1, 1, 1}, 4, true},
		{"try bounds the session", "try = 2", "", 3, []int{-1, -1, -1, 0}, 2, false},
		{"try = 1 means no second attempt", "try = 1", "", 3, []int{-1, -1, -1, 0}, 1, false},
		{"a level's own try leads to the next level", "", "try = 1", 3, []int{-1, -1, -1, 1}, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.NewNamespace(t)
			host := ns.Start("127.0.0.1:7004", nettest.SendText("ok"))
			for port := 7001; port <= 7004; port++ {
				ns.Filter(fmt.Sprintf("tcp dport %d tcp flags & (syn|ack) == syn counter", port))
			}
			w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
				Listen: "127.0.0.1:7000", Cluster: c.cluster, Level: c.level,
				Levels: [][]string{{"127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003"}, {"127.0.0.1:7004"}},
			}.String())
			served := false
			if conn, err := ns.TryDial("127.0.0.1:7000"); err == nil {
				data, end := nettest.ReadToEnd(conn, 5*time.Second)
				conn.Close()
				require.NotEqual(t, nettest.Timeout, end)
				served = string(data) == "ok"
			}
			require.Equal(t, c.served, served)
			r := w.WaitRecord(5*time.Second, "the session's record", func(r weirtest.Record) bool { return r.Termination() != "" })
			require.Equal(t, c.total, r.Int("attempts"))
			if !c.served {
				require.Zero(t, host.Accepted())
				require.Contains(t, r.Termination(), "dial")
			}
			total := 0
			for i, n := range synCounts(t, ns) {
				if c.counts[i] >= 0 {
					require.Equal(t, c.counts[i], n, "port %d", 7001+i)
				}
				require.LessOrEqual(t, n, 1, "port %d", 7001+i)
				total += n
			}
			require.Equal(t, c.total, total)
		})
	}
}

// synCounts reads the packet counters of a namespace's filter, in the order of its rules.
func synCounts(t *testing.T, ns *nettest.Namespace) []int {
	var out []int
	for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(ns.Exec("nft", "list", "ruleset"), -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		out = append(out, n)
	}
	return out
}

// When the better level recovers, new sessions use it and existing sessions continue.
func TestBetterLevelIsUsedAgain(t *testing.T) {
	t.Parallel()
	best := nettest.Start(t, nettest.Greet("1", nettest.Echo))
	best.Down()
	spare := nettest.Start(t, nettest.Greet("2", nettest.Echo))
	_, addr := weirtest.Serve(t, weirtest.Config{
		Levels: [][]string{{best.Addr()}, {spare.Addr()}},
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\ndown_interval = \"100ms\"\nrise = 2\nfall = 4\n",
	})
	old := nettest.Dial(t, addr)
	require.Equal(t, "2", weirtest.ReadByte(t, old))
	best.Up()
	nettest.Wait(t, 5*time.Second, "level 1 to serve", func() bool { return weirtest.DialAndReadByte(t, addr) == "1" })
	for range 20 {
		require.Equal(t, "1", weirtest.DialAndReadByte(t, addr))
	}
	require.NoError(t, weirtest.PingPong(old))
}

// Bytes that a client sends during the dial reach the connected server once and in order.
func TestEarlyDataReachesConnectedServer(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{}
	host := nettest.Start(t, rec.Handle)
	_, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: `connect_timeout = "300ms"`, Levels: weirtest.OneLevel(nettest.FullBacklog(t), nettest.Reserve(t), host.Addr()),
	})
	want, err := io.ReadAll(io.LimitReader(nettest.Pattern(9), 16<<10))
	require.NoError(t, err)
	c := nettest.Dial(t, addr)
	_, err = c.Write(want)
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the bytes at the server", func() bool {
		visits := rec.Conns()
		return len(visits) == 1 && visits[0].Bytes >= int64(len(want))
	})
	c.Close()
	require.Equal(t, want, rec.WaitEnd(t, 0, 5*time.Second).Data)
}

// A missing source address is a local error: the next server is tried, and no failure is counted for the first.
func TestUnusableSourceIsNoServerFailure(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B"))
	l := weirtest.Config{
		Cluster: "max_fails = 1\nfail_timeout = \"60s\"",
		Levels:  weirtest.OneLevel(a.Addr()+" name=a source=192.0.2.77", b.Addr()+" name=b"),
	}
	w, addr := weirtest.Serve(t, l)
	require.Equal(t, "BBBBBB", weirtest.ReadSessions(t, addr, 6))
	require.Zero(t, a.Accepted())
	l.Listen, l.Levels = addr, weirtest.OneLevel(a.Addr()+" name=a", b.Addr()+" name=b")
	w.Reload(l.String())
	require.Contains(t, weirtest.ReadSessions(t, addr, 2), "A")
}

// An ICMP refusal is as quick as a reset.
func TestICMPRefusalIsQuick(t *testing.T) { // alone: it measures time
	for _, with := range []string{"icmp host-unreachable", "icmp admin-prohibited", "icmp net-unreachable", "tcp reset"} {
		t.Run(with, func(t *testing.T) {
			ns := nettest.NewNamespace(t)
			ns.Reject(7001, with)
			ns.Start("127.0.0.1:7002", nettest.SendText("ok"))
			weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
				Listen: "127.0.0.1:7000", Cluster: `connect_timeout = "20s"`, Levels: weirtest.OneLevel("127.0.0.1:7001", "127.0.0.1:7002"),
			}.String())
			begin := time.Now()
			c := ns.Dial("127.0.0.1:7000")
			data, _ := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, "ok", string(data))
			require.Less(t, nettest.Elapsed(begin), weirtest.Bound(400*time.Millisecond))
		})
	}
}

// A server that fails max_fails times gets no session for fail_timeout, then one session on probation, and is in
// service again when that succeeds.
func TestPassiveHealth(t *testing.T) {
	t.Parallel()
	a, b := nettest.Start(t, nettest.SendText("A")), nettest.Start(t, nettest.SendText("B"))
	a.Down()
	const failTimeout = 2500 * time.Millisecond
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "max_fails = 3\nfail_timeout = \"2500ms\"",
		Levels:  weirtest.OneLevel(a.Addr()+" name=a", b.Addr()+" name=b"),
	})
	attempts := func() int {
		c := nettest.Dial(t, addr)
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		require.NotEmpty(t, data)
		c.Close()
		return w.SessionRecord(c).Int("attempts")
	}
	tripping := func() bool {
		return len(w.Records(func(r weirtest.Record) bool { return r.Text("server") == "a" && r.Text("to") == "failing" })) > 0
	}
	failed := 0
	var tripped time.Time // or later
	for i := 0; !tripping(); i++ {
		require.Less(t, i, 50, "the refusing server is tried again and again")
		tripped = time.Now()
		failed += attempts() - 1
	}
	require.GreaterOrEqual(t, failed, 3)
	resting := func(why string) {
		for time.Since(tripped) < failTimeout-300*time.Millisecond {
			if n := attempts(); time.Since(tripped) < failTimeout { // it may have been long, on a busy machine
				require.Equal(t, 1, n, why)
			}
		}
	}
	resting("a failing server is not dialled")

	time.Sleep(failTimeout + 100*time.Millisecond - time.Since(tripped))
	nettest.Wait(t, 5*time.Second, "a session that tries the server", func() bool {
		tripped = time.Now()
		return attempts() == 2
	})
	resting("one failure on probation trips the server again")

	a.Up()
	nettest.Wait(t, weirtest.Bound(2*failTimeout), "the server's return", func() bool { return weirtest.ReadSessions(t, addr, 1) == "A" })
	require.Regexp(t, "^(AB)+A?$|^(BA)+B?$", weirtest.ReadSessions(t, addr, 10))
}

// An IPv6 server that refuses is followed by an IPv4 server without visible delay.
func TestMixedAddressFamilies(t *testing.T) { // alone: it measures time
	host := nettest.Start(t, nettest.SendText("ok"))
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: `connect_timeout = "20s"`, Levels: weirtest.OneLevel(nettest.ReserveOn(t, "::1"), host.Addr())})
	begin := time.Now()
	text, _ := weirtest.ReadSession(addr)
	require.Equal(t, "ok", text)
	require.Less(t, nettest.Elapsed(begin), weirtest.Bound(400*time.Millisecond))

	six := nettest.StartAt(t, nettest.ReserveOn(t, "::1"), nettest.SendText("six"))
	_, addr = weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(six.Addr())})
	text, _ = weirtest.ReadSession(addr)
	require.Equal(t, "six", text)
}

// A host name with a dead and a live address is served within the same attempt.
func TestHostNameIsDialled(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("ok"))
	// localhost is ::1 and 127.0.0.1 on most machines, and 127.0.0.1 on all.
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(fmt.Sprintf("localhost:%d", host.AddrPort().Port()))})
	nettest.Wait(t, 5*time.Second, "the name to be resolved", func() bool {
		text, _ := weirtest.ReadSession(addr)
		return text == "ok"
	})
	for range 10 {
		text, _ := weirtest.ReadSession(addr)
		require.Equal(t, "ok", text)
	}
}

// failure is a failed session.
type failure struct {
	client     string // "" = it was refused before it knew
	begin, end time.Time
}

// death is the time in which a server goes down and its connections are reset.
type death struct{ begin, end time.Time }

// during reports whether one of the deaths is within the session's time.
func (f failure) during(deaths []death) bool {
	return slices.ContainsFunc(deaths, func(d death) bool { return f.begin.Before(d.end) && d.begin.Before(f.end) })
}

// recordsOf returns the records of failed sessions: nil if there is none yet, and an empty record for a refused
// session.
func recordsOf(w *weirtest.Weir, failures []failure) []weirtest.Record {
	of := map[string][]weirtest.Record{}
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }) {
		of[r.Text("client")] = append(of[r.Text("client")], r)
	}
	records := make([]weirtest.Record, len(failures))
	for i, f := range failures {
		if f.client == "" {
			records[i] = weirtest.Record{}
			continue
		}
		for _, r := range of[f.client] {
			if r.IsAfter(f.begin) {
				records[i] = r
				break
			}
		}
	}
	return records
}

// While servers fail and return, one at a time, a session fails only if it was connected to the failed server or in its
// accept queue. The other servers serve all other clients.
func TestServersFailAndReturn(t *testing.T) {
	t.Parallel()
	work := func(_ context.Context, c *net.TCPConn) {
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		io.WriteString(c, "ok")
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
	hosts := []*nettest.Host{nettest.Start(t, work), nettest.Start(t, work), nettest.Start(t, work)}
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(hosts[0].Addr(), hosts[1].Addr(), hosts[2].Addr())})

	var served atomic.Int64
	var failures []failure
	var mu sync.Mutex
	var over atomic.Bool
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for !over.Load() {
				f := failure{begin: time.Now()}
				if c, err := nettest.TryDial(addr); err == nil {
					data, end := nettest.ReadToEnd(c, 10*time.Second)
					f.client = c.LocalAddr().String()
					c.Close()
					if string(data) == "ok" && end == nettest.EOF {
						served.Add(1)
						continue
					}
				} else if nettest.StreamEndOf(err) != nettest.Reset { // as a quick one is seen
					t.Error(err)
					return
				}
				f.end = time.Now()
				mu.Lock()
				failures = append(failures, f)
				mu.Unlock()
			}
		})
	}
	deaths := map[string][]death{}
	for i := range weirtest.Scaled(12) {
		host := hosts[i%len(hosts)]
		before := served.Load()
		begin := time.Now()
		host.Down()
		host.Reset()
		deaths[host.Addr()] = append(deaths[host.Addr()], death{begin, time.Now()})
		nettest.Wait(t, 10*time.Second, "others to be served", func() bool { return served.Load() > before+50 })
		host.Up()
		nettest.Wait(t, 10*time.Second, "it to be served by again", func() bool { return served.Load() > before+100 })
	}
	over.Store(true)
	clients.Wait()
	var died []death
	for _, at := range deaths {
		died = append(died, at...)
	}
	var records []weirtest.Record
	nettest.Wait(t, 10*time.Second, "a record of every session that failed", func() bool {
		records = recordsOf(w, failures)
		return !slices.ContainsFunc(records, func(r weirtest.Record) bool { return r == nil })
	})
	for i, f := range failures {
		if r := records[i]; f.client == "" {
			require.True(t, f.during(died), "%v", f)
		} else {
			require.Equal(t, "relay", r.Text("phase"), "%v", r)
			require.True(t, f.during(deaths[r.Text("server")]), "its server did not die then: %v, %v", f, r)
		}
	}
	t.Logf("%d sessions, %d of them cut by the death of their server", served.Load()+int64(len(failures)), len(failures))
}

// Failed dials release their slots under max_sessions.
func TestFailedDialsReleaseSlots(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Greet("1", nettest.Echo))
	host.Down()
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "max_sessions = 10\nmax_fails = 0", Levels: weirtest.OneLevel(host.Addr())})
	for range weirtest.Scaled(300) {
		text, _ := weirtest.ReadSession(addr)
		require.Empty(t, text)
	}
	host.Up()
	for range 10 {
		require.Equal(t, "1", weirtest.ReadByte(t, nettest.Dial(t, addr)))
	}
	_, served := weirtest.DialServed(t, addr, 5*time.Second)
	require.False(t, served, "the eleventh")
}

// try_timeout bounds picking and dialing together, and ends a running dial.
func TestTryTimeout(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, weirtest.Config{
		Cluster: "connect_timeout = \"5s\"\ntry_timeout = \"500ms\"",
		Levels:  weirtest.OneLevel(nettest.FullBacklog(t), nettest.FullBacklog(t)),
	})
	begin := time.Now()
	c := nettest.Dial(t, addr)
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Empty(t, data)
	require.NotEqual(t, nettest.Timeout, end)
	weirtest.RequireBetween(t, 500*time.Millisecond, time.Since(begin))
	require.Contains(t, w.SessionRecord(c).Termination(), "dial")
}

// A cluster without an eligible server ends sessions immediately and reports the reason.
func TestNoServer(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("never"))
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " state=maint")})
	for range 50 {
		text, end := weirtest.ReadSession(addr)
		require.Empty(t, text)
		require.NotEqual(t, nettest.Timeout, end)
	}
	require.Zero(t, host.Accepted())
	ended := func() []weirtest.Record {
		return w.Records(func(r weirtest.Record) bool { return r.Termination() != "" })
	}
	nettest.Wait(t, 5*time.Second, "the sessions' records", func() bool { return len(ended()) == 50 })
	for _, r := range ended() {
		require.Equal(t, "dial no_server", r.Termination())
	}
}
