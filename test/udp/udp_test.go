// UDP with the built binary: flows, datagram boundaries, refusals, limits.

package udp_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/proxy"
	"weir/internal/weirtest"
)

// A client keeps its server and weir's source port; another client gets others.
func TestUDPFlowKeepsServer(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(a.Addr(), b.Addr())})
	one, two := nettest.DialDatagrams(t, "", addr), nettest.DialDatagrams(t, "", addr)
	first, second := one.RoundTrip("1"), two.RoundTrip("1")
	require.NotEqual(t, strings.Fields(first)[0], strings.Fields(second)[0])
	for range 3 {
		require.Equal(t, first, one.RoundTrip("again"))
		require.Equal(t, second, two.RoundTrip("again"))
	}
	r := w.WaitRecord(10*time.Second, "the flow's record", func(r weirtest.Record) bool { return r.Text("client") == one.LocalAddr().String() })
	require.Equal(t, "relay flow_timeout", r.Termination())
	require.Equal(t, 1+3*len("again"), r.Int("bytes_up"))
	require.Equal(t, 4*len(first), r.Int("bytes_down"))
}

// Datagrams of every size arrive unchanged in both directions, alone and among others.
func TestUDPSizes(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.DialDatagrams(t, "", addr)
	c.SetReadBuffer(8 << 20)
	sizes := []int{0, 1, 2, 63, 64, 65, 508, 1471, 1472, 1473, 4096, 8972, 9000, 16384, 16385, 32768, 65506, 65507}
	for range 30 {
		sizes = append(sizes, rand.IntN(65508))
	}
	fill := func(n, seed int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i*7 + seed + i>>8)
		}
		return data
	}
	for i, n := range sizes {
		sent := fill(n, i)
		c.Send(sent)
		got, ok := c.Receive(5 * time.Second)
		require.True(t, ok, "no answer to %d bytes", n)
		require.True(t, bytes.Equal(sent, got), "%d bytes came back as %d", n, len(got))
	}
	// Runs of equal, shorter, longer and empty datagrams keep every boundary.
	for round := range 40 {
		var sent [][]byte
		size := []int{0, 1, 64, 512, 1200, 1400, 4000}[rand.IntN(7)]
		for i := range 24 {
			n := size
			if rand.IntN(4) == 0 {
				n = rand.IntN(size + 2)
			}
			sent = append(sent, fill(n, round*31+i))
			c.Send(sent[i])
		}
		for i := range sent {
			got, ok := c.Receive(5 * time.Second)
			require.True(t, ok, "datagram %d of round %d is missing", i, round)
			require.True(t, bytes.Equal(sent[i], got), "round %d, datagram %d: %d bytes came back as %d", round, i, len(sent[i]), len(got))
		}
	}
}

// A refusing server costs no response, and no client gets an empty datagram that was not sent.
func TestUDPRefusedServer(t *testing.T) {
	t.Parallel()
	echo := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.ReserveDatagrams(t), echo.Addr()), Cluster: "max_fails = 0"})
	var clients []*nettest.DatagramClient
	for i := range 20 {
		c := nettest.DialDatagrams(t, "", addr)
		ask := fmt.Sprint("hello ", i)
		begin := time.Now()
		require.Equal(t, ask, c.RoundTrip(ask))
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(time.Second))
		clients = append(clients, c)
	}
	for _, c := range clients {
		_, more := c.Receive(2 * time.Millisecond)
		require.False(t, more)
	}
	// A server that fails later is left too: unanswered datagrams go to the next one.
	late := nettest.StartDatagrams(t, nettest.ReplyWithName("late"))
	w.Reload(weirtest.Config{Listen: addr, Levels: [][]string{{late.Addr()}, {echo.Addr()}}, Cluster: "max_fails = 0"}.UDP(t).String())
	c := nettest.DialDatagrams(t, "", addr)
	require.Contains(t, c.RoundTrip("x"), "late")
	late.Down()
	require.Equal(t, "y", c.RoundTrip("y"))
}

// A server that refuses is out of service after max_fails failures.
func TestUDPPassiveHealth(t *testing.T) {
	t.Parallel()
	echo := nettest.StartDatagrams(t, nettest.EchoDatagram)
	dead := nettest.ReserveDatagrams(t)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(dead+" name=dead", echo.Addr())})
	for range 8 {
		require.Equal(t, "x", nettest.DialDatagrams(t, "", addr).RoundTrip("x"))
	}
	w.WaitRecord(5*time.Second, "the server to trip", func(r weirtest.Record) bool {
		return r.Text("server") == "dead" && r.Text("to") == "failing"
	})
}

func TestUDPFlowTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: `flow_timeout = "1500ms"`})
	c := nettest.DialDatagrams(t, "", addr)
	first := c.RoundTrip("x")
	last := time.Now()
	for range 4 { // either direction keeps it
		time.Sleep(500 * time.Millisecond)
		last = time.Now()
		require.Equal(t, first, c.RoundTrip("x"))
	}
	require.Equal(t, "relay flow_timeout", w.SessionRecord(c).Termination())
	weirtest.RequireBetween(t, 1500*time.Millisecond, time.Since(last))
	require.NotEqual(t, first, c.RoundTrip("x"))
}

// A flow ends after responses replies to each request. 0 is any number.
func TestUDPResponses(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		for range 3 {
			reply(data)
		}
	})
	for responses, want := range map[int]int{0: 3, 1: 1, 2: 2, 3: 3} {
		w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: fmt.Sprintf("responses = %d\nflow_timeout = \"2s\"", responses)})
		c := nettest.DialDatagrams(t, "", addr)
		c.Send([]byte("x"))
		for i := range want {
			_, ok := c.Receive(5 * time.Second)
			require.True(t, ok, "responses = %d: %d replies", responses, i)
		}
		_, more := c.Receive(200 * time.Millisecond)
		require.False(t, more, "responses = %d: more than %d replies", responses, want)
		end := "relay responses_complete"
		if responses == 0 {
			end = "relay flow_timeout"
		}
		require.Equal(t, end, w.SessionRecord(c).Termination())
	}
}

// With one response per request every datagram is balanced separately, answered or not.
func TestUDPBalancedPerDatagram(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(a.Addr(), b.Addr()), Listener: "responses = 1"})
	c := nettest.DialDatagrams(t, "", addr)
	for i := range 6 {
		require.Equal(t, "ab"[i%2:i%2+1], c.RoundTrip("x")[:1])
	}
	for range 20 {
		c.Send([]byte("x"))
	}
	count := map[string]int{}
	for range 20 {
		got, ok := c.Receive(5 * time.Second)
		require.True(t, ok)
		count[string(got[:1])]++
	}
	require.Equal(t, map[string]int{"a": 10, "b": 10}, count)
}

// Weights apply to flows.
func TestUDPWeights(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(a.Addr(), b.Addr()+" weight=2")})
	count := map[string]int{}
	for range 9 {
		count[nettest.DialDatagrams(t, "", addr).RoundTrip("x")[:1]]++
	}
	require.Equal(t, map[string]int{"a": 3, "b": 6}, count)
}

// On a wildcard listener, a reply leaves from the address that the client sent to. An IPv4 client is shown as IPv4,
// also on an IPv6 socket.
func TestUDPWildcard(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Exec("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	ns.Exec("ip", "link", "set", "v0", "up")
	ns.Exec("ip", "link", "set", "v1", "up")
	ns.Exec("ip", "address", "add", "fd00::1/64", "dev", "v0", "nodad")
	ns.Exec("ip", "address", "add", "fd00::2/64", "dev", "v0", "nodad")
	ns.Exec("ip", "address", "add", "fe80::5/64", "dev", "v0", "nodad")
	host := ns.StartDatagrams("127.0.0.1:9000", nettest.ReplyWithName("a"))
	for _, listen := range []string{"0.0.0.0:5300", "[::]:5301"} {
		port := listen[len(listen)-5:]
		l := weirtest.Config{Listen: listen, Levels: weirtest.OneLevel(host.Addr())}.UDP(t)
		w := weirtest.Options{Namespace: ns}.Start(t, l.String())
		for _, to := range []string{"127.0.0.1", "127.0.0.2", "127.9.9.9", "[::1]", "[fd00::1]", "[fd00::2]", "[fe80::5%v0]"} {
			if listen[0] != '[' && to[0] == '[' {
				continue
			}
			c := ns.DialDatagrams("", to+port) // connected: what comes from elsewhere is not heard
			require.True(t, strings.HasPrefix(c.RoundTrip("x"), "a "), to)
			for range 30 { // what leaves in one send leaves for the right place too
				c.Send([]byte("burst"))
			}
			for range 30 {
				_, ok := c.Receive(5 * time.Second)
				require.True(t, ok, to)
			}
			from := c.LocalAddr().String()
			if i := strings.IndexByte(from, '%'); i > 0 {
				from = from[:i] + from[strings.IndexByte(from, ']'):]
			}
			w.WaitRecord(5*time.Second, "the client "+from, func(r weirtest.Record) bool { return r.Text("client") == from })
		}
		// One client socket that sends to two addresses has two flows, and each reply comes from the right address.
		var c *net.UDPConn
		var err error
		ns.Do(func() { c, err = nettest.ListenDatagrams("127.0.0.1:0") })
		require.NoError(t, err)
		defer c.Close()
		for range 3 {
			for _, to := range []string{"127.0.0.1", "127.0.0.2"} {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				_, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(to+port))
				require.NoError(t, err)
				_, from, err := c.ReadFromUDPAddrPort(make([]byte, 99))
				require.NoError(t, err)
				require.Equal(t, to+port, from.String())
			}
		}
	}
}

