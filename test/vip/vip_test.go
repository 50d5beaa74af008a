// Addresses that the host has while weir can serve at them, with the binary in network namespaces.

package vip_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

const (
	v4 = "10.9.9.9/32"
	v6 = "fd00::99/128"
)

// node is a network namespace with a server and, if it runs, a weir with vips.
type node struct {
	*nettest.Namespace
	t      *testing.T
	api    weirtest.API
	server *nettest.Host
	config weirtest.Config
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{Namespace: nettest.NewNamespace(t), t: t, api: weirtest.NewAPI(t)}
	n.server = n.Start("127.0.0.1:7001", nettest.Echo)
	n.config = weirtest.Config{
		Listen: "10.9.9.9:7000", Listener: "freebind = true", Cluster: "protected = false", Levels: weirtest.OneLevel(n.server.Addr()),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"50ms\"\nfall = 2\nrise = 1\n",
		More:   vips("hold = \"0s\""),
	}
	return n
}

// vips returns the tables of both addresses, with more lines each.
func vips(lines string) string {
	return fmt.Sprintf("[[vip]]\naddress = %q\nclusters = [\"c\"]\n%s\n[[vip]]\naddress = %q\nclusters = [\"c\"]\n%[2]s\n", v4, lines, v6)
}

func (n *node) text() string { return n.api.AddTo(n.config.String()) }

func (n *node) serve() *weirtest.Weir {
	n.t.Helper()
	return weirtest.Options{Namespace: n.Namespace}.Start(n.t, n.text())
}

// addresses returns the addresses of the tests on an interface.
func (n *node) addresses(device string) (list []string) {
	n.t.Helper()
	var links []struct {
		Addresses []struct {
			Local  string `json:"local"`
			Length int    `json:"prefixlen"`
			Label  string `json:"label"`
		} `json:"addr_info"`
	}
	require.NoError(n.t, json.Unmarshal([]byte(n.Exec("ip", "-j", "address", "show", "dev", device)), &links))
	for _, l := range links {
		for _, a := range l.Addresses {
			if a.Local == "10.9.9.9" || a.Local == "fd00::99" {
				list = append(list, fmt.Sprintf("%s/%d", a.Local, a.Length))
			}
		}
	}
	return list
}

func (n *node) waitAddresses(device string, want ...string) {
	n.t.Helper()
	var got []string
	nettest.Wait(n.t, weirtest.Bound(15*time.Second), fmt.Sprintf("the addresses %v on %s", want, device), func() bool {
		got = n.addresses(device)
		return strings.Join(got, " ") == strings.Join(want, " ")
	})
}

// waitVIPs waits until the status has all addresses in a state, and returns the first.
func (n *node) waitVIPs(state string) (first status.VIP) {
	n.t.Helper()
	nettest.Wait(n.t, weirtest.Bound(15*time.Second), "vips that are "+state, func() bool {
		var doc status.Document
		require.NoError(n.t, json.Unmarshal([]byte(n.api.MustDo("GET /v1/status", "")), &doc))
		for _, v := range doc.VIPs {
			if v.State != state {
				return false
			}
		}
		if len(doc.VIPs) == 0 {
			return false
		}
		first = doc.VIPs[0]
		return true
	})
	return first
}

func reasonsOf(w *weirtest.Weir, event string) (list []string) {
	for _, r := range w.Records(func(r weirtest.Record) bool { return r.IsEvent(event) }) {
		list = append(list, r.Text("address")+": "+r.Text("reason"))
	}
	return list
}

