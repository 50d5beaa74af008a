// Routes of a listener: by TLS server name, protocol, address and weight.

package tcp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// routed returns a configuration with routes, in front of one server for each cluster: it sends the name of its cluster,
// one letter, and then echoes. Clients that match no route go to c.
func routed(t *testing.T, listener, clusters string) weirtest.Config {
	t.Helper()
	config := weirtest.Config{Listener: listener}
	for _, name := range strings.Split(clusters, "") {
		addr := nettest.Start(t, nettest.Greet(name, nettest.Echo)).Addr()
		if name == "c" {
			config.Levels = weirtest.OneLevel(addr)
		} else {
			config.More += clusterTable(name, addr)
		}
	}
	return config
}

func clusterTable(name, server string) string {
	return fmt.Sprintf("[cluster.%s]\n[[cluster.%[1]s.level]]\nservers = [%q]\n", name, server)
}

const nameRoutes = `
[[listener.route]]
sni = ["db.example.com", "*.shop.example.com"]
cluster = "a"
[[listener.route]]
name = "by-protocol"
alpn = ["postgresql"]
cluster = "b"
`

// clientHello returns the first message of a TLS client with a server name and protocols, padded to a size without the
// headers of records, in records of at most a size.
func clientHello(name string, size, record int, protocols ...string) []byte {
	vector16 := func(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }
	extension := func(typ uint16, data string) string {
		return string(binary.BigEndian.AppendUint16(nil, typ)) + vector16(data)
	}
	extensions := extension(0x2a2a, "") // GREASE
	if name != "" {
		extensions += extension(0, vector16("\x00"+vector16(name)))
	}
	if len(protocols) > 0 {
		list := "\x02\x3a\x3a"
		for _, p := range protocols {
			list += string([]byte{byte(len(p))}) + p
		}
		extensions += extension(16, vector16(list))
	}
	const fixed = 4 + 2 + 32 + 1 + 4 + 2 + 2
	if missing := size - fixed - len(extensions) - 4; missing >= 0 {
		extensions += extension(21, strings.Repeat("\x00", missing))
	}
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00" + vector16(extensions)
	message := "\x01" + string([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}) + body
	var out []byte
	for len(message) > 0 {
		n := min(record, len(message))
		out = append(append(out, 22, 3, 1, byte(n>>8), byte(n)), message[:n]...)
		message = message[n:]
	}
	return out
}

// oneRecord is the size of records for messages that are not split.
const oneRecord = 1 << 14

// expectRoute reads the cluster's letter and the echo of what was sent.
func expectRoute(t *testing.T, c net.Conn, cluster string, sent []byte) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(weirtest.Bound(10 * time.Second)))
	require.Equal(t, cluster, weirtest.ReadByte(t, c))
	got := make([]byte, len(sent))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(sent, got), "the server gets every byte unchanged")
}