// A flow leaves a server that is down or in maintenance with its next datagram; a draining server keeps its flows.
func TestUDPServerStates(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	for _, onDown := range []string{"keep", "close"} {
		l := weirtest.Config{Listener: `flow_timeout = "4s"`, Cluster: fmt.Sprintf("on_down = %q", onDown),
			Levels: [][]string{{a.Addr() + " name=a"}, {b.Addr() + " name=b"}}}.UDP(t)
		set := func(state string) string {
			l := l
			l.Levels = [][]string{{a.Addr() + " name=a state=" + state}, {b.Addr() + " name=b"}}
			return l.String()
		}
		w := weirtest.Start(t, l.String())
		c := nettest.DialDatagrams(t, "", l.Listen)
		first := c.RoundTrip("x")
		require.Equal(t, "a", first[:1])
		w.Reload(set("drain"))
		require.Equal(t, first, c.RoundTrip("x"), "a draining server keeps its flows")
		require.Equal(t, "b", nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")[:1])
		w.Reload(set("maint"))
		nettest.Wait(t, 5*time.Second, "the flow to move", func() bool { return c.RoundTrip("x")[:1] == "b" })
	}
}

// A reload changes neither the server nor the source port of a flow, and loses nothing.
func TestUDPReloads(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	l := weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: `flow_timeout = "3s"`}.UDP(t)
	w := weirtest.Start(t, l.String())
	const clients = 40
	stop := make(chan struct{})
	var asked atomic.Int64
	var group weirtest.Group
	for range clients {
		c := nettest.DialDatagrams(t, "", l.Listen)
		group.Go(func() error {
			first := ""
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				c.Write([]byte("x"))
				got, ok := c.Receive(5 * time.Second)
				if !ok {
					return fmt.Errorf("no answer after %d", asked.Load())
				}
				if first == "" {
					first = string(got)
				}
				if first != string(got) {
					return fmt.Errorf("%q, then %q", first, got)
				}
				asked.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	other := nettest.ReserveDatagrams(t)
	for i := range weirtest.Scaled(60) {
		changed := l
		changed.Cluster = fmt.Sprintf("fail_timeout = \"%ds\"", 10+i%2)
		if i%3 == 0 {
			changed.More = strings.Replace(weirtest.ListenerTables("more", other, "127.0.0.1:9"), "cluster = ", "protocol = \"udp\"\ncluster = ", 1)
		}
		w.Reload(changed.String())
	}
	close(stop)
	require.NoError(t, group.Wait())
	require.Greater(t, int(asked.Load()), clients)
}

// A flow continues to its server's old address for drain_timeout after an address change, through an upgrade too, and
// then follows with the client's next datagram, however busy it is: at the old address no host may report an error. It
// keeps its server, whatever the balancing order.
func TestUDPServerMoves(t *testing.T) {
	t.Parallel()
	a, b := nettest.StartDatagrams(t, nettest.ReplyWithName("a")), nettest.StartDatagrams(t, nettest.ReplyWithName("b"))
	other := nettest.StartDatagrams(t, nettest.ReplyWithName("o"))
	const drain = 4 * time.Second
	for _, how := range []string{"reload", "upgrade"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l := weirtest.Config{Runtime: fmt.Sprintf("drain_timeout = %q", drain), Listener: `flow_timeout = "3500ms"`, Levels: weirtest.OneLevel(a.Addr()+" name=s", other.Addr())}.UDP(t)
			w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
			w.Baseline = nil // flows outlast their clients
			c := nettest.DialDatagrams(t, "", l.Listen)
			first := c.RoundTrip("x")
			require.Equal(t, "a", first[:1])
			l.Levels = weirtest.OneLevel(b.Addr()+" name=s", other.Addr())
			moved := time.Now()
			w.Reload(l.String())
			require.Equal(t, first, c.RoundTrip("x"))
			if how == "upgrade" {
				w.Upgrade()
			}
			require.ElementsMatch(t, []string{"b", "o"}, []string{
				nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")[:1], nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")[:1],
			}, "new flows go where the server is")
			now := first
			for ; now[:1] == "a"; now = c.RoundTrip("x") {
				require.Equal(t, first, now)
				require.Less(t, nettest.Elapsed(moved), drain+5*time.Second)
				time.Sleep(10 * time.Millisecond)
			}
			require.GreaterOrEqual(t, time.Since(moved), drain)
			require.Equal(t, "b", now[:1])
			require.Equal(t, now, c.RoundTrip("x"))
		})
	}
}

