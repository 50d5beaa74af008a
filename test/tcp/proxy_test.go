// The PROXY protocol on its way in.

package tcp_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

var (
	checksum = nettest.ProxyTLV(3, "\x00\x00\x00\x00")
	block4   = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x16\x2e" // 192.0.2.1:1234 to 192.0.2.2:5678
	block6   = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02\x04\xd2\x16\x2e"
	blockUnx = strings.Repeat("/x\x00", 72)
	tlvs     = nettest.ProxyTLV(1, "h2") + nettest.ProxyTLV(2, "example.com") + nettest.ProxyTLV(5, "id-1") + nettest.ProxyTLV(0x30, "netns") + nettest.ProxyTLV(0xe0, "own") + nettest.ProxyTLV(0xf5, "")
)

// proxied returns a configuration whose listener requires PROXY headers.
func proxied(more string, servers ...string) weirtest.Config {
	return weirtest.Config{
		Listener: "accept_proxy = true\ntrusted_proxies = [\"127.0.0.0/8\", \"::1\"]\nproxy_timeout = \"20s\"\n" + more,
		Levels:   [][]string{servers},
	}
}

// say opens a session, writes text in one go and closes its side.
func say(t *testing.T, addr, text string) *net.TCPConn {
	t.Helper()
	c := nettest.Dial(t, addr)
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	return c
}

// For every valid header, the server gets exactly the bytes after it, and the client is the one in the header.
func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, rec.Handle).Addr()))
	own := "" // the socket's own address
	for i, c := range []struct{ header, client string }{
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", "192.0.2.1:1234"},
		{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n", "192.0.2.1:0"},
		{"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0001 2001:0db8:0000:0000:0000:0000:0000:0002 65535 65535\r\n", "[2001:db8::1]:65535"},
		{"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", "[2001:db8::1]:1"},
		{"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:192.0.2.10 1 2\r\n", "192.0.2.9:1"},
		{"PROXY UNKNOWN\r\n", own},
		{"PROXY UNKNOWN any junk\r\n", own},
		{nettest.ProxyV2(0x21, 0x11, block4), "192.0.2.1:1234"},
		{nettest.ProxyV2(0x21, 0x21, block6), "[2001:db8::1]:1234"},
		{nettest.ProxyV2(0x21, 0x11, block4, tlvs), "192.0.2.1:1234"},
		{nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x11, block4, tlvs, checksum)), "192.0.2.1:1234"},
		{nettest.ProxyV2(0x21, 0x11, block4, nettest.ProxyTLV(0xe0, strings.Repeat("x", 4096-16-12-3))), "192.0.2.1:1234"},
		{nettest.ProxyV2(0x20, 0x00), own},
		{nettest.ProxyV2(0x20, 0x11, block4, tlvs), own},
		{nettest.ProxyV2(0x21, 0x00), own},
		{nettest.ProxyV2(0x21, 0x00, "abcd"), own},
		{nettest.ProxyV2(0x21, 0x31, blockUnx), own},
		{nettest.ProxyV2(0x21, 0x32, blockUnx), own},
		{nettest.ProxyV2(0x21, 0x12, block4), own},
		{nettest.ProxyV2(0x21, 0x22, block6, tlvs), own},
	} {
		for j, payload := range []string{"hello", "\x02\x00\x01x", "PROXY UNKNOWN\r\n", nettest.ProxySignature, strings.Repeat("0123456789", 1000)} {
			conn := say(t, addr, c.header+payload)
			v := rec.WaitEnd(t, 5*i+j, 5*time.Second)
			require.Equal(t, payload, string(v.Data), "%q", c.header)
			require.Equal(t, nettest.EOF, v.End)
			got, end := nettest.ReadToEnd(conn, 5*time.Second)
			require.Empty(t, got)
			require.Equal(t, nettest.EOF, end)
			want := c.client
			if want == own {
				want = conn.LocalAddr().String()
			}
			r := w.WaitRecord(5*time.Second, "the session's record", func(r weirtest.Record) bool {
				return r.Termination() != "" && r.Int("bytes_up") == len(payload) && r.Text("client") == want
			})
			require.Equal(t, "relay client_closed", r.Termination())
		}
	}
	require.Empty(t, w.Warnings())
}