// Hand-made messages reach the cluster of the first route that matches, with every byte, however they are fragmented.
func TestRoutesByHello(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, routed(t, nameRoutes, "abc"))
	for _, x := range []struct {
		what, cluster, route, sni string
		hello                     []byte
	}{
		{"exact name", "a", "route[0]", "db.example.com", clientHello("db.example.com", 0, oneRecord)},
		{"upper case and a final dot", "a", "route[0]", "db.example.com", clientHello("DB.Example.COM.", 0, oneRecord)},
		{"one label", "a", "route[0]", "x.shop.example.com", clientHello("x.shop.example.com", 0, oneRecord)},
		{"two labels", "a", "route[0]", "y.x.shop.example.com", clientHello("y.x.shop.example.com", 0, oneRecord)},
		{"no label", "c", "default", "shop.example.com", clientHello("shop.example.com", 0, oneRecord)},
		{"no dot before the suffix", "c", "default", "xshop.example.com", clientHello("xshop.example.com", 0, oneRecord)},
		{"protocol", "b", "by-protocol", "", clientHello("", 0, oneRecord, "h2", "postgresql")},
		{"the first route wins", "a", "route[0]", "db.example.com", clientHello("db.example.com", 0, oneRecord, "postgresql")},
		{"another protocol", "c", "default", "x.example", clientHello("x.example", 0, oneRecord, "h2")},
		{"no extension with a name", "c", "default", "", clientHello("", 0, oneRecord)},
		{"records of a byte", "a", "route[0]", "db.example.com", clientHello("db.example.com", 300, 1)},
		{"records of 100 bytes", "b", "by-protocol", "x.example", clientHello("x.example", 2000, 100, "postgresql")},
		{"16 kB", "a", "route[0]", "db.example.com", clientHello("db.example.com", 16<<10, oneRecord)},
		{"4 kB in records of a byte", "a", "route[0]", "db.example.com", clientHello("db.example.com", 4000, 1)},
		{"16 kB in small records", "a", "route[0]", "db.example.com", clientHello("db.example.com", 16<<10, 20)},
		{"plain HTTP", "c", "default", "", []byte("GET / HTTP/1.1\r\nHost: db.example.com\r\n\r\n")},
		{"an SSLv2 hello", "c", "default", "", []byte("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10")},
		{"one byte", "c", "default", "", []byte("x")},
		{"an alert", "c", "default", "", []byte("\x15\x03\x01\x00\x02\x02\x28")},
		{"a malformed hello", "c", "default", "", bytes.Replace(clientHello("db.example.com", 0, oneRecord), []byte("\x00\x0edb"), []byte("\xff\x0edb"), 1)},
	} {
		c := nettest.Dial(t, addr)
		_, err := c.Write(x.hello)
		require.NoError(t, err)
		expectRoute(t, c, x.cluster, x.hello)
		require.NoError(t, weirtest.PingPong(c), x.what)
		c.CloseWrite()
		r := w.SessionRecord(c)
		require.Equal(t, []string{x.route, x.cluster, x.sni, "relay client_closed"}, []string{r.Text("route"), r.Text("cluster"), r.Text("sni"), r.Termination()}, x.what)
	}
	require.Empty(t, w.Warnings())
}

// A ClientHello may arrive byte by byte, and weir does not read it again for every byte.
func TestRouteOfFragmentedHello(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, routed(t, nameRoutes, "abc"))
	for _, hello := range [][]byte{clientHello("db.example.com", 0, oneRecord), clientHello("db.example.com", 0, 3)} {
		c := nettest.Dial(t, addr)
		c.SetNoDelay(true)
		for i := range hello {
			_, err := c.Write(hello[i : i+1])
			require.NoError(t, err)
		}
		expectRoute(t, c, "a", hello)
		require.NoError(t, weirtest.PingPong(c)) // the socket reports single bytes again
		c.Close()
		require.Equal(t, "db.example.com", w.SessionRecord(c).Text("sni"))
	}
}

