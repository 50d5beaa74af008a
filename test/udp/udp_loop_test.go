// Datagrams that come back: weir drops what its own sockets have sent.

package udp_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// requireNoCircle requires that a host gets exactly n datagrams, and that weir drops a datagram as its own.
func requireNoCircle(t *testing.T, w *weirtest.Weir, a weirtest.API, host *nettest.DatagramHost, n int) {
	t.Helper()
	nettest.Wait(t, 5*time.Second, "the drop", func() bool { return a.DroppedDatagrams("loop") > 0 })
	before := w.Process().CPUTime(t)
	time.Sleep(200 * time.Millisecond) // what circles takes a core
	require.Less(t, w.Process().CPUTime(t)-before, 100*time.Millisecond)
	require.LessOrEqual(t, a.DroppedDatagrams("loop"), 2)
	require.Len(t, w.Records(func(r weirtest.Record) bool {
		return strings.HasPrefix(r.Text("msg"), "datagram dropped: it comes from a socket of weir")
	}), 1)
	if host != nil {
		require.Equal(t, n, host.Received())
	}
}

// A server whose address became one of this host leads back to the wildcard listener.
func TestDatagramToOwnWildcardListener(t *testing.T) {
	t.Parallel()
	for family, server := range map[string]string{"4": "10.77.0.1", "6": "fd77::1"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			ns := nettest.NewNamespace(t)
			l := weirtest.Config{Listen: ":5300", Levels: weirtest.OneLevel(netip.AddrPortFrom(netip.MustParseAddr(server), 5300).String())}.UDP(t)
			a := weirtest.NewAPI(t)
			ns.Exec("ip", "route", "add", "default", "dev", "lo")
			ns.Exec("ip", "-6", "route", "add", "default", "dev", "lo")
			w := weirtest.Options{Namespace: ns}.Start(t, a.AddTo(l.String()))
			ns.AddAddress(server)
			c := ns.DialDatagrams("", "127.0.0.1:5300")
			c.Send([]byte("x"))
			requireNoCircle(t, w, a, nil, 0)
		})
	}
}

// A forged datagram from the address of a server, which answers every datagram, starts no exchange between it and the
// listener. The server may be a client from another port. A server is known by its name, and from its addition at run time on.
func TestForgedDatagramFromServer(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	hosts := []*nettest.DatagramHost{
		ns.StartDatagrams("127.0.0.1:9000", nettest.EchoDatagram), ns.StartDatagrams("127.0.0.1:9001", nettest.EchoDatagram),
	}
	added := ns.StartDatagrams("127.0.0.3:9002", nettest.EchoDatagram)
	l := weirtest.Config{Listen: "127.0.0.1:5300", Levels: weirtest.OneLevel("127.0.0.1:9000", "localhost:9001")}.UDP(t)
	a := weirtest.NewAPI(t)
	weirtest.Options{Namespace: ns}.Start(t, a.AddTo(l.String()))
	forge := func(from string) {
		ns.Do(func() {
			assertNoError(t, nettest.ForgeDatagram(netip.MustParseAddrPort(from), netip.MustParseAddrPort(l.Listen), []byte("x")))
		})
	}
	for i, from := range []string{"127.0.0.1:9000", "127.0.0.1:9001"} {
		forge(from)
		nettest.Wait(t, 5*time.Second, "the drop of a datagram from "+from, func() bool { return a.DroppedDatagrams("loop") == i+1 })
	}
	require.Zero(t, hosts[0].Received()+hosts[1].Received())
	require.Equal(t, "x", ns.DialDatagrams("127.0.0.1:9100", l.Listen).RoundTrip("x"), "a client at a server's IP address")
	a.MustDo("POST /v1/clusters/c/servers", `{"address": "127.0.0.3:9002"}`)
	forge("127.0.0.3:9002")
	nettest.Wait(t, 5*time.Second, "the drop of a datagram from the new server", func() bool { return a.DroppedDatagrams("loop") == 3 })
	require.Empty(t, added.Received())
}

// A forged datagram from a listener's or a flow's own address starts nothing.
func TestDatagramFromOwnAddress(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	host := ns.StartDatagrams("127.0.0.1:9000", nettest.ReplyWithName("s"))
	config := weirtest.Config{Listen: "127.0.0.1:5300", Levels: weirtest.OneLevel(host.Addr())}.UDP(t).String() +
		"\n[[listener]]\nname = \"other\"\naddress = \"127.0.0.2:5301\"\nprotocol = \"udp\"\ncluster = \"c\"\n" +
		"\n[[listener]]\nname = \"all\"\naddress = \"0.0.0.0:5302\"\nprotocol = \"udp\"\ncluster = \"c\"\n"
	a := weirtest.NewAPI(t)
	weirtest.Options{Namespace: ns}.Start(t, a.AddTo(config))
	to := netip.MustParseAddrPort("127.0.0.1:5300")
	_, flow, _ := strings.Cut(ns.DialDatagrams("", "127.0.0.1:5300").RoundTrip("x"), " ")
	for i, from := range []string{"127.0.0.1:5300", "127.0.0.2:5301", "127.0.0.1:5302", "127.9.9.9:5302", flow} {
		ns.Do(func() { assertNoError(t, nettest.ForgeDatagram(netip.MustParseAddrPort(from), to, []byte("x"))) })
		nettest.Wait(t, 5*time.Second, "the drop of a datagram from "+from, func() bool { return a.DroppedDatagrams("loop") == i+1 })
	}
	require.Equal(t, 1, host.Received())
	ns.DialDatagrams("127.0.0.2:5300", "127.0.0.1:5300").RoundTrip("a port of a listener at another address is a client's")
}