// Invalid headers close the connection immediately, without a dial.
func TestBadProxyHeaders(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, proxied("", host.Addr()))
	const good = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
	flip := func(s string, at int) string {
		b := []byte(s)
		b[at] ^= 0x10
		return string(b)
	}
	sums := nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x11, block4, tlvs, checksum))
	for text, end := range map[string]string{
		"hello, server":                        "no_header",
		"GET / HTTP/1.1\r\n":                   "no_header",
		" " + good:                             "no_header",
		"proxy" + good[5:]:                     "no_header",
		"\x16\x03\x01\x02\x00":                 "no_header",
		"\n":                                   "no_header",
		strings.Replace(good, "\r\n", "\n", 1): "malformed_header",
		strings.Replace(good, "\r\n", "\rx\n", 1):                 "malformed_header",
		strings.Replace(good, " 1234", "  1234", 1):               "malformed_header",
		strings.Replace(good, " 1234", "\t1234", 1):               "malformed_header",
		strings.Replace(good, "5678", "5678 ", 1):                 "malformed_header",
		strings.Replace(good, " 5678", "", 1):                     "malformed_header",
		strings.Replace(good, "5678", "5678 9", 1):                "malformed_header",
		strings.Replace(good, "1234", "65536", 1):                 "malformed_header",
		strings.Replace(good, "1234", "-1", 1):                    "malformed_header",
		strings.Replace(good, "1234", "00080", 1):                 "malformed_header",
		strings.Replace(good, "192.0.2.1", "256.1.1.1", 1):        "malformed_header",
		strings.Replace(good, "192.0.2.1", "::1", 1):              "malformed_header",
		strings.Replace(good, "TCP4", "TCP6", 1):                  "malformed_header",
		"PROXY " + strings.Repeat("x", 200):                       "malformed_header",
		"PROXY UNKNOWN " + strings.Repeat("x", 200):               "header_too_long",
		nettest.ProxyV2(0x22, 0x11, block4):                       "malformed_header",
		nettest.ProxyV2(0x11, 0x11, block4):                       "malformed_header",
		nettest.ProxyV2(0x21, 0x13, block4):                       "malformed_header",
		nettest.ProxyV2(0x20, 0x41):                               "malformed_header",
		nettest.ProxyV2(0x21, 0x11, block4[:11]):                  "malformed_header",
		nettest.ProxyV2(0x21, 0x21, block6[:35]):                  "malformed_header",
		nettest.ProxyV2(0x21, 0x31, blockUnx[:215]):               "malformed_header",
		nettest.ProxyV2(0x21, 0x11, block4, tlvs, "\x02"):         "malformed_header",
		nettest.ProxyV2(0x21, 0x11, block4, tlvs, "\x02\x00"):     "malformed_header",
		nettest.ProxyV2(0x21, 0x11, block4, tlvs, "\x02\x00\x01"): "malformed_header",
		nettest.ProxySignature + "\x21\x11\xff\xff":               "header_too_long",
		nettest.ProxySignature + "\x21\x11\x0f\xf1":               "header_too_long",
		flip(sums, 17):          "bad_checksum",
		flip(sums, 16+12+3):     "bad_checksum",
		flip(sums, len(sums)-1): "bad_checksum",
	} {
		c := nettest.Dial(t, addr)
		began := time.Now()
		io.WriteString(c, text) // and no end: nothing more is waited for
		got, how := nettest.ReadToEnd(c, 5*time.Second)
		require.Empty(t, got)
		require.Equal(t, nettest.Reset, how, "%.60q", text)
		require.Less(t, nettest.Elapsed(began), 3*time.Second, "%.60q", text)
		require.Equal(t, "proxy_header "+end, w.SessionRecord(c).Termination(), "%.60q", text)
	}
	require.Zero(t, host.Accepted())
	require.Empty(t, w.Warnings())
}

// replaceText replaces a part of the listener's lines.
func replaceText(l weirtest.Config, old, new string) weirtest.Config {
	l.Listener = strings.Replace(l.Listener, old, new, 1)
	return l
}