// Real TLS clients are routed by name and protocol, and their handshakes succeed end to end.
func TestRoutesOfRealTLSClients(t *testing.T) {
	t.Parallel()
	files := nettest.NewCertificates(t)
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	config := weirtest.Config{Listener: nameRoutes}
	for _, name := range []string{"a", "b", "c"} {
		serve := func(_ context.Context, c *net.TCPConn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"postgresql", "http/1.1"}})
			s.SetDeadline(time.Now().Add(20 * time.Second))
			if s.Handshake() != nil {
				return
			}
			io.WriteString(s, "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\ncluster "+name)
			s.CloseWrite()
			io.Copy(io.Discard, s)
		}
		addr := nettest.Start(t, serve).Addr()
		if name == "c" {
			config.Levels = weirtest.OneLevel(addr)
		} else {
			config.More += clusterTable(name, addr)
		}
	}
	w, addr := weirtest.Serve(t, config)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)

	byGo := func(name string, protocols ...string) string {
		raw := nettest.Dial(t, addr)
		c := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols})
		c.SetDeadline(time.Now().Add(20 * time.Second))
		text, err := io.ReadAll(c)
		require.NoError(t, err)
		return string(text)
	}
	byProgram := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		in, err := cmd.StdinPipe() // open until the program ends
		require.NoError(t, err)
		defer in.Close()
		out, _ := cmd.CombinedOutput() // the clients complain about the end of the stream
		return string(out)
	}
	for what, out := range map[string]string{
		"Go, a":       byGo("db.example.com"),
		"Go, b":       byGo("x.example", "postgresql"),
		"Go, c":       byGo("x.example", "http/1.1"),
		"OpenSSL, a":  byProgram("openssl", "s_client", "-connect", addr, "-servername", "y.x.shop.example.com", "-quiet"),
		"OpenSSL, b":  byProgram("openssl", "s_client", "-connect", addr, "-noservername", "-alpn", "postgresql", "-quiet"),
		"OpenSSL, c":  byProgram("openssl", "s_client", "-connect", addr, "-noservername", "-tls1_2", "-quiet"),
		"curl, a":     byProgram("curl", "-sSk", "--max-time", "20", "--resolve", "db.example.com:"+port+":127.0.0.1", "https://db.example.com:"+port+"/"),
		"curl, c":     byProgram("curl", "-sSk", "--max-time", "20", "--resolve", "example.com:"+port+":127.0.0.1", "https://example.com:"+port+"/"),
		"GnuTLS, a":   byProgram("gnutls-cli", "--insecure", "--sni-hostname=shop.shop.example.com", "-p", port, "127.0.0.1"),
		"GnuTLS, b":   byProgram("gnutls-cli", "--insecure", "--disable-sni", "--alpn=postgresql", "-p", port, "127.0.0.1"),
		"GnuTLS, c":   byProgram("gnutls-cli", "--insecure", "--disable-sni", "--priority=NORMAL:-VERS-TLS1.3", "-p", port, "127.0.0.1"),
		"OpenSSL2, b": byProgram("openssl", "s_client", "-connect", addr, "-servername", "db.example.org", "-alpn", "h2,postgresql", "-quiet", "-max_send_frag", "512"),
	} {
		require.Contains(t, out, "cluster "+what[len(what)-1:], what)
	}
	require.Len(t, w.Records(func(r weirtest.Record) bool {
		return r.Text("sni") == "y.x.shop.example.com" && r.Text("route") == "route[0]"
	}), 1)
}

// preread_timeout ends sessions of clients that stay silent or stop within their ClientHello.
func TestPrereadTimeout(t *testing.T) {
	t.Parallel()
	config := routed(t, "preread_timeout = \"500ms\"\n"+nameRoutes, "abc")
	w, addr, a := weirtest.ServeAPI(t, config)

	begin := time.Now()
	silent := nettest.Dial(t, addr)
	_, end := nettest.ReadToEnd(silent, 10*time.Second)
	require.Equal(t, nettest.Reset, end)
	weirtest.RequireBetween(t, 500*time.Millisecond, time.Since(begin))
	r := w.SessionRecord(silent)
	require.Equal(t, "client_hello preread_timeout", r.Termination())
	require.Empty(t, r.Text("route")+r.Text("sni")+r.Text("server"))

	partial := nettest.Dial(t, addr)
	hello := clientHello("db.example.com", 0, oneRecord)
	_, err := partial.Write(hello[:len(hello)-1])
	require.NoError(t, err)
	require.Equal(t, "client_hello preread_timeout", w.SessionRecord(partial).Termination())

	require.Equal(t, "2", a.Metric(`weir_sessions_ended_total{listener="l",phase="client_hello",reason="preread_timeout"}`))
}