// The flows of a removed server end at the drain deadline without a loss: that server answers pending requests, and the
// next request goes to another one.
func TestUDPServerRemoved(t *testing.T) {
	t.Parallel()
	slow := nettest.StartDatagrams(t, func(_ netip.AddrPort, _ []byte, reply func([]byte)) {
		time.Sleep(300 * time.Millisecond)
		reply([]byte("slow"))
	})
	quick := nettest.StartDatagrams(t, nettest.ReplyWithName("quick"))
	l := weirtest.Config{Runtime: `drain_timeout = "500ms"`, Levels: [][]string{{slow.Addr()}, {quick.Addr()}}}.UDP(t)
	w := weirtest.Start(t, l.String())
	c := nettest.DialDatagrams(t, "", l.Listen)
	require.Equal(t, "slow", c.RoundTrip("x"))
	l.Levels = weirtest.OneLevel(quick.Addr())
	w.Reload(l.String())
	removed := time.Now()
	for c.RoundTrip("x") == "slow" {
		require.Less(t, nettest.Elapsed(removed), 5*time.Second)
	}
	w.WaitRecord(5*time.Second, "the end of the flow", func(r weirtest.Record) bool { return r.Termination() == "relay cut_server_removed" })
	nettest.Wait(t, 5*time.Second, "an end to all flows", func() bool { return len(w.Records(func(r weirtest.Record) bool { return r.IsEvent("session") })) >= 2 })
}

