package tcp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Several source addresses are used in turn, over all event loops.
func TestSourceAddressesTakeTurns(t *testing.T) {
	t.Parallel()
	rec := &nettest.Recorder{Banner: "x", CloseSide: true}
	host := nettest.Start(t, rec.Handle)
	_, addr := weirtest.Serve(t, weirtest.Config{
		Runtime: "loops = 2", Cluster: `source = ["127.0.0.2", "127.0.1.4/30", "::1"]`, Levels: weirtest.OneLevel(host.Addr()),
	})
	for range 20 {
		text, _ := weirtest.ReadSession(addr)
		require.Equal(t, "x", text)
	}
	count := map[string]int{}
	for _, v := range rec.Conns() {
		count[v.From.Addr().String()]++
	}
	require.Equal(t, map[string]int{"127.0.0.2": 4, "127.0.1.4": 4, "127.0.1.5": 4, "127.0.1.6": 4, "127.0.1.7": 4}, count)
}

// A source address without free ports, or missing on this host, is skipped. If all are, the client is closed
// immediately, no failure is counted for the server, and service recovers when ports are free.
func TestSourceAddressesOutOfPorts(t *testing.T) {
	t.Parallel()
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Sysctl("ipv4/ip_local_port_range", "40000 40007")
	ns.Start("127.0.0.1:7001", nettest.Greet("1", nettest.Echo))
	w := weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "10.99.0.1:7000", Cluster: "max_fails = 1\nsource = \"127.0.0.5,192.0.2.1,127.0.0.8/31\"", Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	var open []*net.TCPConn
	for range 24 {
		c := clients.Dial("10.99.0.1:7000")
		require.Equal(t, "1", weirtest.ReadByte(t, c))
		open = append(open, c)
	}
	before := w.Process().CPUTime(t)
	for range 8 {
		begin := time.Now()
		c, err := clients.TryDial("10.99.0.1:7000")
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		require.Equal(t, nettest.Reset, nettest.StreamEndOf(err))
		require.Less(t, nettest.Elapsed(begin), weirtest.Bound(time.Second))
	}
	require.Less(t, w.Process().CPUTime(t)-before, 500*time.Millisecond)
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }) {
		require.Equal(t, "dial local_shortage", r.Termination())
	}
	for _, c := range open {
		nettest.Abort(c)
	}
	nettest.Wait(t, 5*time.Second, "ports to be free again", func() bool {
		c, err := clients.TryDial("10.99.0.1:7000")
		if err != nil {
			return false
		}
		defer nettest.Abort(c)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	})
}

// A missing source address is no failure of the server; the log shows the cause at a limited rate.
func TestSourceAddressMissingOnHost(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.SendText("A"))
	w, addr, a := weirtest.ServeAPI(t, weirtest.Config{Cluster: "max_fails = 1", Levels: weirtest.OneLevel(host.Addr() + " name=A source=192.0.2.1")})
	begin := time.Now()
	for range 20 {
		_, end := weirtest.ReadSession(addr)
		require.Equal(t, nettest.Reset, end)
	}
	w.WaitRecord(5*time.Second, "a complaint", func(r weirtest.Record) bool {
		return r.Text("level") == "WARN" && strings.HasPrefix(r.Text("msg"), "cannot dial") && r.Text("server") == "A" &&
			strings.Contains(r.Text("error"), "cannot assign requested address")
	})
	require.LessOrEqual(t, len(w.Warnings()), 1+int(time.Since(begin).Seconds()))
	require.Equal(t, "up", a.ServerState(0))
	require.Zero(t, host.Accepted())
}

// routedNetworks is a client network and a server network, connected by the host of a weir.
type routedNetworks struct{ client, weir, server *nettest.Namespace }

const (
	clientNet = "10.98.1" // .1 is weir's host, .2 the client's
	serverNet = "10.98.2" // .1 is weir's host, .2 the server's
)