// A ClientHello above 16 kB, or one in very many records, ends the session; a client that ends its stream early goes to the default cluster.
func TestLongAndTruncatedHellos(t *testing.T) {
	t.Parallel()
	w, addr, a := weirtest.ServeAPI(t, routed(t, nameRoutes, "abc"))
	hello := clientHello("db.example.com", 0, oneRecord)
	for _, hello := range [][]byte{clientHello("db.example.com", 16<<10+1, oneRecord), clientHello("db.example.com", 16<<10, 2)} {
		long := nettest.Dial(t, addr)
		long.Write(hello)
		require.Equal(t, "client_hello client_hello_too_long", w.SessionRecord(long).Termination())
	}

	for _, n := range []int{0, 1, 40, len(hello) - 1} {
		early := nettest.Dial(t, addr)
		_, err := early.Write(hello[:n])
		require.NoError(t, err)
		require.NoError(t, early.CloseWrite())
		expectRoute(t, early, "c", hello[:n])
		require.Equal(t, "default", w.SessionRecord(early).Text("route"))
	}
	require.Equal(t, "4", a.Metric(`weir_route_sessions_total{listener="l",route="default"}`))
	require.Equal(t, "0", a.Metric(`weir_route_sessions_total{listener="l",route="by-protocol"}`))
}

func TestClientResetInClientHello(t *testing.T) {
	t.Parallel()
	w, addr, a := weirtest.ServeAPI(t, routed(t, nameRoutes, "abc"))
	for _, sent := range []string{"", "\x16\x03\x01\x00\x80\x01"} {
		c := nettest.Dial(t, addr)
		require.NoError(t, weirtest.WriteText(c, sent))
		a.WaitPhase(c, "client_hello")
		nettest.Abort(c)
		require.Equal(t, "client_hello client_reset", w.SessionRecord(c).Termination())
	}
	c := nettest.Dial(t, addr)
	a.WaitPhase(c, "client_hello")
	id := 0
	for _, s := range a.Sessions() {
		id = int(s.(map[string]any)["id"].(float64))
	}
	a.MustRunCommand("session", fmt.Sprint(id), "close")
	require.Equal(t, "client_hello cut_operator", w.SessionRecord(c).Termination())
}

// Clients and operators see the route and the name of a session while it lasts.
func TestSessionsShowRoutes(t *testing.T) {
	t.Parallel()
	config := routed(t, nameRoutes, "abc")
	_, addr, a := weirtest.ServeAPI(t, config)
	hello := clientHello("x.shop.example.com", 0, oneRecord)
	c := nettest.Dial(t, addr)
	_, err := c.Write(hello)
	require.NoError(t, err)
	expectRoute(t, c, "a", hello)
	a.WaitSession(c, "with its route", func(r weirtest.Record) bool {
		return r.Text("route") == "route[0]" && r.Text("sni") == "x.shop.example.com" && r.Text("cluster") == "a"
	})
	out := a.MustRunCommand("sessions")
	require.Contains(t, out, "route[0]")
	require.Contains(t, out, "x.shop.example.com")
	out = a.MustRunCommand("status")
	require.Contains(t, out, "sni db.example.com, *.shop.example.com")
	require.Contains(t, out, "by-protocol")
	routes := a.Get("listeners", 0, "routes").([]any)
	require.Len(t, routes, 3)
	require.Equal(t, map[string]any{"name": "route[0]", "conditions": "sni db.example.com, *.shop.example.com", "clusters": map[string]any{"a": 1.0}, "sessions_total": 1.0}, routes[0])
	code, text := a.Do("DELETE /v1/clusters/b", "")
	require.Equal(t, 409, code, text) // a route uses it
}

