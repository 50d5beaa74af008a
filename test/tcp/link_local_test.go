package tcp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// A server at a link-local address is reached through the interface that its zone names: by sessions, flows and checks,
// with and without a source address. An unknown interface is an error with its line, at a start and at a reload.
func TestLinkLocalServer(t *testing.T) {
	t.Parallel()
	weir, servers := nettest.NewNamespace(t), nettest.NewNamespace(t)
	weir.Connect(servers, "10.1.0.1", "10.1.0.2")
	weir.Exec("ip", "-6", "address", "add", "fe80::11/64", "dev", "eth0", "nodad")
	servers.Exec("ip", "-6", "address", "add", "fe80::77/64", "dev", "eth0", "nodad")
	servers.Start("[fe80::77%eth0]:7001", nettest.Echo)
	servers.StartDatagrams("[fe80::77%eth0]:7002", nettest.ReplyWithName("a"))
	const tcp, udp = "[fe80::77%eth0]:7001", "[fe80::77%eth0]:7002"
	check := "[[cluster.%s.check]]\ntype = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfall = 3\n"
	l := weirtest.Config{
		Listen: "127.0.0.1:7000", Cluster: "protected = false", Levels: weirtest.OneLevel(tcp), Checks: fmt.Sprintf(check, "c"),
		More: weirtest.ListenerTables("source", "127.0.0.1:7003", tcp+" source=fe80::11") + fmt.Sprintf(check, "source") +
			strings.Replace(weirtest.ListenerTables("udp", "127.0.0.1:7004", udp), "cluster =", "protocol = \"udp\"\nflow_timeout = \"4s\"\ncluster =", 1) +
			strings.Replace(weirtest.ListenerTables("udpsource", "127.0.0.1:7005", udp+" source=fe80::11"), "cluster =", "protocol = \"udp\"\nflow_timeout = \"4s\"\ncluster =", 1),
	}
	w := weirtest.Options{Namespace: weir}.Start(t, l.String())
	for range 3 {
		for _, addr := range []string{"127.0.0.1:7000", "127.0.0.1:7003"} {
			c := weir.Dial(addr)
			require.NoError(t, weirtest.PingPong(c), addr)
			c.Close()
		}
		for _, addr := range []string{"127.0.0.1:7004", "127.0.0.1:7005"} {
			require.True(t, strings.HasPrefix(weir.DialDatagrams("", addr).RoundTrip("x"), "a "), addr)
		}
		time.Sleep(500 * time.Millisecond) // a round of checks, the first of which decides alone
	}
	require.Empty(t, w.Events("server_down"))

	good := l.String()
	bad := strings.Replace(good, "%eth0]:7001", "%eth9]:7001", 1)
	r := w.FailReload(bad)
	line := 1 + strings.Count(bad[:strings.Index(bad, "%eth9")], "\n")
	text := fmt.Sprintf("%s:%d:12: cluster.c.level[0].servers[0].address: [fe80::77%%eth9]:7001: this host has no interface \"eth9\"", w.File, line)
	require.Contains(t, fmt.Sprint(r), text)
	c := weir.Dial("127.0.0.1:7000")
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	code, output := weirtest.RunCommand(t, "run", "-c", w.File)
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "this host has no interface")
}