// An endless header costs no memory: it is rejected after the maximum length.
func TestEndlessProxyHeader(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, proxied("", host.Addr()))
	before := w.Process().RSS(t)
	for _, start := range []string{"PROXY UNKNOWN ", nettest.ProxySignature + "\x21\x11\xff\xff"} {
		c := nettest.Dial(t, addr)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		n, err := io.Copy(c, io.MultiReader(strings.NewReader(start), io.LimitReader(zeros{}, 1<<30)))
		require.Error(t, err)
		require.Less(t, n, int64(64<<20)) // what the kernel took meanwhile
	}
	require.Less(t, w.Process().RSS(t), before+16<<20)
	require.Zero(t, host.Accepted())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A header may arrive in pieces of any size.
func TestProxyHeaderInPieces(t *testing.T) {
	t.Parallel()
	_, addr := weirtest.Serve(t, replaceText(proxied("", nettest.Start(t, nettest.Echo).Addr()), `"20s"`, `"1m"`))
	var wait sync.WaitGroup
	piecewise := func(gap time.Duration, pieces ...string) {
		wait.Go(func() {
			c, err := nettest.TryDial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for i, p := range pieces {
				if i > 0 {
					time.Sleep(gap)
				}
				io.WriteString(c, p)
			}
			c.CloseWrite()
			if got, end := nettest.ReadToEnd(c, 5*time.Second); string(got) != "payload" || end != nettest.EOF {
				t.Errorf("%q: %q, %s", pieces, got, end)
			}
		})
	}
	line := "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
	piecewise(20*time.Millisecond, strings.Split(line+"payload", "")...)
	for _, header := range []string{line, nettest.ProxyV2(0x21, 0x11, block4), nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x11, block4, checksum))} {
		for i := 1; i <= len(header); i++ {
			piecewise(50*time.Millisecond, header[:i], header[i:]+"payload")
		}
	}
	long := nettest.ProxyV2(0x21, 0x11, block4, nettest.ProxyTLV(0xe0, strings.Repeat("x", 4000)))
	var pieces []string
	for i := 0; i < len(long); i += 100 {
		pieces = append(pieces, long[i:min(i+100, len(long))])
	}
	piecewise(5*time.Millisecond, append(pieces, "payload")...)
	wait.Wait()
}

// Streams behind a header are complete for all sizes, and FIN and reset are forwarded.
func TestStreamsBehindProxyHeaders(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, nettest.Echo).Addr()))
	headers := []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", nettest.ProxyV2(0x21, 0x11, block4, tlvs), nettest.ProxyV2(0x20, 0x00)}
	for i := range 30 {
		c := nettest.Dial(t, addr)
		_, err := io.WriteString(c, headers[i%3])
		require.NoError(t, err)
		require.NoError(t, nettest.Exchange(c, uint64(i), rand.Int64N(1<<uint(4+i%18)), 1+rand.IntN(100_000)))
	}
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }) {
		require.Equal(t, "relay client_closed", r.Termination())
	}
	require.Empty(t, w.Warnings())
}

// The timeout for a header is absolute, and no server is dialed before the header is complete.
func TestProxyTimeout(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	w, addr := weirtest.Serve(t, replaceText(proxied("", host.Addr()), `"20s"`, `"1s"`))
	began := time.Now()
	silent := nettest.Dial(t, addr)
	trickle := nettest.Dial(t, addr)
	go func() {
		for _, c := range "PROXY UNKNOWN " + strings.Repeat("x", 60) {
			if _, err := trickle.Write([]byte{byte(c)}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for _, c := range []net.Conn{silent, trickle} {
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.NotEqual(t, nettest.Timeout, end) // a reset, unless the writer was told already
		weirtest.RequireBetween(t, time.Second, time.Since(began))
		require.Equal(t, "proxy_header proxy_timeout", w.SessionRecord(c).Termination())
	}
	require.Zero(t, host.Accepted())
}

// Only clients in trusted_proxies are accepted, whatever they send. The log names rejected clients at a limited rate.
func TestUntrustedProxy(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	listen := fmt.Sprintf("[::]:%s", port(nettest.Reserve(t)))
	w, _, a := weirtest.ServeAPI(t, withListen(replaceText(proxied("", host.Addr()), `"127.0.0.0/8", "::1"`, `"127.9.0.0/16", "192.0.2.1"`), listen))
	addr := "127.0.0.1:" + port(listen)
	for i := range 50 {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 0, 1)}}).Dial("tcp", addr)
		if err != nil {
			continue // refused before the handshake was over
		}
		if i%2 == 0 { // the others say nothing, and are not waited for
			io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\nhello")
		}
		_, end := nettest.ReadToEnd(c, 5*time.Second)
		require.NotEqual(t, nettest.Timeout, end) // a reset, unless the writer was told already
		c.Close()
	}
	warnings := w.Warnings()
	require.NotEmpty(t, warnings)
	require.LessOrEqual(t, len(warnings), 10)
	require.Regexp(t, `^127\.8\.0\.1:\d+$`, warnings[0].Text("client"))
	require.Equal(t, "l", warnings[0].Text("listener"))
	require.Zero(t, host.Accepted())
	require.Contains(t, a.MustDo("GET /metrics", ""), `weir_sessions_refused_total{listener="l",reason="untrusted"} 50`)

	c := nettest.DialFrom(t, "127.9.1.1", addr) // an IPv4 client of an IPv6 socket
	io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n")
	require.NoError(t, weirtest.PingPong(c))
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func withListen(l weirtest.Config, listen string) weirtest.Config { l.Listen = listen; return l }