// Routes without conditions on the ClientHello do not wait for the client: servers may speak first.
func TestRoutesBySourceDoNotWait(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, routed(t, `
[[listener.route]]
name = "two"
source = ["127.0.0.2"]
cluster = "a"
[[listener.route]]
source = ["127.0.0.4/30"]
split = { b = 1 }
`, "abc"))
	for ip, want := range map[string]string{"127.0.0.1": "c default", "127.0.0.2": "a two", "127.0.0.5": "b route[1]"} {
		c := nettest.DialFrom(t, ip, addr)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		cluster, route, _ := strings.Cut(want, " ")
		require.Equal(t, cluster, weirtest.ReadByte(t, c))
		c.CloseWrite()
		require.Equal(t, route, w.SessionRecord(c).Text("route"))
	}
}

// The PROXY header comes first: routes see the client that it names, and the ClientHello after it.
func TestRoutesAfterProxyHeader(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, routed(t, "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]\nmax_sessions = 1\n"+`
[[listener.route]]
source = ["192.0.2.0/24"]
sni = ["db.example.com"]
cluster = "a"
[[listener.route]]
source = ["127.0.0.1"]
cluster = "b"
`, "abc"))
	hello := clientHello("db.example.com", 0, oneRecord)
	for client, cluster := range map[string]string{"192.0.2.1": "a", "198.51.100.1": "c"} {
		c := nettest.Dial(t, addr)
		require.NoError(t, weirtest.WriteText(c, "PROXY TCP4 "+client+" 192.0.2.2 1234 5678\r\n"+string(hello)))
		expectRoute(t, c, cluster, hello)
		c.CloseWrite()
		r := w.WaitRecord(5*time.Second, "the record", func(r weirtest.Record) bool { return r.Text("client") == client+":1234" && r.Termination() != "" })
		require.Equal(t, "db.example.com", r.Text("sni"))
	}
}

// A session of a route counts for the limits of its listener and has the timeouts of its cluster; a route whose cluster
// has no server does not fall through.
func TestRoutesLimitsAndEmptyCluster(t *testing.T) {
	t.Parallel()
	config := routed(t, "max_sessions = 1\n"+nameRoutes, "ac")
	config.More += "[cluster.b]\n[[cluster.b.level]]\nservers = []\n"
	w, addr, a := weirtest.ServeAPI(t, config)
	hello := clientHello("db.example.com", 0, oneRecord)
	first := nettest.Dial(t, addr)
	_, err := first.Write(hello)
	require.NoError(t, err)
	expectRoute(t, first, "a", hello)
	_, served := weirtest.DialServed(t, addr, 5*time.Second)
	require.False(t, served)
	first.Close()
	w.SessionRecord(first)
	none := nettest.Dial(t, addr)
	_, err = none.Write(clientHello("x.example", 0, oneRecord, "postgresql"))
	require.NoError(t, err)
	r := w.SessionRecord(none)
	require.Equal(t, []string{"dial no_server", "by-protocol", "b"}, []string{r.Termination(), r.Text("route"), r.Text("cluster")})
	require.Equal(t, "1", a.Metric(`weir_sessions_refused_total{listener="l",reason="max_sessions"}`))
}

// hash_key = "sni" makes a listener wait for the ClientHello: a name always gets the same server.
func TestHashByServerName(t *testing.T) {
	t.Parallel()
	for _, balance := range []string{"hash", "maglev"} {
		var servers []string
		for _, name := range []string{"A", "B", "C", "D"} {
			servers = append(servers, nettest.Start(t, nettest.Greet(name, nettest.Echo)).Addr()+" name="+name)
		}
		w, addr := weirtest.Serve(t, weirtest.Config{Cluster: "balance = \"" + balance + "\"\nhash_key = \"sni\"", Levels: weirtest.OneLevel(servers...)})
		used, route := map[string]bool{}, map[string]string{}
		for i := range 48 {
			name := fmt.Sprintf("host%d.example", i%16)
			hello := clientHello(name, 0, oneRecord)
			c := nettest.Dial(t, addr)
			_, err := c.Write(hello)
			require.NoError(t, err)
			got := weirtest.ReadByte(t, c)
			if route[name] != "" {
				require.Equal(t, route[name], got)
			}
			used[got], route[name] = true, got
			c.Close()
			r := w.SessionRecord(c)
			require.Equal(t, name, r.Text("sni"))
			require.Empty(t, r.Text("route"))
		}
		require.GreaterOrEqual(t, len(used), 3)
	}
}

