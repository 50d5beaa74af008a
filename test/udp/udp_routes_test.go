package udp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// Flows are routed by their client's address, by the first datagram.
func TestUDPRoutes(t *testing.T) {
	t.Parallel()
	var hosts []string
	for _, name := range []string{"a", "b", "c"} {
		reply := func(_ netip.AddrPort, _ []byte, reply func([]byte)) { reply([]byte(name)) }
		hosts = append(hosts, nettest.StartDatagrams(t, reply).Addr())
	}
	config := weirtest.Config{
		Levels: weirtest.OneLevel(hosts[2]),
		Listener: "[[listener.route]]\nname = \"two\"\nsource = [\"127.0.0.2\"]\ncluster = \"a\"\n" +
			"[[listener.route]]\nsource = [\"127.0.0.4/30\"]\nsplit = { b = 1 }\n",
		More: "[cluster.a]\n[[cluster.a.level]]\nservers = [\"" + hosts[0] + "\"]\n[cluster.b]\n[[cluster.b.level]]\nservers = [\"" + hosts[1] + "\"]\n",
	}
	config.Listener = "protocol = \"udp\"\nflow_timeout = \"2s\"\n" + config.Listener
	w, addr := weirtest.ServeUDP(t, config)
	for _, x := range [][3]string{{"127.0.0.1", "c", "default"}, {"127.0.0.2", "a", "two"}, {"127.0.0.5", "b", "route[1]"}} {
		c := nettest.DialDatagrams(t, x[0]+":0", addr)
		require.Equal(t, x[1], c.RoundTrip("x"))
		client := c.LocalAddr().String()
		r := w.WaitRecord(weirtest.Bound(10*time.Second), "the record", func(r weirtest.Record) bool { return r.Text("client") == client && r.Termination() != "" })
		require.Equal(t, []string{x[2], x[1]}, []string{r.Text("route"), r.Text("cluster")})
	}
}