func newRoutedNetworks(t *testing.T) routedNetworks {
	p := routedNetworks{nettest.NewNamespace(t), nettest.NewNamespace(t), nettest.NewNamespace(t)}
	for _, ns := range []*nettest.Namespace{p.client, p.weir, p.server} {
		ns.Sysctl("ipv6/conf/default/accept_dad", "0") // no wait for link-local addresses, which neighbor discovery needs
	}
	p.weir.Connect(p.client, clientNet+".1", clientNet+".2")
	p.weir.Connect(p.server, serverNet+".1", serverNet+".2")
	p.weir.Exec("ip", "address", "add", "fd98:1::1/64", "dev", "eth0", "nodad")
	p.client.Exec("ip", "address", "add", "fd98:1::2/64", "dev", "eth0", "nodad")
	p.weir.Exec("ip", "address", "add", "fd98:2::1/64", "dev", "eth1", "nodad")
	p.server.Exec("ip", "address", "add", "fd98:2::2/64", "dev", "eth0", "nodad")
	p.server.Exec("ip", "route", "add", "default", "via", serverNet+".1")
	p.server.Exec("ip", "-6", "route", "add", "default", "via", "fd98:2::1")
	return p
}

// rules returns the policy rules of weir's host that are not the kernel's, and the routes that lead to the host itself.
func (p routedNetworks) rules() string {
	own := func(text, pattern string) []string { return regexp.MustCompile(pattern).FindAllString(text, -1) }
	var all []string
	for _, family := range []string{"-4", "-6"} {
		all = append(all, own(p.weir.Exec("ip", family, "rule"), `(?m)^119\d\d:.*$`)...)
		all = append(all, own(p.weir.Exec("ip", family, "route", "show", "table", "all"), `(?m)^local default.*$`)...)
	}
	for i, line := range all {
		all[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(all, "\n")
}

const (
	replyRule4  = "11900: from 10.98.2.2 ipproto tcp sport 7001 lookup 11900 proto 119"
	replyRule6  = "11900: from fd98:2::2 ipproto tcp sport 7001 lookup 11900 proto 119"
	localRoute4 = "local default dev lo table 11900 proto 119 scope host"
)

// A server that is dialed from its clients' own addresses sees them, IPv4 and IPv6, and its replies return through
// weir. The policy rules for that are added and removed.
func TestTransparent(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	p.server.StartRedis(serverNet+".2:7001", "--protected-mode", "no")
	rec := &nettest.Recorder{Banner: "six", CloseSide: true}
	p.server.Start("[fd98:2::2]:7001", rec.Handle)
	plain := weirtest.Config{Listen: clientNet + ".1:7000", Levels: weirtest.OneLevel(serverNet + ".2:7001")}
	four := plain
	four.Cluster = `source = "client"`
	six := "[[listener]]\nname = \"six\"\naddress = \"[fd98:1::1]:7000\"\ncluster = \"six\"\n" +
		"[cluster.six]\nsource = \"client\"\n[[cluster.six.level]]\nservers = [\"[fd98:2::2]:7001\"]\n"
	w := weirtest.Options{Namespace: p.weir}.Start(t, plain.String())
	require.Empty(t, p.rules())
	w.Reload(four.String())
	require.Equal(t, replyRule4+"\n"+localRoute4, p.rules())

	c := p.client.Dial(clientNet + ".1:7000")
	fmt.Fprintf(c, "CLIENT LIST\r\n")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	reply := bufio.NewReader(c)
	_, err := reply.ReadString('\n')
	require.NoError(t, err)
	line, err := reply.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, " addr="+clientNet+".2:")

	four.More = six
	w.Reload(four.String())
	require.Contains(t, p.rules(), replyRule6)
	other := p.client.Dial("[fd98:1::1]:7000")
	data, end := nettest.ReadToEnd(other, 5*time.Second)
	other.Close()
	require.Equal(t, "six", string(data))
	require.Equal(t, nettest.EOF, end)
	require.Equal(t, "fd98:1::2", rec.Conns()[0].From.Addr().String())

	// The rules stay while a session needs them, and are removed with the last one.
	w.Reload(plain.String())
	nettest.Wait(t, 10*time.Second, "the IPv6 rule to go", func() bool { return !strings.Contains(p.rules(), replyRule6) })
	require.Contains(t, p.rules(), replyRule4)
	fmt.Fprintf(c, "PING\r\n")
	nettest.Wait(t, 5*time.Second, "the old session's reply", func() bool {
		line, err := reply.ReadString('\n')
		require.NoError(t, err)
		return line == "+PONG\r\n"
	})
	c.Close()
	nettest.Wait(t, 20*time.Second, "the rules to go", func() bool { return p.rules() == "" })
}

// Half-closes, resets and bulk transfers work in transparent sessions.
func TestTransparentStreams(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	duplex := &nettest.Duplex{}
	p.server.Start(serverNet+".2:7001", duplex.Handle)
	p.server.Start(serverNet+".2:7002", nettest.ResetAfter(1000, 20*time.Millisecond))
	rec := &nettest.Recorder{Banner: "x"}
	p.server.Start(serverNet+".2:7003", rec.Handle)
	cluster := `source = "client"`
	l := weirtest.Config{Listen: clientNet + ".1:7001", Cluster: cluster, Levels: weirtest.OneLevel(serverNet + ".2:7001")}
	for _, port := range []string{"7002", "7003"} {
		l.More += strings.Replace(weirtest.ListenerTables("c"+port, clientNet+".1:"+port, serverNet+".2:"+port), "[cluster.c"+port+"]\n", "[cluster.c"+port+"]\n"+cluster+"\n", 1)
	}
	w := weirtest.Options{Namespace: p.weir}.Start(t, l.String())
	for i := range uint64(8) {
		require.NoError(t, duplex.Run(p.client.Dial(clientNet+".1:7001"), i, int64(i)*300_000, int64(8-i)*300_000))
	}
	nettest.Wait(t, 5*time.Second, "the server's side of all sessions", func() bool { return duplex.Good() == 8 })
	require.Empty(t, duplex.Errs())

	c := p.client.Dial(clientNet + ".1:7002")
	data, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Len(t, data, 1000)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "relay server_reset", w.SessionRecord(c).Termination())

	c = p.client.Dial(clientNet + ".1:7003")
	require.Equal(t, "x", weirtest.ReadByte(t, c))
	_, err := c.Write(make([]byte, 1000))
	require.NoError(t, err)
	nettest.Abort(c)
	visit := rec.WaitEnd(t, 0, 5*time.Second)
	require.EqualValues(t, 1000, visit.Bytes)
	require.Equal(t, nettest.Reset, visit.End)
	require.Equal(t, clientNet+".2", visit.From.Addr().String())
}