// Clients keep their part of a split; a larger weight moves clients to that part only, and a reload keeps the rest.
func TestSplitIsSticky(t *testing.T) {
	t.Parallel()
	split := func(b int) string { return fmt.Sprintf("\n[[listener.route]]\nsplit = { a = 80, b = %d }\n", b) }
	config := routed(t, split(20), "abc")
	config.Listen = nettest.Reserve(t)
	w := weirtest.Start(t, config.String())
	choose := func() (chosen map[int]string) {
		chosen = map[int]string{}
		for i := range 100 {
			c := nettest.DialFrom(t, fmt.Sprintf("127.0.7.%d", i+1), config.Listen)
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			chosen[i] = weirtest.ReadByte(t, c)
			c.Close()
		}
		return chosen
	}
	before := choose()
	require.Equal(t, before, choose())
	config.Listener = split(80)
	w.Reload(config.String())
	moved := 0
	for i, now := range choose() {
		if now != before[i] {
			require.Equal(t, "b", now)
			moved++
		}
	}
	require.NotZero(t, moved)
	count := strings.Count(fmt.Sprint(before), ":b")
	require.InDelta(t, 20, count, 15)
}

// A reload applies to new sessions; one in the middle of its ClientHello keeps the routes of its start, others stay where they are.
func TestReloadChangesRoutes(t *testing.T) {
	t.Parallel()
	config := routed(t, nameRoutes, "abc")
	config.Listen = nettest.Reserve(t)
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	hello := clientHello("db.example.com", 0, oneRecord)
	old := nettest.Dial(t, config.Listen)
	_, err := old.Write(hello)
	require.NoError(t, err)
	expectRoute(t, old, "a", hello)
	halfway := nettest.Dial(t, config.Listen)
	_, err = halfway.Write(hello[:20])
	require.NoError(t, err)
	a.WaitPhase(halfway, "client_hello")
	config.Listener = strings.Replace(nameRoutes, `cluster = "a"`, `cluster = "b"`, 1)
	out := planAgainst(t, a, config)
	require.Contains(t, out, "route[0]")
	require.Contains(t, out, "sni db.example.com, *.shop.example.com to a")
	w.Reload(a.AddTo(config.String()))
	require.NoError(t, weirtest.PingPong(old))
	_, err = halfway.Write(hello[20:])
	require.NoError(t, err)
	expectRoute(t, halfway, "a", hello)
	next := nettest.Dial(t, config.Listen)
	_, err = next.Write(hello)
	require.NoError(t, err)
	expectRoute(t, next, "b", hello)
	require.Equal(t, "3", a.Metric(`weir_route_sessions_total{listener="l",route="route[0]"}`)) // the count stays
}

// planAgainst returns the plan of a reload to a configuration.
func planAgainst(t *testing.T, a weirtest.API, config weirtest.Config) string {
	t.Helper()
	return a.MustDo("POST /v1/plan", a.AddTo(config.String()))
}

// A held session is routed again when the routes change: its ClientHello is still there, whether it came at once or in pieces.
func TestHeldSessionIsRoutedAgain(t *testing.T) {
	for name, first := range map[string]int{"at once": 0, "in pieces": 40} {
		t.Run(name, func(t *testing.T) { t.Parallel(); testHeldSessionIsRoutedAgain(t, first) })
	}
}

