// The PROXY protocol on its way out.

package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// v1Line returns the header of version 1.
func v1Line(client, dest netip.AddrPort) string {
	family := "TCP4"
	if client.Addr().Is6() {
		family = "TCP6"
	}
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, client.Addr(), dest.Addr(), client.Port(), dest.Port())
}

// v2Frame returns the header of version 2.
func v2Frame(command byte, client, dest netip.AddrPort, tlvs ...string) string {
	family := byte(0x11)
	if client.Addr().Is6() {
		family = 0x21
	}
	ports := string([]byte{byte(client.Port() >> 8), byte(client.Port()), byte(dest.Port() >> 8), byte(dest.Port())})
	parts := append([]string{string(client.Addr().AsSlice()), string(dest.Addr().AsSlice()), ports}, tlvs...)
	return nettest.ProxyWithChecksum(nettest.ProxyV2(command, family, append(parts, checksum)...))
}

func ends(c net.Conn) (client, dest netip.AddrPort) {
	client, dest = netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
	return client, dest
}

// The server gets one header, exact to the byte, and then the client's bytes.
func TestSendProxy(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		for _, version := range []string{"v1", "v2"} {
			var rec nettest.Recorder
			host := nettest.Start(t, rec.Handle)
			ip := strings.Trim(listen[:strings.LastIndexByte(listen, ':')], "[]")
			_, addr := weirtest.Serve(t, weirtest.Config{
				Listen: nettest.ReserveOn(t, ip), Cluster: fmt.Sprintf("send_proxy = %q", version), Levels: weirtest.OneLevel(host.Addr()),
			})
			addr = strings.Replace(addr, "[::]", "127.0.0.1", 1) // an IPv4 client of an IPv6 socket is an IPv4 client
			for i, payload := range []string{"close", "", strings.Repeat("x", 100_000)} {
				c := say(t, addr, payload)
				want := v1Line(ends(c))
				if version == "v2" {
					client, dest := ends(c)
					want = v2Frame(0x21, client, dest)
				}
				v := rec.WaitEnd(t, i, 5*time.Second)
				require.Equal(t, want+payload, string(v.Data)+strings.Repeat("x", int(v.Bytes)-len(v.Data)))
				require.Equal(t, nettest.EOF, v.End)
				got, end := nettest.ReadToEnd(c, 5*time.Second)
				require.Empty(t, got)
				require.Equal(t, nettest.EOF, end)
			}
		}
	}
}

// Byte counters exclude the header.
func TestProxyHeaderIsNotCounted(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, rec.Handle).Addr()+" send_proxy=v2"))
	c := say(t, addr, nettest.ProxyV2(0x20, 0)+"12345")
	require.Equal(t, 5, w.SessionRecord(c).Int("bytes_up"))
}

// send_proxy can differ between servers.
func TestSendProxyPerServer(t *testing.T) {
	t.Parallel()
	var recs [3]nettest.Recorder
	var list []string
	for i, words := range []string{" send_proxy=v1", " send_proxy=", ""} {
		list = append(list, nettest.Start(t, recs[i].Handle).Addr()+words)
	}
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "send_proxy = \"v2\"", Levels: weirtest.OneLevel(list...)})
	for i, start := range []string{"PROXY TCP4 ", "x", nettest.ProxySignature} {
		say(t, addr, "x")
		require.True(t, strings.HasPrefix(string(recs[i].WaitEnd(t, 0, 5*time.Second).Data), start), "%d", i)
	}
}

// A server that sends first gets its header before.
func TestSendProxyToServerThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		line := make([]byte, 107)
		n, _ := c.Read(line)
		fmt.Fprintf(c, "220 %q", line[:n])
		io.Copy(io.Discard, c)
	})
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(host.Addr() + " send_proxy=v1")})
	c := nettest.Dial(t, addr)
	want := fmt.Sprintf("220 %q", v1Line(ends(c)))
	got := make([]byte, len(want))
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// The header is in one segment with the first bytes of the client.
func TestProxyHeaderInOneSegment(t *testing.T) {
	t.Parallel()
	type arrival struct {
		segments uint32
		data     string
	}
	arrivals := make(chan arrival, 10)
	host := nettest.Start(t, func(_ context.Context, c *net.TCPConn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		raw, _ := c.SyscallConn()
		raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err == nil {
				arrivals <- arrival{info.Data_segs_in, string(b[:n])}
			}
		})
		io.Copy(io.Discard, c)
	})
	p := proxied("", host.Addr()+" send_proxy=v2")
	_, addr := weirtest.Serve(t, p)
	header := nettest.ProxyV2(0x21, 0x11, block4, tlvs)
	client, dest := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.2:5678")
	for _, payload := range []string{"", "hello"} {
		c := nettest.Dial(t, addr)
		io.WriteString(c, header+payload)
		select {
		case a := <-arrivals:
			require.Equal(t, arrival{1, v2Frame(0x21, client, dest, tlvs) + payload}, a)
		case <-time.After(5 * time.Second):
			require.Fail(t, "no header")
		}
	}
}