// A listener removed from the configuration serves its flows until they end, and no others. If it is added again in the
// meantime, it continues as before. A TCP listener on the same port is independent.
func TestUDPListenerRemoved(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	l := weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: `flow_timeout = "4s"`}.UDP(t)
	w := weirtest.Start(t, l.String())
	c := nettest.DialDatagrams(t, "", l.Listen)
	first := c.RoundTrip("x")
	elsewhere := weirtest.Config{Levels: weirtest.OneLevel(host.Addr())}.UDP(t)
	w.Reload(elsewhere.String())
	require.Equal(t, first, c.RoundTrip("x"))
	late := nettest.DialDatagrams(t, "", l.Listen)
	late.Send([]byte("x"))
	_, served := late.Receive(100 * time.Millisecond)
	require.False(t, served, "a removed listener takes new clients")
	w.Reload(l.String())
	require.Equal(t, first, c.RoundTrip("x"))
	late.RoundTrip("x")
	// Without flows it closes immediately.
	w.Reload(elsewhere.String())
	nettest.Wait(t, 20*time.Second, "the port to refuse", func() bool {
		d, err := nettest.TryDialDatagrams("", l.Listen)
		require.NoError(t, err)
		defer d.Close()
		d.Write([]byte("x"))
		d.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = d.Read(make([]byte, 9))
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	// tcp ⇄ udp on one port, then both.
	tcp := weirtest.Config{Listen: l.Listen, Levels: weirtest.OneLevel(host.Addr())}
	w.Reload(tcp.String())
	w.Reload(l.String())
	nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")
	both := l
	both.More = weirtest.ListenerTables("t", l.Listen, host.Addr())
	w.Reload(both.String())
	nettest.DialDatagrams(t, "", l.Listen).RoundTrip("x")
	w.Reload(l.String())
}

// A client that sends at intervals of flow_timeout always gets a reply, whether its flow has just ended or not, unless
// the server takes longer than that.
func TestUDPTimeoutSweep(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	var late atomic.Int64
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		reply(data)
		if sent, _ := strconv.ParseInt(string(data), 10, 64); time.Since(time.Unix(0, sent)) > timeout/2 {
			late.Add(1) // the test's process was held up
		}
	})
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: fmt.Sprintf("flow_timeout = %q", timeout)})
	var group weirtest.Group
	for i := range 50 {
		c := nettest.DialDatagrams(t, "", addr)
		group.Go(func() error {
			for range weirtest.Scaled(20) {
				before := late.Load()
				ask := strconv.FormatInt(time.Now().UnixNano(), 10)
				c.Write([]byte(ask))
				got, ok := c.Receive(3 * time.Second)
				for ok && string(got) != ask { // the answer to one that was late
					got, ok = c.Receive(3 * time.Second)
				}
				if !ok && late.Load() == before {
					return fmt.Errorf("client %v: no answer", c.LocalAddr())
				}
				time.Sleep(timeout - time.Millisecond + time.Duration(i)*40*time.Microsecond)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

// Datagrams that other hosts send to weir's server-side port are not forwarded.
func TestUDPInjection(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	c := nettest.DialDatagrams(t, "", addr)
	towards := strings.Fields(c.RoundTrip("x"))[1]
	stranger := nettest.DialDatagrams(t, "", towards)
	for range 20 {
		stranger.Write([]byte("spoofed"))
	}
	for range 5 {
		require.Equal(t, "a "+towards, c.RoundTrip("x"))
	}
	_, more := c.Receive(20 * time.Millisecond)
	require.False(t, more)
}

// Replies to clients that have closed their port affect no other flow.
func TestUDPClosedClients(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, func(_ netip.AddrPort, data []byte, reply func([]byte)) {
		if data[0] == 's' {
			data := bytes.Clone(data)
			time.AfterFunc(20*time.Millisecond, func() { reply(data) })
			return
		}
		reply(data)
	})
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr())})
	steady := nettest.DialDatagrams(t, "", addr)
	for range 20 {
		for range 20 {
			c, err := nettest.TryDialDatagrams("", addr)
			require.NoError(t, err)
			c.Write([]byte("slow"))
			c.Close()
		}
		require.Equal(t, "x", steady.RoundTrip("x"))
	}
}

// Denied sources get no flow and no reply, and are counted; session limits apply to flows.
func TestUDPAdmission(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Listener: "deny = [\"127.77.0.0/16\"]\nmax_sessions = 4\nmax_flows_per_source = 2\nflow_timeout = \"5s\""})
	denied := nettest.DialDatagrams(t, "127.77.1.1:0", addr)
	denied.Send([]byte("x"))
	_, ok := denied.Receive(100 * time.Millisecond)
	require.False(t, ok)
	w.WaitRecord(5*time.Second, "the refusal", func(r weirtest.Record) bool {
		return r.IsEvent("session_refused") && r.Text("reason") == "denied"
	})
	served := func(from string, within time.Duration) bool {
		c := nettest.DialDatagrams(t, from+":0", addr)
		c.Send([]byte("x"))
		_, ok := c.Receive(within)
		return ok
	}
	comes := func(from string) {
		t.Helper()
		nettest.DialDatagrams(t, from+":0", addr).RoundTrip("x")
	}
	comes("127.0.0.1")
	comes("127.0.0.1")
	require.False(t, served("127.0.0.1", 200*time.Millisecond), "a third flow of one source")
	comes("127.0.0.2")
	comes("127.0.0.3")
	require.False(t, served("127.0.0.4", 200*time.Millisecond), "a fifth flow")
	require.Zero(t, host.Received()-4)
	nettest.Wait(t, 15*time.Second, "room", func() bool { return served("127.0.0.5", time.Second) })
}

