// Listeners and servers at network interfaces, and at addresses that the host gets later.

package tcp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// With freebind, weir listens at an address before the host has it, and serves as soon as it does. Without it, the start fails.
func TestFreebind(t *testing.T) {
	t.Parallel()
	ns := nettest.NewNamespace(t)
	server := ns.Start("127.0.0.1:7001", nettest.SendText("A"))
	config := weirtest.Config{Listen: "10.9.9.9:7000", Levels: weirtest.OneLevel(server.Addr())}
	w := weirtest.Options{Namespace: ns}.StartUnready(t, config.String())
	require.Equal(t, 2, w.WaitExit(weirtest.Bound(5*time.Second)))
	config.Listener = "freebind = true"
	weirtest.Options{Namespace: ns}.Start(t, config.String())
	_, err := ns.TryDial(config.Listen)
	require.Error(t, err)
	ns.Exec("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
	require.Equal(t, "A", weirtest.ReadByte(t, ns.Dial(config.Listen)))
	config.Listen = "[2001:db8:9::9]:7000"
	weirtest.Options{Namespace: ns}.Start(t, config.String())
}

// interface accepts only clients of that network, also after a reload; source_interface makes dials and checks leave there.
func TestInterfaces(t *testing.T) {
	t.Parallel()
	ns, one, two := nettest.NewNamespace(t), nettest.NewNamespace(t), nettest.NewNamespace(t)
	ns.Connect(one, "10.1.0.1", "10.1.0.2") // eth0
	ns.Connect(two, "10.2.0.1", "10.2.0.2") // eth1
	for _, other := range []*nettest.Namespace{one, two} {
		other.Exec("ip", "address", "add", "10.3.0.1/32", "dev", "lo")
	}
	one.Exec("ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.1")
	two.Exec("ip", "route", "add", "10.1.0.0/24", "via", "10.2.0.1")
	// Both networks have a host with the same address; the routing table prefers eth0.
	ns.Exec("ip", "route", "add", "10.3.0.1/32", "via", "10.1.0.2", "dev", "eth0", "metric", "1")
	ns.Exec("ip", "route", "add", "10.3.0.1/32", "via", "10.2.0.2", "dev", "eth1", "metric", "2")
	one.Start("10.3.0.1:7001", nettest.SendText("1"))
	two.Start("10.3.0.1:7001", nettest.SendText("2"))

	config := weirtest.Config{Listen: "0.0.0.0:7000", Listener: "interface = \"eth0\"", Cluster: "source_interface = \"eth1\"", Levels: weirtest.OneLevel("10.3.0.1:7001"),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\nsend = \"\"\nexpect = \"2\"\ninterval = \"100ms\"\ntimeout = \"90ms\"\ninitial = \"down\"\n"}
	w := weirtest.Options{Namespace: ns}.Start(t, config.String())
	w.WaitRecord(weirtest.Bound(10*time.Second), "the server to be up", func(r weirtest.Record) bool { return r.IsEvent("server_up") || r.IsEvent("server_state") })
	require.Equal(t, "2", weirtest.ReadByte(t, one.Dial("10.1.0.1:7000")))
	_, err := two.TryDial("10.2.0.1:7000")
	require.Error(t, err)

	config.Listener, config.Cluster = "interface = \"eth1\"", ""
	config.Checks = ""
	w.Reload(config.String())
	require.Equal(t, "1", weirtest.ReadByte(t, two.Dial("10.2.0.1:7000")))
	_, err = one.TryDial("10.1.0.1:7000")
	require.Error(t, err)

	config.Listener = "interface = \"eth7\""
	config.Listen = "0.0.0.0:7002"
	r := w.FailReload(config.String())
	require.Contains(t, r.Text("error")+r.Text("reason"), "interface eth7")
}