// An accepted header is sent on, in the version of the server.
func TestProxyHeaderIsForwarded(t *testing.T) {
	t.Parallel()
	client, dest := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.2:5678")
	client6, dest6 := netip.MustParseAddrPort("[2001:db8::1]:1234"), netip.MustParseAddrPort("[2001:db8::2]:5678")
	line, line6 := v1Line(client, dest), v1Line(client6, dest6)
	padding := nettest.ProxyTLV(4, "\x00\x00")
	large := nettest.ProxyTLV(0xe0, strings.Repeat("x", 4096-16-12-3))
	for version, cases := range map[string]map[string]func(c net.Conn) string{
		"v1": {
			line:  func(net.Conn) string { return line },
			line6: func(net.Conn) string { return line6 },
			nettest.ProxyV2(0x21, 0x11, block4, tlvs): func(net.Conn) string { return line },
			nettest.ProxyV2(0x21, 0x21, block6):       func(net.Conn) string { return line6 },
			nettest.ProxyV2(0x20, 0x11, block4):       func(c net.Conn) string { return v1Line(ends(c)) },
			"PROXY UNKNOWN\r\n":                       func(c net.Conn) string { return v1Line(ends(c)) },
		},
		"v2": {
			line: func(net.Conn) string { return v2Frame(0x21, client, dest) },
			nettest.ProxyV2(0x21, 0x11, block4, tlvs, padding):                             func(net.Conn) string { return v2Frame(0x21, client, dest, tlvs, padding) },
			nettest.ProxyV2(0x21, 0x11, block4, large):                                     func(net.Conn) string { return nettest.ProxyV2(0x21, 0x11, block4, large) },
			nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x21, block6, tlvs, checksum)): func(net.Conn) string { return v2Frame(0x21, client6, dest6, tlvs) },
			nettest.ProxyV2(0x20, 0x00): func(c net.Conn) string {
				client, dest := ends(c)
				return v2Frame(0x20, client, dest)
			},
			nettest.ProxyV2(0x20, 0x11, block4, tlvs): func(c net.Conn) string {
				client, dest := ends(c)
				return v2Frame(0x20, client, dest, tlvs)
			},
			nettest.ProxyV2(0x21, 0x31, blockUnx): func(c net.Conn) string {
				client, dest := ends(c)
				return v2Frame(0x21, client, dest)
			},
		},
	} {
		var rec nettest.Recorder
		_, addr := weirtest.Serve(t, proxied("", nettest.Start(t, rec.Handle).Addr()+" send_proxy="+version))
		i := 0
		for header, want := range cases {
			c := say(t, addr, header+"hello")
			require.Equal(t, want(c)+"hello", string(rec.WaitEnd(t, i, 5*time.Second).Data), "%s: %.60q", version, header)
			i++
		}
	}
}

// A client of a unix socket whose header has no IP addresses has none to send. Its TLVs are passed on.
func TestSendProxyForUnixClientsWithHeaders(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	path := weirtest.ShortTempDir(t) + "/in"
	weirtest.Serve(t, weirtest.Config{Listen: "unix:" + path, Listener: "accept_proxy = true", Levels: weirtest.OneLevel(nettest.Start(t, rec.Handle).Addr() + " send_proxy=v2")})
	for i, header := range []string{
		nettest.ProxyV2(0x20, 0x00), nettest.ProxyV2(0x21, 0x00), nettest.ProxyV2(0x21, 0x31, blockUnx), nettest.ProxyV2(0x21, 0x32, blockUnx),
		nettest.ProxyV2(0x21, 0x12, block4), "PROXY UNKNOWN\r\n", nettest.ProxyV2(0x21, 0x31, blockUnx, tlvs),
	} {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		io.WriteString(c, header+"hello")
		c.Close()
		want := []string{checksum}
		if strings.Contains(header, tlvs) {
			want = []string{tlvs, checksum}
		}
		require.Equal(t, nettest.ProxyWithChecksum(nettest.ProxyV2(0x20, 0, want...))+"hello", string(rec.WaitEnd(t, i, 5*time.Second).Data), "%q", header)
	}
}

