// UDP flows that the kernel forwards, with the built binary.

package promotion_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Between two interfaces, the kernel forwards the datagrams of a busy flow over IPv4 and IPv6, without weir. The record of the flow counts
// them, the flow ends when it is idle and not before, and datagrams lose one hop.
func TestBetweenInterfaces(t *testing.T) {
	t.Parallel()
	for _, ip := range []struct{ listen, server string }{{"10.1.0.2:5300", "10.2.0.2:9000"}, {"[fd01::2]:5300", "[fd02::2]:9000"}} {
		t.Run(ip.listen, func(t *testing.T) {
			t.Parallel()
			h := newThree(t, func(h *three) { h.config.Listen, h.config.Levels = ip.listen, weirtest.OneLevel(ip.server) })
			host := h.server.StartDatagrams(ip.server, nettest.EchoDatagram)
			h.start(weirtest.Options{})
			require.Equal(t, 2, programs(t, h.weir))
			c := h.client.DialDatagrams("", ip.listen)
			trips := promote(t, h.api, c)
			bytes := trips * len(text(1))
			n := requireForwardedByKernel(t, h.w, c)
			trips, bytes = trips+n, bytes+n*len("while weir is stopped")
			require.Equal(t, "1", h.api.Metric("weir_promoted_sessions"))
			require.Equal(t, "1", h.api.Metric(`weir_promotions_total{reason="busy",result="promoted"}`))
			id := h.api.Sessions()[0].(map[string]any)["id"]
			for began := time.Now(); time.Since(began) < 2500*time.Millisecond; time.Sleep(50 * time.Millisecond) {
				trips++
				require.Equal(t, text(trips), c.RoundTrip(text(trips)))
				bytes += len(text(1))
			}
			require.Equal(t, id, h.api.Sessions()[0].(map[string]any)["id"], "an active flow does not end")
			r := h.w.SessionRecord(c)
			require.Equal(t, "relay flow_timeout", r.Termination())
			require.Equal(t, bytes, r.Int("bytes_up"))
			require.Equal(t, bytes, r.Int("bytes_down"))
			require.Equal(t, trips, host.Received())
			for _, to := range []string{"servers", "clients"} {
				require.Equal(t, strconv.Itoa(trips), h.api.Metric(`weir_sent_to_`+to+`_datagrams_total{listener="l"}`))
			}
			require.Equal(t, "0", h.api.Metric("weir_promoted_sessions"))
			require.Equal(t, "1", h.api.Metric(`weir_promotions_total{reason="session_ended",result="demoted"}`))
		})
	}
}

// A forwarded datagram has a hop less than when it was sent.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	h := newThree(t, nil)
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	h.server.Filter("ip ttl 63 counter accept")
	h.client.Filter("ip ttl 63 counter accept")
	n := requireForwardedByKernel(t, h.w, c)
	for _, ns := range []*nettest.Namespace{h.server, h.client} {
		require.Contains(t, ns.Exec("nft", "list", "ruleset"), fmt.Sprintf("counter packets %d ", n))
	}
	// One without a hop left is relayed: it gets a new lifetime, as always.
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 1) }))
	require.NoError(t, err)
	require.Equal(t, "last hop", c.RoundTrip("last hop"))
}

// On the loopback interface too, with datagrams of every size, those that the kernel joins, and those without offloads.
func TestLoopback(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.StartDatagrams("127.0.0.1:9000", nettest.EchoDatagram)
	api := weirtest.NewAPI(t)
	l := weirtest.Config{Listen: "127.0.0.1:5300", Runtime: `promote_interfaces = ["lo"]`, Listener: listener, Levels: weirtest.OneLevel(host.Addr())}
	w := weirtest.Options{Namespace: ns}.Start(t, api.AddTo(l.String()))
	w.Baseline["socket"]++ // to ask for routes
	c := ns.DialDatagrams("", l.Listen)
	c.SetReadBuffer(8 << 20)
	promote(t, api, c)
	requireForwardedByKernel(t, w, c)
	for i := range 200 {
		sent := make([]byte, rand.IntN(65508))
		for j := range sent {
			sent[j] = byte(j*7 + i)
		}
		c.Send(sent)
		got, ok := c.Receive(10 * time.Second)
		require.True(t, ok, "no answer to %d bytes", len(sent))
		require.True(t, bytes.Equal(sent, got), "%d bytes came back as %d", len(sent), len(got))
	}
	// Datagrams that leave in one send (GSO) arrive one by one.
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000) }))
	require.NoError(t, err)
	before := host.Received()
	c.Send(bytes.Repeat([]byte("0123456789"), 1250))
	for i := range 13 {
		got, ok := c.Receive(10 * time.Second)
		require.True(t, ok, "datagram %d", i)
		require.Len(t, got, []int{1000, 500}[i/12])
	}
	require.Equal(t, 13, host.Received()-before)
	require.Equal(t, "kernel", forward(api, c))
	nettest.Wait(t, 10*time.Second, "the datagrams to be counted", func() bool {
		return api.Metric(`weir_sent_to_servers_datagrams_total{listener="l"}`) == fmt.Sprint(host.Received())
	})
}