// Without any answering server there is no reply, no busy loop and no flood of log lines; a server that returns is
// used.
func TestUDPNoServer(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	host.Down()
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.ReserveDatagrams(t), host.Addr())})
	c := nettest.DialDatagrams(t, "", addr)
	before := w.Process().CPUTime(t)
	begin := time.Now()
	for range 200 {
		for range 50 {
			c.Write([]byte("x"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	share := float64(w.Process().CPUTime(t)-before) / float64(time.Since(begin))
	require.Less(t, share, 0.5)
	_, answered := c.Receive(10 * time.Millisecond)
	require.False(t, answered)
	require.LessOrEqual(t, len(w.Warnings()), 3+int(time.Since(begin).Seconds()))
	host.Up()
	nettest.Wait(t, 5*time.Second, "an answer", func() bool {
		c.Write([]byte("x"))
		_, ok := c.Receive(100 * time.Millisecond)
		return ok
	})
}

// Each datagram to the server starts with a header of its own; a datagram that does not fit behind it is dropped.
func TestUDPSendProxy(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"", nettest.ReserveOn(t, "::1")} {
		host := nettest.StartDatagrams(t, nettest.EchoDatagram)
		_, addr := weirtest.ServeUDP(t, weirtest.Config{Listen: listen, Levels: weirtest.OneLevel(host.Addr()), Cluster: `send_proxy = "v2"`})
		c := nettest.DialDatagrams(t, "", addr)
		at := c.LocalAddr().(*net.UDPAddr).AddrPort()
		check := func(payload, got []byte) {
			h, rest, err := proxy.ParseDatagram(got)
			require.NoError(t, err)
			require.Equal(t, payload, append([]byte{}, rest...))
			require.Equal(t, at, h.Source)
			require.Equal(t, netip.MustParseAddrPort(addr), h.Dest)
			require.Equal(t, proxy.Datagram, h.Transport)
			require.False(t, h.Local)
		}
		for _, n := range []int{0, 1, 1000, 9000} {
			payload := bytes.Repeat([]byte{7}, n)
			c.Send(payload)
			got, ok := c.Receive(5 * time.Second)
			require.True(t, ok)
			check(payload, got)
		}
		for range 20 {
			c.Send(bytes.Repeat([]byte{9}, 300))
		}
		for range 20 {
			got, ok := c.Receive(5 * time.Second)
			require.True(t, ok)
			check(bytes.Repeat([]byte{9}, 300), got)
		}
		c.Send(make([]byte, 65507))
		_, ok := c.Receive(100 * time.Millisecond)
		require.False(t, ok)
		c.Send([]byte("still"))
		got, _ := c.Receive(5 * time.Second)
		check([]byte("still"), got)
	}
}

// The client in the header counts for the flow, the limits, the log and the server.
func TestUDPAcceptProxy(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.EchoDatagram)
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Cluster: `send_proxy = "v2"`,
		Listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]\ndeny = [\"192.0.2.66\"]\nmax_flows_per_source = 1\nflow_timeout = \"5s\""})
	dest := netip.MustParseAddrPort("198.51.100.1:53")
	with := func(client, payload string, local bool, tlvs ...byte) []byte {
		h := proxy.Header{Version: 2, Local: local, Transport: proxy.Datagram, Source: netip.MustParseAddrPort(client), Dest: dest, TLVs: tlvs}
		return append(h.Append(nil), payload...)
	}
	c := nettest.DialDatagrams(t, "", addr)
	ask := func(datagram []byte) (proxy.Header, string) {
		c.Send(datagram)
		got, ok := c.Receive(5 * time.Second)
		require.True(t, ok)
		h, rest, err := proxy.ParseDatagram(got)
		require.NoError(t, err)
		return h, string(rest)
	}
	tlv := []byte{0x02, 0, 3, 'w', 'w', 'w'}
	for range 3 { // two clients through one socket are two flows
		for _, client := range []string{"192.0.2.1:1000", "192.0.2.2:2000", "[2001:db8::1]:3000"} {
			if client[0] == '[' {
				dest = netip.MustParseAddrPort("[2001:db8::2]:53")
			} else {
				dest = netip.MustParseAddrPort("198.51.100.1:53")
			}
			h, payload := ask(with(client, "hello", false, tlv...))
			require.Equal(t, "hello", payload)
			require.Equal(t, client, h.Source.String())
			require.Equal(t, dest, h.Dest)
			value, _ := h.TLV(byte(proxyproto.PP2_TYPE_AUTHORITY))
			require.Equal(t, "www", string(value))
		}
	}
	dest = netip.MustParseAddrPort("198.51.100.1:53")
	h, payload := ask(with("192.0.2.9:1", "", true)) // of the proxy itself
	require.Empty(t, payload)
	require.True(t, h.Local)
	require.Equal(t, c.LocalAddr().String(), h.Source.String())
	seen := host.Received()
	for _, bad := range [][]byte{nil, []byte("no header"), with("192.0.2.3:3", "x", false)[:20], with("192.0.2.66:66", "denied", false),
		with("192.0.2.1:1001", "a second flow of one client", false), []byte("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\nx")} {
		c.Send(bad)
	}
	spoiled := with("192.0.2.4:4", "x", false)
	spoiled[len(spoiled)-2] ^= 1 // of the checksum
	c.Send(spoiled)
	other := nettest.DialDatagrams(t, "127.0.0.2:0", addr)
	other.Send(with("192.0.2.5:5", "not trusted", false))
	_, ok := c.Receive(100 * time.Millisecond)
	require.False(t, ok)
	require.Equal(t, seen, host.Received())
	for _, client := range []string{"192.0.2.1:1000", "192.0.2.2:2000", "[2001:db8::1]:3000"} {
		w.WaitRecord(15*time.Second, "the record of "+client, func(r weirtest.Record) bool { return r.Text("client") == client })
	}
}