// A header near the size limit is sent on without a checksum, so that it stays within the limit: a second weir accepts
// it. The client's first bytes arrive although they came in the segment of a header that fills the limit.
func TestLargeProxyHeaderInChain(t *testing.T) {
	t.Parallel()
	echo := nettest.Start(t, nettest.Echo)
	last, lastAddr := weirtest.Serve(t, proxied("", echo.Addr()))
	_, addr := weirtest.Serve(t, proxied("", lastAddr+" send_proxy=v2"))
	for _, size := range []int{4082, 4089, 4090, 4095, 4096} {
		for _, address := range []string{"\x11" + block4, "\x21" + block6, "\x00"} {
			head := nettest.ProxyV2(0x21, address[0], address[1:])
			filler := nettest.ProxyTLV(0xe0, "first") + nettest.ProxyTLV(0xe1, strings.Repeat("x", size-len(head)-2*3-len("first")))
			header := nettest.ProxyV2(0x21, address[0], address[1:], filler)
			require.Len(t, header, size)
			c := nettest.Dial(t, addr)
			require.NoError(t, weirtest.WriteText(c, header+"hello"))
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			got := make([]byte, 5)
			_, err := io.ReadFull(c, got)
			require.NoError(t, err, "%d bytes, family %#x", size, address[0])
			require.Equal(t, "hello", string(got))
			c.Close()
		}
	}
	require.Empty(t, last.Records(func(r weirtest.Record) bool { return r.Text("phase") == "proxy_header" }))
}

// proxy_tlvs limits the TLVs that are passed on, for each server.
func TestProxyTLVs(t *testing.T) {
	t.Parallel()
	client, dest := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.2:5678")
	alpn, authority, own := nettest.ProxyTLV(1, "h2"), nettest.ProxyTLV(2, "example.com"), nettest.ProxyTLV(0xe5, "own")
	for i, c := range []struct {
		cluster, server string
		want            []string
	}{
		{"", "", []string{alpn, authority, own}},
		{"", "proxy_tlvs=all", []string{alpn, authority, own}},
		{"", "proxy_tlvs=none", nil},
		{`proxy_tlvs = "none"`, "", nil},
		{`proxy_tlvs = ["0xE5", "authority"]`, "", []string{authority, own}},
		{`proxy_tlvs = "none"`, "proxy_tlvs=alpn,0xe5", []string{alpn, own}},
		{`proxy_tlvs = []`, "", nil},
	} {
		var rec nettest.Recorder
		l := proxied("", nettest.Start(t, rec.Handle).Addr()+" send_proxy=v2 "+c.server)
		l.Cluster = c.cluster
		_, addr := weirtest.Serve(t, l)
		say(t, addr, nettest.ProxyV2(0x21, 0x11, block4, alpn, authority, own)+"x")
		require.Equal(t, v2Frame(0x21, client, dest, c.want...)+"x", string(rec.WaitEnd(t, 0, 5*time.Second).Data), "case %d", i)
	}
}

// Instances in a chain forward the client address and complete streams.
func TestChainOfProxies(t *testing.T) {
	t.Parallel()
	var duplex nettest.Duplex
	last := proxied("", nettest.Start(t, duplex.Handle).Addr())
	w, addr := weirtest.Serve(t, last)
	_, addr = weirtest.Serve(t, proxied("", addr+" send_proxy=v1"))
	_, addr = weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(addr + " send_proxy=v2")})
	for i := range 12 {
		c := nettest.Dial(t, addr)
		client := c.LocalAddr().String()
		require.NoError(t, duplex.Run(c, uint64(i), 100+int64(i)*90_000, int64(i)*70_000))
		w.WaitRecord(5*time.Second, "the client's own address at the end of the row", func(r weirtest.Record) bool { return r.Termination() != "" && r.Text("client") == client })
	}
	nettest.Wait(t, 5*time.Second, "the server to see the ends", func() bool { return duplex.Good()+len(duplex.Errs()) >= 12 })
	require.Empty(t, duplex.Errs())
	require.Equal(t, 12, duplex.Good())
}