// With checksums computed by software everywhere, no datagram arrives with a wrong one.
func TestChecksumsWithoutOffloads(t *testing.T) {
	t.Parallel()
	h := newThree(t, nil)
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	for _, at := range []struct {
		ns      *nettest.Namespace
		devices []string
	}{{h.client, []string{"eth0"}}, {h.weir, []string{"eth0", "eth1"}}, {h.server, []string{"eth0"}}} {
		for _, d := range at.devices {
			switchOffloadsOff(t, at.ns, d)
		}
	}
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	requireForwardedByKernel(t, h.w, c)
	for i := range 300 {
		ask := strings.Repeat(string(rune('a'+i%26)), rand.IntN(1400))
		require.Equal(t, ask, c.RoundTrip(ask))
	}
	for _, ns := range []*nettest.Namespace{h.client, h.server} {
		require.Equal(t, 0, udpErrors(ns, "InCsumErrors"))
	}
	require.Equal(t, "kernel", forward(h.api, c))
}

// switchOffloadsOff makes an interface leave checksums and segments to the kernel (linux/ethtool.h).
func switchOffloadsOff(t *testing.T, ns *nettest.Namespace, device string) {
	t.Helper()
	const setRxChecksum, setTxChecksum, setGSO, setGRO = 0x15, 0x17, 0x24, 0x2c
	ns.Do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		for _, command := range []uint32{setRxChecksum, setTxChecksum, setGSO, setGRO} {
			value := [2]uint32{command, 0}
			request := struct {
				name [unix.IFNAMSIZ]byte
				data *[2]uint32
				_    [16]byte
			}{data: &value}
			copy(request.name[:], device)
			_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
			require.Zero(t, e)
		}
	})
}

// udpErrors returns a counter of UDP in /proc/net/snmp.
func udpErrors(ns *nettest.Namespace, name string) int {
	var names []string
	for line := range strings.Lines(ns.Exec("cat", "/proc/net/snmp")) {
		fields := strings.Fields(line)
		if fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := range names {
			if names[i] == name {
				n, _ := strconv.Atoi(fields[i])
				return n
			}
		}
	}
	return -1
}

// A datagram larger than the interface's MTU leaves in fragments, and its fragmented reply arrives: weir relays them, while smaller ones
// pass in the kernel.
func TestFragments(t *testing.T) {
	t.Parallel()
	h := newThree(t, nil)
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.weir.Exec("ip", "link", "set", "eth1", "mtu", "1300")
	h.server.Exec("ip", "link", "set", "eth0", "mtu", "1300")
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	for _, size := range []int{1272, 1273, 1400, 1472, 1473, 5000, 100} {
		ask := strings.Repeat("x", size)
		require.Equal(t, ask, c.RoundTrip(ask), "%d bytes", size)
	}
	require.Equal(t, "kernel", forward(h.api, c))
	requireForwardedByKernel(t, h.w, c)
}

// A router behind weir that refuses a datagram for its size ends the promotion: weir sends such datagrams in fragments.
func TestRouterWithSmallMTU(t *testing.T) {
	t.Parallel()
	for _, ip := range []struct{ listen, server string }{{"10.1.0.2:5300", "10.3.0.2:9000"}, {"[fd01::2]:5300", "[fd03::2]:9000"}} {
		t.Run(ip.listen, func(t *testing.T) {
			t.Parallel()
			h := newThree(t, func(h *three) { h.config.Listen, h.config.Levels = ip.listen, weirtest.OneLevel(ip.server) })
			router, server := h.server, nettest.NewNamespace(t)
			router.Connect(server, "10.3.0.1", "10.3.0.2")
			router.Exec("ip", "address", "add", "fd03::1/64", "dev", "eth1", "nodad")
			server.Exec("ip", "address", "add", "fd03::2/64", "dev", "eth0", "nodad")
			for _, family := range []string{"4", "6"} {
				path := map[string]string{"4": "ipv4/ip_forward", "6": "ipv6/conf/all/forwarding"}[family]
				router.Sysctl(path, "1")
				gateways := map[string][2]string{"4": {"10.2.0.2", "10.3.0.1"}, "6": {"fd02::2", "fd03::1"}}[family]
				h.weir.Exec("ip", "-"+family, "route", "add", map[string]string{"4": "10.3.0.0/24", "6": "fd03::/64"}[family], "via", gateways[0])
				server.Exec("ip", "-"+family, "route", "add", map[string]string{"4": "10.2.0.0/24", "6": "fd02::/64"}[family], "via", gateways[1])
			}
			router.Exec("ip", "link", "set", "eth1", "mtu", "1300")
			server.Exec("ip", "link", "set", "eth0", "mtu", "1300")
			server.StartDatagrams(ip.server, nettest.EchoDatagram)
			h.start(weirtest.Options{})
			c := h.client.DialDatagrams("", ip.listen)
			nettest.Wait(t, 10*time.Second, "the neighbours", func() bool { return answered(c) })
			discardReplies(c)
			promote(t, h.api, c)
			requireForwardedByKernel(t, h.w, c)
			large := strings.Repeat("x", 1400)
			c.Send([]byte(large)) // the router refuses it
			nettest.Wait(t, 10*time.Second, "weir to relay", func() bool {
				return h.api.Metric(`weir_promotions_total{reason="packet_too_big",result="demoted"}`) == "1"
			})
			require.Equal(t, large, c.RoundTrip(large))
			require.Equal(t, "user", forward(h.api, c))
		})
	}
}