// The addresses are added when weir serves and are removed by a stop, before stop_delay and for both families. Clients reach them.
func TestAddressesFollowStartAndStop(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.Runtime = "stop_delay = \"1h\""
	w := n.serve()
	n.waitAddresses("lo", v4, v6)
	require.Contains(t, n.Exec("ip", "address", "show", "lo"), "10.9.9.9/32 scope global lo:weir")
	c := n.Dial("10.9.9.9:7000")
	require.NoError(t, weirtest.PingPong(c))
	c.Close()
	require.Equal(t, "1", n.api.Metric(`weir_vip_up{address="10.9.9.9/32",interface="lo"}`))
	code, _ := n.api.Do("GET /readyz?cluster=c", "")
	require.Equal(t, 200, code)
	code, text := n.api.Do("GET /readyz?cluster=none", "")
	require.Equal(t, 404, code, text)

	w.WaitNoSessions(n.api)
	w.Signal(syscall.SIGTERM)
	n.waitAddresses("lo")
	require.NoError(t, weirtest.PingPong(n.Dial("127.0.0.1:7001")))
	require.False(t, w.HasExited()) // stop_delay
	w.Signal(syscall.SIGTERM)
	require.Zero(t, w.WaitExit(weirtest.Bound(15*time.Second)))
	require.Equal(t, []string{v4 + ": weir is stopping", v6 + ": weir is stopping"}, reasonsOf(w, "vip_removed"))
}