// The second server that is tried gets one header.
func TestSendProxyOnRetry(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	_, addr := weirtest.Serve(t, weirtest.Config{Cluster: "send_proxy = \"v1\"\nbalance = \"first\"", Levels: weirtest.OneLevel(nettest.Reserve(t), nettest.Reserve(t), nettest.Start(t, rec.Handle).Addr())})
	c := say(t, addr, "hello")
	require.Equal(t, v1Line(ends(c))+"hello", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
}

// A client of a unix socket has no address to send, unless it comes through a proxy.
func TestSendProxyForUnixClients(t *testing.T) {
	t.Parallel()
	dir := weirtest.ShortTempDir(t)
	for version, want := range map[string]string{
		"v1": "PROXY UNKNOWN\r\n",
		"v2": nettest.ProxyWithChecksum(nettest.ProxyV2(0x20, 0, checksum)), // LOCAL, as HAProxy: receivers reject PROXY without addresses
	} {
		var rec nettest.Recorder
		path := dir + "/" + version
		weirtest.Serve(t, weirtest.Config{Listen: "unix:" + path, Levels: weirtest.OneLevel(nettest.Start(t, rec.Handle).Addr() + " send_proxy=" + version)})
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		io.WriteString(c, "hello")
		c.Close()
		require.Equal(t, want+"hello", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
	}
	var rec nettest.Recorder
	path := dir + "/in"
	weirtest.Serve(t, weirtest.Config{Listen: "unix:" + path, Listener: "accept_proxy = true", Levels: weirtest.OneLevel(nettest.Start(t, rec.Handle).Addr() + " send_proxy=v1")})
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	line := "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
	io.WriteString(c, line)
	time.Sleep(50 * time.Millisecond)
	io.WriteString(c, "hello")
	c.Close()
	require.Equal(t, line+"hello", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
}

// A server on a unix socket gets the header too.
func TestSendProxyToUnixServers(t *testing.T) {
	t.Parallel()
	path := weirtest.ShortTempDir(t) + "/server"
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer ln.Close()
	got := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		data, _ := nettest.ReadToEnd(c, 5*time.Second)
		got <- string(data)
	}()
	_, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel("unix:" + path + " send_proxy=v2")})
	c := say(t, addr, "hello")
	client, dest := ends(c)
	require.Equal(t, v2Frame(0x21, client, dest)+"hello", <-got)
}

// A reload changes the headers of new sessions.
func TestReloadOfSendProxy(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	l := weirtest.Config{Levels: weirtest.OneLevel(nettest.Start(t, rec.Handle).Addr())}
	w, addr := weirtest.Serve(t, l)
	l.Listen = addr
	say(t, addr, "x")
	require.Equal(t, "x", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
	l.Cluster = "send_proxy = \"v1\""
	l.Listener = "accept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]"
	w.Reload(l.String())
	say(t, addr, "PROXY UNKNOWN\r\nx")
	require.True(t, strings.HasPrefix(string(rec.WaitEnd(t, 1, 5*time.Second).Data), "PROXY TCP4 "))
}

// Checks of servers with send_proxy send a header of their own. Checks on other ports send none.
func TestChecksSendProxy(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1": `^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\n$`,
		"v2": `^\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x07\x03\x00\x04....$`,
	} {
		var rec, asked, other nettest.Recorder
		more := nettest.Start(t, other.Handle)
		asked.Banner = "ready"
		for check, r := range map[string]*nettest.Recorder{"": &rec, "send = \"PING\"\nexpect = \"ready\"\n": &asked} {
			_, addr := weirtest.Serve(t, weirtest.Config{
				Levels: weirtest.OneLevel(nettest.Start(t, r.Handle).Addr() + " send_proxy=" + version),
				Checks: fmt.Sprintf("[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\n%s"+
					"[[cluster.c.check]]\ntype = \"tcp\"\nid = \"other\"\ninterval = \"500ms\"\ntimeout = \"500ms\"\nport = %s\n", check, port(more.Addr())),
			})
			_ = addr
			v := r.WaitEnd(t, 1, 5*time.Second)
			pattern := want
			if check != "" {
				pattern = strings.TrimSuffix(want, "$") + "PING$"
			}
			require.Regexp(t, "(?s)"+pattern, string(v.Data))
		}
		require.Empty(t, other.WaitEnd(t, 0, 5*time.Second).Data)
	}
}