// Flows that need every datagram, and those whose packets leave elsewhere, are relayed, and the metrics say why.
func TestNotPromoted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		adjust func(*three)
		listen string
	}{
		{"needs_datagrams", func(h *three) { h.config.Listener += "requests = 1000\n" }, "10.1.0.2:5300"},
		{"interfaces", func(h *three) { h.config.Runtime = `promote_interfaces = ["eth1"]` }, "10.1.0.2:5300"},
		{"address_families", func(h *three) { h.config.Levels = weirtest.OneLevel("[fd02::2]:9000") }, "10.1.0.2:5300"},
		{"not_seen", func(h *three) { // translated on this host
			h.weir.Exec("nft", "add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; }; add rule ip nat pre udp dport 5301 redirect to :5300")
		}, "10.1.0.2:5301"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			h := newThree(t, test.adjust)
			h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
			h.server.StartDatagrams("[fd02::2]:9000", nettest.EchoDatagram)
			h.start(weirtest.Options{})
			c := h.client.DialDatagrams("", test.listen)
			metric := `weir_promotions_total{reason="` + test.reason + `",result="refused"}`
			nettest.Wait(t, 20*time.Second, metric, func() bool {
				for range 10 {
					require.Equal(t, "x", c.RoundTrip("x"))
				}
				return metricValue(t, h.api, metric) > 0
			})
			for range 100 {
				require.Equal(t, "x", c.RoundTrip("x"))
			}
			require.Equal(t, "user", forward(h.api, c))
			require.Equal(t, "0", h.api.Metric(`weir_promotions_total{reason="busy",result="promoted"}`))
		})
	}
}

func metricValue(t *testing.T, api weirtest.API, line string) int {
	t.Helper()
	n, err := strconv.Atoi(api.Metric(line))
	require.NoError(t, err, line)
	return n
}

// Without the capabilities one warning names them, and flows are relayed. Without the key nothing is loaded.
func TestWithoutCapabilities(t *testing.T) {
	t.Parallel()
	h := newThree(t, nil)
	h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.start(weirtest.Options{Wrapper: []string{"setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin", "--inh-caps", "-bpf,-perfmon,-sys_admin"}})
	r := h.w.WaitRecord(10*time.Second, "the warning", func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "sessions are not promoted") })
	require.Equal(t, "missing capability CAP_BPF, CAP_PERFMON", r.Text("error"))
	c := h.client.DialDatagrams("", h.config.Listen)
	for range 100 {
		require.Equal(t, "x", c.RoundTrip("x"))
	}
	require.Equal(t, "user", forward(h.api, c))
	require.Contains(t, h.api.Get("promotion", "problem"), "CAP_BPF")
	require.Zero(t, programs(t, h.weir))
	h.w.Reload(h.api.AddTo(h.config.UDP(t).String()))
	h.config.Runtime, h.config.Listener = "", strings.ReplaceAll(listener, "promote", "# promote")
	h.w.Reload(h.api.AddTo(h.config.UDP(t).String()))
	require.Empty(t, h.api.Metric("weir_promoted_sessions"))
	require.Nil(t, h.api.Get("promotion"))
	require.Len(t, h.w.Records(func(r weirtest.Record) bool { return strings.HasPrefix(r.Text("msg"), "sessions are not promoted") }), 1+1, "of the start, and of the reload that says that weir must be restarted")
}

// A server that refuses a datagram which the kernel has forwarded is left: the client's next datagram goes to the next server.
func TestRefusal(t *testing.T) {
	t.Parallel()
	h := newThree(t, func(h *three) { h.config.Levels = [][]string{{"10.2.0.2:9000 name=a"}, {"10.2.0.2:9001 name=b"}} })
	a := h.server.StartDatagrams("10.2.0.2:9000", nettest.EchoDatagram)
	h.server.StartDatagrams("10.2.0.2:9001", nettest.ReplyWithName("b"))
	h.start(weirtest.Options{})
	c := h.client.DialDatagrams("", h.config.Listen)
	promote(t, h.api, c)
	a.Down()
	c.Send([]byte("refused"))
	nettest.Wait(t, 10*time.Second, "the flow to leave the server", func() bool { return forward(h.api, c) == "user" })
	require.Contains(t, c.RoundTrip("x"), "b ")
	require.Equal(t, "1", h.api.Metric(`weir_server_dial_failures_total{cluster="c",server="a"}`))
}