// An address is removed when a cluster that it depends on has no eligible server, and is added again after hold.
func TestAddressesFollowClusters(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	hold := time.Second
	n.config.More = vips(fmt.Sprintf("hold = %q", hold))
	began := time.Now()
	w := n.serve()
	n.waitAddresses("lo", v4, v6)
	require.GreaterOrEqual(t, time.Since(began), hold)
	n.server.Down()
	v := n.waitVIPs("down")
	require.Equal(t, "cluster c has no eligible server", v.Reason)
	require.Empty(t, n.addresses("lo"))
	code, text := n.api.Do("GET /readyz?cluster=c", "")
	require.Equal(t, 503, code)
	require.Contains(t, text, "cluster c has no eligible server")
	code, _ = n.api.Do("GET /readyz", "")
	require.Equal(t, 200, code)
	require.Contains(t, n.api.MustRunCommand("status"), "vip 10.9.9.9/32 removed")

	n.server.Up()
	up := w.WaitRecord(weirtest.Bound(15*time.Second), "the server to be up", func(r weirtest.Record) bool { return r.IsEvent("server_up") })
	n.waitAddresses("lo", v4, v6)
	at, err := time.Parse(time.RFC3339Nano, up.Text("time"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(at), hold)
	require.Equal(t, v4+": cluster c has no eligible server", reasonsOf(w, "vip_removed")[0])
	code, text = n.api.Do("DELETE /v1/clusters/c", "")
	require.Equal(t, 409, code, text)
}

// A drained node has no address and is not ready. Its sessions continue and new clients are served. The state survives an upgrade
// and a restart.
func TestNodeDrain(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.Listen = ":7000"
	n.config.Runtime, _ = weirtest.StateFile(t)
	w := n.serve()
	n.waitAddresses("lo", v4, v6)
	session := n.Dial("10.9.9.9:7000")
	require.NoError(t, weirtest.PingPong(session))
	require.Equal(t, "node: drained; sessions continue\n", n.api.MustRunCommand("node", "drain", "--reason", "new kernel"))
	require.Empty(t, n.addresses("lo")) // when the command returns
	n.isDrained()
	require.NoError(t, weirtest.PingPong(session))
	for _, at := range []string{"10.9.9.9:7000", "[fd00::99]:7000"} { // clients that the routers still send here
		other := n.Dial(at)
		require.NoError(t, weirtest.PingPong(other))
		other.Close()
	}
	require.Equal(t, []string{v4 + ": node drained: new kernel", v6 + ": node drained: new kernel"}, reasonsOf(w, "vip_removed"))
	require.Contains(t, n.api.MustRunCommand("status"), "NOTE  node drained by ")

	w.Upgrade()
	n.isDrained()
	require.NoError(t, weirtest.PingPong(session))
	w.Signal(syscall.SIGTERM)
	require.NoError(t, weirtest.PingPong(session))
	session.Close()
	require.Zero(t, w.WaitExit(weirtest.Bound(15*time.Second)))
	require.NotContains(t, n.Exec("ip", "route", "show", "table", "local")+n.Exec("ip", "-6", "route", "show", "table", "local"), "proto 119")
	n.serve()
	n.isDrained()
	n.waitVIPs("down")
	require.Empty(t, n.addresses("lo"))

	require.Equal(t, "node: ready\n", n.api.MustRunCommand("node", "ready"))
	n.waitAddresses("lo", v4, v6)
	code, _ := n.api.Do("GET /readyz", "")
	require.Equal(t, 200, code)
	require.Equal(t, "0", n.api.Metric("weir_node_drained"))
	events := n.api.MustRunCommand("events")
	require.Contains(t, events, "node_ready")
}

func (n *node) isDrained() {
	n.t.Helper()
	code, text := n.api.Do("GET /readyz", "")
	require.Equal(n.t, 503, code)
	require.Contains(n.t, text, "node drained: new kernel")
	require.Equal(n.t, "1", n.api.Metric("weir_node_drained"))
}

// A killed weir leaves its addresses behind. The next start takes them over without a gap, or removes them, also those that its
// configuration does not have. weir node clean removes them without a weir, and no others.
func TestKilledWeirLeavesAddresses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.Runtime, _ = weirtest.StateFile(t)
	n.serve().Kill()
	n.waitAddresses("lo", v4, v6)
	changes := n.watchAddresses()
	w := n.serve()
	v := n.waitVIPs("up")
	require.Equal(t, v4, v.Address)
	require.Equal(t, v4+": taken over from a weir that was killed", reasonsOf(w, "vip_added")[0])
	require.Empty(t, changes())

	code, out := n.clean()
	require.Zero(t, code, out)
	require.Equal(t, "10.9.9.9 on lo: kept, a running weir has it\nfd00::99 on lo: kept, a running weir has it\n", out)
	n.api.MustRunCommand("node", "drain")
	n.api.MustRunCommand("node", "ready")
	n.waitAddresses("lo", v4, v6)
	w.Kill()

	full := n.config.More
	n.config.More = fmt.Sprintf("[[vip]]\naddress = %q\nclusters = [\"c\"]\n", v4)
	n.serve().Kill()
	n.waitAddresses("lo", v4)
	n.config.More = full
	n.server.Down()
	n.config.Checks += "initial = \"down\"\n"
	os.Remove(strings.Split(n.config.Runtime, "\"")[1])
	n.serve().Kill()
	require.Empty(t, n.addresses("lo"))

	n.server.Up()
	n.config.Checks = ""
	w = n.serve()
	n.waitAddresses("lo", v4, v6)
	n.api.MustRunCommand("node", "drain")
	w.Kill()
	code, out = n.clean()
	require.Zero(t, code, out)
	require.Equal(t, "10.9.9.9: removed\nfd00::99: removed\n", out) // the local routes
	w = n.serve()
	n.api.MustRunCommand("node", "ready")
	w.Kill()
	require.Equal(t, []string{v4, v6}, n.addresses("lo"))
	n.Exec("ip", "address", "add", "10.9.9.8/32", "dev", "lo")
	code, out = n.clean()
	require.Zero(t, code)
	require.Equal(t, "10.9.9.9 on lo: removed\nfd00::99 on lo: removed\n", out)
	require.Empty(t, n.addresses("lo"))
	require.Contains(t, n.Exec("ip", "address"), "10.9.9.8/32")
	_, out = n.clean()
	require.Equal(t, "no addresses left behind\n", out)
	file := filepath.Join(t.TempDir(), "weir.toml")
	require.NoError(t, os.WriteFile(file, []byte(n.text()), 0o644))
	code, out = n.clean("-c", file)
	require.Zero(t, code, out)
}

// clean runs weir node clean in the namespace.
func (n *node) clean(args ...string) (code int, out string) {
	n.Do(func() { code, out = weirtest.RunCommand(n.t, append([]string{"node", "clean"}, args...)...) })
	return code, out
}