// Bytes of a session that both sides have closed are delivered even if weir stops at that moment, before the rules are
// removed.
func TestTransparentLastBytesOnStop(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	rec := &nettest.Recorder{CloseSide: true, Banner: "x", Pause: 300 * time.Millisecond, Keep: 1}
	p.server.Start(serverNet+".2:7001", rec.Handle)
	w := weirtest.Options{Namespace: p.weir}.Start(t, weirtest.Config{
		Listen: clientNet + ".1:7000", Cluster: `source = "client"`, Levels: weirtest.OneLevel(serverNet + ".2:7001"),
	}.String())
	c := p.client.Dial(clientNet + ".1:7000")
	require.Equal(t, "x", weirtest.ReadByte(t, c))
	const size = 1 << 20
	_, err := c.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err)
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(10*time.Second))
	visit := rec.WaitEnd(t, 0, 5*time.Second)
	require.EqualValues(t, size, visit.Bytes)
	require.Equal(t, nettest.EOF, visit.End)
	require.Empty(t, p.rules())
}

// The next start removes the rules of a killed weir. Foreign rules and the rules of a second weir are kept. Rules that
// are flushed by an administrator are restored.
func TestTransparentKeepsForeignRules(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	p.server.Start(serverNet+".2:7001", nettest.SendText("ok"))
	p.weir.Exec("ip", "rule", "add", "from", serverNet+".2", "sport", "7001", "ipproto", "tcp", "lookup", "main", "priority", "11900")
	foreign := "11900: from 10.98.2.2 ipproto tcp sport 7001 lookup main"
	l := weirtest.Config{Listen: clientNet + ".1:7000", Cluster: `source = "client"`, Levels: weirtest.OneLevel(serverNet + ".2:7001")}
	first := weirtest.Options{Namespace: p.weir}.Start(t, l.String())
	first.Signal(syscall.SIGKILL)
	first.WaitExit(15 * time.Second)
	require.Equal(t, foreign+"\n"+replyRule4+"\n"+localRoute4, p.rules())

	plain := l
	plain.Cluster = ""
	second := weirtest.Options{Namespace: p.weir}.Start(t, plain.String())
	require.Equal(t, foreign, p.rules())
	second.Reload(l.String())
	l.Listen = clientNet + ".1:7009"
	beside := weirtest.Options{Namespace: p.weir}.Start(t, l.String())
	require.Contains(t, p.rules(), "11901: from 10.98.2.2 ipproto tcp sport 7001 lookup 11901 proto 119")
	second.Signal(syscall.SIGTERM)
	require.Zero(t, second.WaitExit(15*time.Second))
	require.NotContains(t, p.rules(), replyRule4)
	require.Contains(t, p.rules(), "lookup 11901")

	p.weir.Exec("ip", "rule", "del", "priority", "11901")
	nettest.Wait(t, 10*time.Second, "the rule to come back", func() bool { return strings.Contains(p.rules(), "lookup 11901") })
	p.weir.Exec("ip", "rule", "del", "priority", "11900")
	data, _ := nettest.ReadToEnd(p.client.Dial(clientNet+".1:7009"), 5*time.Second)
	require.Equal(t, "ok", string(data))
	require.Len(t, beside.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("msg"), "restored") }), 1)
}