// Servers are reached from the configured source address, or from the client's own.
func TestUDPSource(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	_, addr := weirtest.ServeUDP(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr()), Cluster: `source = "127.0.0.9"`})
	require.Contains(t, nettest.DialDatagrams(t, "", addr).RoundTrip("x"), "a 127.0.0.9:")

	ns := nettest.NewNamespace(t)
	in := ns.StartDatagrams("127.0.0.1:9000", nettest.ReplyWithName("b"))
	l := weirtest.Config{Listen: "127.0.0.1:5300", Levels: weirtest.OneLevel(in.Addr()), Cluster: `source = "client"`}.UDP(t)
	weirtest.Options{Namespace: ns}.Start(t, l.String())
	require.Contains(t, ns.DialDatagrams("127.44.0.1:0", l.Listen).RoundTrip("x"), "b 127.44.0.1:")
}

// A client whose datagram arrives while weir is stopped keeps its flow, although flow_timeout passed meanwhile.
func TestDatagramDuringPauseIsInTime(t *testing.T) {
	t.Parallel()
	host := nettest.StartDatagrams(t, nettest.ReplyWithName("a"))
	w, addr := weirtest.ServeUDP(t, weirtest.Config{Listener: `flow_timeout = "4s"`, Levels: weirtest.OneLevel(host.Addr())})
	var clients []*nettest.DatagramClient
	var ports []string
	for range 20 {
		c := nettest.DialDatagrams(t, "", addr)
		clients, ports = append(clients, c), append(ports, c.RoundTrip("1"))
	}
	w.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	for _, c := range clients {
		c.Send([]byte("2"))
	}
	time.Sleep(5*time.Second - time.Since(stopped))
	w.Signal(syscall.SIGCONT)
	for i, c := range clients {
		data, ok := c.Receive(5 * time.Second)
		require.True(t, ok)
		require.Equal(t, ports[i], string(data))
	}
}

// proxy_tlvs limits what a datagram's header passes on; the checksum is left out where it does not fit.
func TestProxyTLVsOfDatagrams(t *testing.T) {
	t.Parallel()
	got := make(chan string, 10)
	record := func(_ netip.AddrPort, data []byte, _ func([]byte)) { got <- string(data) }
	block := "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x16\x2e"
	checksum := nettest.ProxyTLV(3, "\x00\x00\x00\x00")
	alpn, own := nettest.ProxyTLV(1, "h2"), nettest.ProxyTLV(0xe5, "own")
	large := nettest.ProxyTLV(0xe0, strings.Repeat("x", 4096-16-12-3))
	for _, c := range []struct{ words, tlvs, want string }{
		{"", alpn + own, nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x12, block, alpn, own, checksum))},
		{"proxy_tlvs=0xe5", alpn + own, nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x12, block, own, checksum))},
		{"proxy_tlvs=none", alpn + own, nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x12, block, checksum))},
		{"", large, nettest.ProxyV2(0x21, 0x12, block, large)},
	} {
		host := nettest.StartDatagrams(t, record)
		_, addr := weirtest.ServeUDP(t, weirtest.Config{
			Listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\"]", Levels: weirtest.OneLevel(host.Addr() + " send_proxy=v2 " + c.words),
		})
		nettest.DialDatagrams(t, "", addr).Send([]byte(nettest.ProxyV2(0x21, 0x12, block, c.tlvs) + "payload"))
		select {
		case data := <-got:
			require.Equal(t, c.want+"payload", data)
		case <-time.After(5 * time.Second):
			require.Fail(t, "no datagram")
		}
	}
}