func testHeldSessionIsRoutedAgain(t *testing.T, first int) {
	config := routed(t, nameRoutes, "bc")
	config.Listen = nettest.Reserve(t)
	config.More += "[cluster.a]\nhold_timeout = \"1m\"\n[[cluster.a.level]]\nservers = []\n"
	a := weirtest.NewAPI(t)
	w := weirtest.Start(t, a.AddTo(config.String()))
	hello := clientHello("db.example.com", 0, oneRecord)
	c := nettest.Dial(t, config.Listen)
	if first > 0 {
		_, err := c.Write(hello[:first])
		require.NoError(t, err)
		a.WaitPhase(c, "client_hello")
	}
	_, err := c.Write(hello[first:])
	require.NoError(t, err)
	a.WaitPhase(c, "hold")
	config.Listener = strings.Replace(nameRoutes, `cluster = "a"`, `cluster = "b"`, 1)
	w.Reload(a.AddTo(config.String()))
	expectRoute(t, c, "b", hello)
	c.Close()
	r := w.SessionRecord(c)
	require.Equal(t, []string{"b", "route[0]", "db.example.com"}, []string{r.Text("cluster"), r.Text("route"), r.Text("sni")})
}

// Clients of a unix socket are routed too, and divided at random.
func TestRoutesOfUnixSocket(t *testing.T) {
	t.Parallel()
	config := routed(t, nameRoutes+"[[listener.route]]\nsource = [\"unix:\"]\nsplit = { a = 1, b = 1 }\n", "abc")
	config.Listen = "unix:" + t.TempDir() + "/l"
	weirtest.Start(t, config.String())
	path := strings.TrimPrefix(config.Listen, "unix:")
	hello := clientHello("db.example.com", 0, 7)
	c := weirtest.DialUnix(t, path)
	for part := range bytes.SplitSeq(hello, []byte("\x16\x03")) {
		if len(part) > 0 {
			_, err := c.Write(append([]byte("\x16\x03"), part...))
			require.NoError(t, err)
		}
	}
	expectRoute(t, c, "a", hello)
	seen := map[string]bool{}
	for range 40 {
		c := weirtest.DialUnix(t, path)
		require.NoError(t, weirtest.WriteText(c, "x"))
		seen[weirtest.ReadByte(t, c)] = true
		c.Close()
	}
	require.Equal(t, map[string]bool{"a": true, "b": true}, seen)
}

// A session that is routed by its ClientHello has two descriptors, one while it waits for it.
func TestRoutedSessionsHaveTwoDescriptors(t *testing.T) {
	t.Parallel()
	w, addr, a := weirtest.ServeAPI(t, routed(t, nameRoutes, "abc"))
	hello := clientHello("db.example.com", 0, oneRecord)
	count := func() (n int) {
		for _, k := range w.DescriptorKinds() {
			n += k
		}
		return n
	}
	before := count()
	var clients []*net.TCPConn
	for range 20 {
		c := nettest.Dial(t, addr)
		_, err := c.Write(hello[:30])
		require.NoError(t, err)
		a.WaitPhase(c, "client_hello")
		clients = append(clients, c)
	}
	require.InDelta(t, before+20, count(), 2)
	for _, c := range clients {
		_, err := c.Write(hello[30:])
		require.NoError(t, err)
		expectRoute(t, c, "a", hello)
	}
	require.InDelta(t, before+40, count(), 2)
}

// Signals of a drain end sessions that wait for a ClientHello.
func TestStopInClientHello(t *testing.T) {
	t.Parallel()
	config := routed(t, "preread_timeout = \"1m\"\n"+nameRoutes, "abc")
	config.Runtime = "drain_timeout = \"200ms\""
	w, addr, a := weirtest.ServeAPI(t, config)
	c := nettest.Dial(t, addr)
	a.WaitPhase(c, "client_hello")
	w.Signal(syscall.SIGTERM)
	require.Equal(t, 3, w.WaitExit(weirtest.Bound(10*time.Second)))
	require.Equal(t, "client_hello cut_shutdown", w.SessionRecord(c).Termination())
}