// without runs weir without some capabilities of root.
func without(capabilities string) []string {
	return []string{"setpriv", "--bounding-set=" + capabilities}
}

// Without the capability to dial from client addresses, weir names the missing capability: it does not start and
// rejects a reload. With it, but without the right to change the kernel's rules, weir uses an administrator's rules.
func TestTransparentNeedsCapabilities(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	rec := &nettest.Recorder{Banner: "x", CloseSide: true}
	p.server.Start(serverNet+".2:7001", rec.Handle)
	l := weirtest.Config{Listen: clientNet + ".1:7000", Cluster: `source = "client"`, Levels: weirtest.OneLevel(serverNet + ".2:7001")}
	for drop, want := range map[string]string{"-net_admin": "missing capability CAP_NET_ADMIN", "-net_admin,-net_raw": "CAP_NET_RAW"} {
		w := weirtest.Options{Namespace: p.weir, Wrapper: without(drop)}.StartUnready(t, l.String())
		require.Equal(t, 2, w.WaitExit(10*time.Second))
		require.Contains(t, w.Output(), `source = \"client\"`)
		require.Contains(t, w.Output(), want)
	}
	plain := l
	plain.Cluster = ""
	w := weirtest.Options{Namespace: p.weir, Wrapper: without("-net_admin")}.Start(t, plain.String())
	require.Contains(t, w.FailReload(l.String()).Text("error"), "missing capability CAP_NET_ADMIN")
	require.Empty(t, p.rules())
	data, _ := nettest.ReadToEnd(p.client.Dial(l.Listen), 5*time.Second)
	require.Equal(t, "x", string(data))
	require.Equal(t, serverNet+".1", rec.Conns()[0].From.Addr().String())

	p.weir.Exec("ip", "rule", "add", "from", serverNet+".0/24", "lookup", "77")
	p.weir.Exec("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "77")
	w.Reload(l.String())
	data, _ = nettest.ReadToEnd(p.client.Dial(l.Listen), 5*time.Second)
	require.Equal(t, "x", string(data))
	require.Equal(t, clientNet+".2", rec.Conns()[1].From.Addr().String())
}

// A server of the other address family is skipped, without a failure being counted. A client on weir's own host appears
// with an address of the host.
func TestTransparentOtherFamily(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	six, four := &nettest.Recorder{Banner: "6", CloseSide: true}, &nettest.Recorder{Banner: "4", CloseSide: true}
	p.server.Start("[fd98:2::2]:7001", six.Handle)
	p.server.Start(serverNet+".2:7001", four.Handle)
	w := weirtest.Options{Namespace: p.weir}.Start(t, weirtest.Config{
		Listen: "[::]:7000", Cluster: "max_fails = 1\nsource = \"client\"", Levels: weirtest.OneLevel("[fd98:2::2]:7001", serverNet+".2:7001"),
	}.String())
	told := func(ns *nettest.Namespace, addr string) string {
		data, _ := nettest.ReadToEnd(ns.Dial(addr), 5*time.Second)
		return string(data)
	}
	for range 4 {
		require.Equal(t, "4", told(p.client, clientNet+".1:7000"))
		require.Equal(t, "6", told(p.client, "[fd98:1::1]:7000"))
	}
	skipped := func() int {
		return len(w.Records(func(r weirtest.Record) bool { return strings.Contains(r.Text("msg"), "client's own address") }))
	}
	nettest.Wait(t, 5*time.Second, "the records of both servers", func() bool { return skipped() >= 2 })
	seen := told(p.weir, "127.0.0.1:7000") + told(p.weir, "127.0.0.1:7000")
	require.ElementsMatch(t, []byte("46"), []byte(seen))
	require.Equal(t, serverNet+".1", four.Conns()[4].From.Addr().String())
	require.Equal(t, "fd98:2::1", six.Conns()[4].From.Addr().String())
	require.Equal(t, 2, skipped(), "once for each server")
}

// Sessions that move to a new process keep their return path, also for a server that the configuration no longer has.
func TestTransparentSessionsSurviveUpgrade(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	for _, port := range []string{"7001", "7002"} {
		p.server.Start(serverNet+".2:"+port, nettest.Greet("x", nettest.Echo))
	}
	l := weirtest.Config{
		Runtime: "drain_timeout = \"1h\"", Listen: clientNet + ".1:7000", Cluster: `source = "client"`,
		Levels: weirtest.OneLevel(serverNet+".2:7001", serverNet+".2:7002"),
	}
	w := weirtest.Options{Namespace: p.weir, Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	a, b := p.client.Dial(l.Listen), p.client.Dial(l.Listen)
	require.Equal(t, "xx", weirtest.ReadByte(t, a)+weirtest.ReadByte(t, b))
	l.Levels = weirtest.OneLevel(serverNet + ".2:7001")
	w.Reload(l.String())
	for range 2 {
		w.Upgrade()
		require.NoError(t, weirtest.PingPong(a))
		require.NoError(t, weirtest.PingPong(b))
	}
	require.Contains(t, p.rules(), "sport 7002")
	a.Close()
	b.Close()
	nettest.Wait(t, 20*time.Second, "the rule of the server that is gone to go", func() bool { return !strings.Contains(p.rules(), "sport 7002") })
	require.Contains(t, p.rules(), "sport 7001")
}

// Datagrams come from the client's own address too, and replies return.
func TestTransparentDatagrams(t *testing.T) {
	t.Parallel()
	p := newRoutedNetworks(t)
	seen := make(chan string, 2)
	answer := func(from netip.AddrPort, data []byte, reply func([]byte)) {
		seen <- from.Addr().Unmap().String()
		reply(data)
	}
	p.server.StartDatagrams(serverNet+".2:7001", answer)
	p.server.StartDatagrams("[fd98:2::2]:7001", answer)
	l := weirtest.Config{
		Listen: clientNet + ".1:7000", Listener: "protocol = \"udp\"\nflow_timeout = \"2s\"", Cluster: `source = "client"`, Levels: weirtest.OneLevel(serverNet + ".2:7001"),
		More: strings.Replace(strings.Replace(weirtest.ListenerTables("six", "[fd98:1::1]:7000", "[fd98:2::2]:7001"),
			"[[listener]]\n", "[[listener]]\nprotocol = \"udp\"\nflow_timeout = \"2s\"\n", 1), "[cluster.six]\n", "[cluster.six]\nsource = \"client\"\n", 1),
	}
	weirtest.Options{Namespace: p.weir}.Start(t, l.String())
	require.Contains(t, p.rules(), "11900: from 10.98.2.2 ipproto udp sport 7001 lookup 11900")
	require.Equal(t, "hello", p.client.DialDatagrams(clientNet+".2:0", clientNet+".1:7000").RoundTrip("hello"))
	require.Equal(t, clientNet+".2", <-seen)
	require.Equal(t, "hello", p.client.DialDatagrams("[fd98:1::2]:0", "[fd98:1::1]:7000").RoundTrip("hello"))
	require.Equal(t, "fd98:1::2", <-seen)
}

// UDP flows are not limited by the ports of one local address.
func TestSourceAddressesOfDatagrams(t *testing.T) {
	t.Parallel()
	ns, clients := nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(clients, "10.99.0.1", "10.99.0.2")
	ns.Sysctl("ipv4/ip_local_port_range", "40000 40007")
	ns.StartDatagrams("127.0.0.1:7001", nettest.EchoDatagram)
	weirtest.Options{Namespace: ns}.Start(t, weirtest.Config{
		Listen: "10.99.0.1:7000", Listener: "protocol = \"udp\"\nflow_timeout = \"2s\"", Cluster: `source = "127.0.0.5,192.0.2.1,127.0.0.6"`, Levels: weirtest.OneLevel("127.0.0.1:7001"),
	}.String())
	for range 12 {
		require.Equal(t, "hello", clients.DialDatagrams("10.99.0.2:0", "10.99.0.1:7000").RoundTrip("hello"))
	}
}

// A weir without root's rights keeps the capability to add and remove the rules.
func TestTransparentAsOtherUser(t *testing.T) {
	t.Parallel()
	program, err := weirtest.StaticProgram()
	require.NoError(t, err)
	p := newRoutedNetworks(t)
	rec := &nettest.Recorder{Banner: "x", CloseSide: true}
	p.server.Start(serverNet+".2:7001", rec.Handle)
	w := weirtest.Options{Namespace: p.weir, Program: program}.Start(t, weirtest.Config{
		Runtime: `user = "nobody"`, Listen: clientNet + ".1:7000", Cluster: `source = "client"`, Levels: weirtest.OneLevel(serverNet + ".2:7001"),
	}.String())
	c := p.client.Dial(clientNet + ".1:7000")
	data, _ := nettest.ReadToEnd(c, 5*time.Second)
	c.Close()
	require.Equal(t, "x", string(data))
	require.Equal(t, clientNet+".2", rec.Conns()[0].From.Addr().String())
	p.weir.Exec("ip", "rule", "del", "priority", "11900")
	nettest.Wait(t, 10*time.Second, "the rule to come back", func() bool { return strings.Contains(p.rules(), replyRule4) })
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(10*time.Second))
	require.Empty(t, p.rules())
}