// A connection that closes without a byte, as port probes do, is only counted.
func TestPortProbeIsOnlyCounted(t *testing.T) {
	t.Parallel()
	host := nettest.Start(t, nettest.Echo)
	l := withListen(proxied("", host.Addr()), nettest.Reserve(t))
	w := weirtest.Start(t, strings.Replace(l.String(), `sessions = "all"`, `sessions = "errors"`, 1))
	for i := range 1000 {
		c := nettest.Dial(t, l.Listen)
		if i%3 == 0 {
			nettest.Abort(c)
		}
		c.Close()
	}
	c := say(t, l.Listen, "PROXY TCP4 192")
	_, end := nettest.ReadToEnd(c, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	require.Equal(t, "proxy_header truncated_header", w.SessionRecord(c).Termination())
	require.Len(t, w.Records(func(r weirtest.Record) bool { return r.Termination() != "" }), 1)
	require.Empty(t, w.Warnings())
	require.Zero(t, host.Accepted())
}

// Without accept_proxy, a header is payload.
func TestProxyHeaderIsNotGuessed(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	w, addr := weirtest.Serve(t, weirtest.Config{Levels: weirtest.OneLevel(nettest.Start(t, rec.Handle).Addr())})
	text := "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\nhello"
	c := say(t, addr, text)
	require.Equal(t, text, string(rec.WaitEnd(t, 0, 5*time.Second).Data))
	w.SessionRecord(c)
}

// The client in the header is the one that is admitted, counted and balanced.
func TestClientOfTheHeader(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCDE")
	as := func(ip string) string { return fmt.Sprintf("PROXY TCP4 %s 192.0.2.2 1234 5678\r\n", ip) }
	tell := func(addr, header string) string {
		c := nettest.Dial(t, addr)
		defer c.Close()
		io.WriteString(c, header)
		got, _ := nettest.ReadToEnd(c, 5*time.Second)
		return string(got)
	}
	t.Run("hash", func(t *testing.T) {
		t.Parallel()
		l := weirtest.Config{Cluster: "balance = \"hash\"", Levels: [][]string{weirtest.WeightedLevel(hosts, "A B C D E")}}
		_, plain := weirtest.Serve(t, l)
		p := proxied("")
		p.Cluster, p.Levels = l.Cluster, l.Levels
		_, behind := weirtest.Serve(t, p)
		for _, ip := range clients(12) {
			require.Equal(t, toldFrom(t, ip, plain), tell(behind, as(ip)), "as if it had come by itself")
		}
	})
	t.Run("acl", func(t *testing.T) {
		t.Parallel()
		p := proxied("allow = [\"192.0.2.0/24\"]\ndeny = [\"192.0.2.9\"]\n", weirtest.WeightedLevel(hosts, "A")...)
		w, addr := weirtest.Serve(t, p)
		require.Equal(t, "A", tell(addr, as("192.0.2.1")))
		require.Empty(t, tell(addr, as("192.0.2.9")))
		require.Empty(t, tell(addr, as("198.51.100.1")))
		require.Empty(t, tell(addr, nettest.ProxyV2(0x20, 0)), "the proxy itself is not admitted")
		denied := func(r weirtest.Record) bool { return r.Termination() == "admit denied" }
		nettest.Wait(t, 5*time.Second, "the records", func() bool { return len(w.Records(denied)) == 3 })
		require.Equal(t, "192.0.2.9:1234", w.Records(denied)[0].Text("client"))
		require.Zero(t, w.Records(denied)[0].Int("attempts"))
	})
	t.Run("limit", func(t *testing.T) {
		t.Parallel()
		w, addr := weirtest.Serve(t, proxied("max_sessions_per_source = 2\n", nettest.Start(t, nettest.Echo).Addr()))
		for i := range 3 {
			for range 2 {
				c := nettest.Dial(t, addr)
				io.WriteString(c, as(fmt.Sprintf("192.0.2.%d", i)))
				require.NoError(t, weirtest.PingPong(c))
			}
			c := nettest.Dial(t, addr)
			io.WriteString(c, as(fmt.Sprintf("192.0.2.%d", i)))
			_, end := nettest.ReadToEnd(c, 5*time.Second)
			require.Equal(t, nettest.Reset, end)
		}
		limited := func(r weirtest.Record) bool { return r.Termination() == "admit max_sessions_per_source" }
		nettest.Wait(t, 5*time.Second, "the records", func() bool { return len(w.Records(limited)) == 3 })
	})
}

// Sessions are balanced by the TLVs of the header.
func TestHashOnProxyTLVs(t *testing.T) {
	t.Parallel()
	hosts := weirtest.StartLetters(t, "ABCDE")
	for key, typ := range map[string]byte{"proxy_authority": 2, "proxy_tlv:0xea": 0xea, "aws_vpce_id": 0xea, "gcp_psc_id": 0xe0} {
		p := proxied("")
		p.Cluster = fmt.Sprintf("balance = \"maglev\"\nhash_key = %q", key)
		p.Levels = [][]string{weirtest.WeightedLevel(hosts, "A B C D E")}
		_, addr := weirtest.Serve(t, p)
		tell := func(header string) string {
			c := nettest.Dial(t, addr)
			defer c.Close()
			io.WriteString(c, header)
			got, _ := nettest.ReadToEnd(c, 5*time.Second)
			return string(got)
		}
		seen := map[string]bool{}
		for i := range 12 {
			name := nettest.ProxyTLV(typ, fmt.Sprintf("\x01%d.example.com", i))
			first := tell(nettest.ProxyV2(0x21, 0x11, block4, name))
			require.Len(t, first, 1)
			seen[first] = true
			require.Equal(t, first, tell(nettest.ProxyV2(0x21, 0x21, block6, nettest.ProxyTLV(1, "h2"), name)))
			require.Equal(t, first, tell(nettest.ProxyWithChecksum(nettest.ProxyV2(0x21, 0x31, blockUnx, name, checksum))))
		}
		require.Greater(t, len(seen), 2)
		turns := ""
		for i := range 5 { // without the value: in turn
			turns += tell([]string{nettest.ProxyV2(0x21, 0x11, block4, nettest.ProxyTLV(typ, "")), "PROXY UNKNOWN\r\n"}[i%2])
		}
		require.Len(t, count(map[string]string{"0": turns[:1], "1": turns[1:2], "2": turns[2:3], "3": turns[3:4], "4": turns[4:]}), 5)
	}
}

// A header may contain a family that this host does not support.
func TestProxyHeaderWithoutIPv6(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	ns.Sysctl("ipv6/conf/all/disable_ipv6", "1")
	var rec nettest.Recorder
	host := ns.Start("127.0.0.1:0", rec.Handle)
	l := withListen(proxied("", host.Addr()+" send_proxy=v1"), "127.0.0.1:7000")
	w := weirtest.Options{Namespace: ns}.Start(t, l.String())
	c := ns.Dial(l.Listen)
	io.WriteString(c, nettest.ProxyV2(0x21, 0x21, block6)+"hello")
	c.CloseWrite()
	require.Equal(t, "PROXY TCP6 2001:db8::1 2001:db8::2 1234 5678\r\nhello", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
	nettest.ReadToEnd(c, 5*time.Second)
	require.Empty(t, w.Warnings())
}

// try_timeout covers only the search for a server, not the time that a client takes for its header.
func TestSlowHeaderLeavesTryTimeout(t *testing.T) {
	t.Parallel()
	p := proxied("", nettest.Start(t, nettest.Echo).Addr())
	p.Cluster = "try_timeout = \"200ms\""
	_, addr := weirtest.Serve(t, p)
	c := nettest.Dial(t, addr)
	io.WriteString(c, "PROXY UNK")
	time.Sleep(400 * time.Millisecond)
	io.WriteString(c, "NOWN\r\n")
	require.NoError(t, weirtest.PingPong(c))
}

// A session keeps the client of its header through an upgrade, and a client with an incomplete header is served.
func TestUpgradeKeepsProxiedClients(t *testing.T) {
	t.Parallel()
	var rec nettest.Recorder
	l := withListen(replaceText(proxied("max_sessions_per_source = 1\n", nettest.Start(t, rec.Handle).Addr()+" send_proxy=v1"), `"20s"`, `"1m"`), nettest.Reserve(t))
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, l.String())
	line := "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n"
	c, slow := nettest.Dial(t, l.Listen), nettest.Dial(t, l.Listen)
	io.WriteString(c, line+"before ")
	io.WriteString(slow, "PROXY TCP4 192.0.2.9")
	nettest.Wait(t, 5*time.Second, "the server's visit", func() bool { return len(rec.Conns()) == 1 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for began := time.Now(); len(w.UpgradeRecords()) == 0 && time.Since(began) < 20*time.Second; {
			time.Sleep(time.Millisecond)
		}
		io.WriteString(slow, " 192.0.2.2 1234 5678\r\nslow")
		slow.CloseWrite()
	}()
	w.Upgrade()
	<-done

	again := nettest.Dial(t, l.Listen) // from the address that has its one session
	io.WriteString(again, line)
	_, end := nettest.ReadToEnd(again, 5*time.Second)
	require.Equal(t, nettest.Reset, end)
	io.WriteString(c, "after")
	c.CloseWrite()
	require.Equal(t, line+"before after", string(rec.WaitEnd(t, 0, 5*time.Second).Data))
	require.Equal(t, strings.ReplaceAll(line, "2.1 ", "2.9 ")+"slow", string(rec.WaitEnd(t, 1, 5*time.Second).Data))
	r := w.WaitRecord(5*time.Second, "the session's record", func(r weirtest.Record) bool { return r.Text("client") == "192.0.2.1:1234" && r.Int("bytes_up") == 12 })
	require.Equal(t, "relay client_closed", r.Termination())
}

// Session records show the endpoint in a cloud and the TLS session that the header names.
func TestRecordsShowProxyTLVs(t *testing.T) {
	t.Parallel()
	w, addr := weirtest.Serve(t, proxied("", nettest.Start(t, nettest.SendText("A")).Addr()))
	tls := nettest.ProxyTLV(0x20, "\x07\x00\x00\x00\x00"+nettest.ProxyTLV(0x21, "TLSv1.3")+nettest.ProxyTLV(0x22, "alice"))
	c := nettest.Dial(t, addr)
	_, err := io.WriteString(c, nettest.ProxyV2(0x21, 0x11, block4, nettest.ProxyTLV(0xea, "\x01vpce-0abc"), nettest.ProxyTLV(0xee, "\x01\x04\x03\x02\x01"),
		nettest.ProxyTLV(0xe0, "\x00\x00\x00\x00\x00\x00\x01\x00"), tls))
	require.NoError(t, err)
	weirtest.ReadByte(t, c)
	c.Close()
	r := w.WaitRecord(5*time.Second, "the record", func(r weirtest.Record) bool { return r.Text("client") == "192.0.2.1:1234" })
	require.Equal(t, []string{"vpce-0abc", "16909060", "256"}, []string{r.Text("aws_vpce_id"), r.Text("azure_link_id"), r.Text("gcp_psc_id")})
	require.Equal(t, map[string]any{"version": "TLSv1.3", "client_cn": "alice"}, r["proxy_ssl"])
}
