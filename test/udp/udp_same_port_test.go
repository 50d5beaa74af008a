package udp_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/proxy"
	"weir/internal/weirtest"
)

// A flow goes to the port that its client sent to, keeps it through an upgrade, and its record shows it. With a PROXY header
// it is the port in the header.
func TestUDPServerAtClientsPort(t *testing.T) {
	t.Parallel()
	var listen, ports []string
	for _, name := range []string{"a", "b"} {
		at := nettest.ReserveDatagrams(t)
		port := strconv.Itoa(int(netip.MustParseAddrPort(at).Port()))
		nettest.StartDatagramsAt(t, "127.0.0.2:"+port, nettest.ReplyWithName(name))
		listen, ports = append(listen, at), append(ports, port)
	}
	l := weirtest.Config{Listen: listen[0], Listener: "flow_timeout = \"20s\"", Levels: weirtest.OneLevel("127.0.0.2 port=same name=s")}.UDP(t)
	config := func(more string) string {
		return strings.Replace(l.String(), "address = \""+listen[0]+"\"", "address = [\""+strings.Join(listen, `", "`)+"\"]\n"+more, 1)
	}
	w := weirtest.Options{Program: weirtest.CopyProgram(t)}.Start(t, config(""))
	var clients []*nettest.DatagramClient
	var replies []string
	for i, at := range listen {
		c := nettest.DialDatagrams(t, "", at)
		reply := c.RoundTrip("x")
		require.True(t, strings.HasPrefix(reply, string("ab"[i])+" "), reply)
		clients, replies = append(clients, c), append(replies, reply)
	}
	w.Upgrade()
	for i, c := range clients {
		require.Equal(t, replies[i], c.RoundTrip("x"), "the same flow, from the same port")
	}
	for i := range clients {
		w.WaitRecord(weirtest.Bound(40*time.Second), "the record", func(r weirtest.Record) bool {
			return r.Text("server_address") == "127.0.0.2:"+ports[i] && r.Text("server") == "s"
		})
	}

	l.Listener = strings.Replace(l.Listener, "20s", "2s", 1)
	w.Reload(config("accept_proxy = true\ntrusted_proxies = [\"127.0.0.1\"]\n"))
	c := nettest.DialDatagrams(t, "", listen[0])
	header := proxy.Header{Version: 2, Transport: proxy.Datagram, Source: netip.MustParseAddrPort("192.0.2.1:1"), Dest: netip.MustParseAddrPort("192.0.2.2:" + ports[1])}
	require.Contains(t, c.RoundTrip(string(header.Append(nil))+"x"), "b ")
	header.Local = true
	require.Contains(t, c.RoundTrip(string(header.Append(nil))+"x"), "a ")
}
