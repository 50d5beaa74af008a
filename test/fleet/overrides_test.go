// Package fleet_test runs several weirs with a real etcd.
package fleet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// node is a weir of a fleet.
type node struct {
	*weirtest.Weir
	api        weirtest.API
	apiAddress string // of the API over TCP
	listen     string
	config     string
}

// fleetOf returns n configurations of a fleet over the same servers. Each node has a state file.
func fleetOf(t *testing.T, etcd *nettest.Etcd, n int, servers ...string) (nodes []*node) {
	t.Helper()
	for i := range n {
		state, _ := weirtest.StateFile(t)
		endpoints, _ := json.Marshal(etcd.URLs())
		x := &node{api: weirtest.NewAPI(t), apiAddress: nettest.Reserve(t), listen: nettest.Reserve(t)}
		x.config = x.api.AddTo(weirtest.Config{
			Listen: x.listen, Runtime: state + "\nloops = 1", Levels: weirtest.OneLevel(servers...),
			More: fmt.Sprintf("[fleet]\nendpoints = %s\nprefix = \"/weir/test\"\nnode = \"n%d\"\nttl = \"5s\"\n", endpoints, i+1),
		}.String(), x.apiAddress)
		nodes = append(nodes, x)
	}
	return nodes
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.Weir = weirtest.Start(t, n.config)
	n.Baseline = nil // the connection to the store comes and goes
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	n.Signal(syscall.SIGTERM)
	require.Zero(t, n.WaitExit(weirtest.Bound(10*time.Second)))
}

func startFleet(t *testing.T, etcd *nettest.Etcd, n int, servers ...string) []*node {
	t.Helper()
	nodes := fleetOf(t, etcd, n, servers...)
	for _, x := range nodes {
		x.start(t)
	}
	for _, x := range nodes {
		x.waitFleet(t, "all nodes", func(f status.Fleet) bool { return f.Connected && len(f.Members) == n })
	}
	return nodes
}

func (n *node) fleet(t *testing.T) (f status.Fleet) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(n.api.MustDo("GET /v1/fleet", "")), &f))
	return f
}

func (n *node) waitFleet(t *testing.T, what string, is func(f status.Fleet) bool) {
	t.Helper()
	var last status.Fleet
	defer func() {
		if t.Failed() {
			t.Logf("%s: %+v", what, last)
		}
	}()
	nettest.Wait(t, 60*time.Second, what, func() bool { last = n.fleet(t); return is(last) })
}

// state returns the state of a server, followed by its weight if that is not 1.
func (n *node) state(t *testing.T, server string) string {
	t.Helper()
	s := n.api.Server(server)
	if w := s["weight"].(float64); w != 1 {
		return fmt.Sprintf("%v %v", s["state"], w)
	}
	return fmt.Sprint(s["state"])
}

func waitState(t *testing.T, server, want string, nodes ...*node) {
	t.Helper()
	for i, n := range nodes {
		nettest.Wait(t, 60*time.Second, fmt.Sprintf("%s to be %s on node %d", server, want, i+1), func() bool { return n.state(t, server) == want })
	}
}

func (n *node) command(t *testing.T, args ...string) string {
	t.Helper()
	return n.api.MustRunCommand(args...)
}

func TestOverrideHoldsOnAllNodes(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 3, a.Addr(), b.Addr())
	out := nodes[0].command(t, "server", "c/"+a.Addr(), "drain", "--reason", "new kernel")
	require.Contains(t, out, "written to the fleet")
	waitState(t, a.Addr(), "drain", nodes...)
	require.Contains(t, nodes[1].command(t, "explain", "c/"+a.Addr()), "on n1")
	require.Contains(t, nodes[1].command(t, "explain", "c/"+a.Addr()), "new kernel")

	nodes[1].command(t, "server", "c/"+a.Addr(), "weight", "7") // on top of the state
	waitState(t, a.Addr(), "drain 7", nodes...)
	require.Contains(t, nodes[2].command(t, "server", "c/"+a.Addr(), "maint", "--local"), "on this node only")
	nodes[0].command(t, "server", "c/"+a.Addr(), "reset")
	waitState(t, a.Addr(), "up", nodes[:2]...)
	waitState(t, a.Addr(), "maint 7", nodes[2])
	nodes[2].command(t, "server", "c/"+a.Addr(), "reset", "--local")
	waitState(t, a.Addr(), "up", nodes...)

	nodes[1].command(t, "server", "c/"+b.Addr(), "maint")
	waitState(t, b.Addr(), "maint", nodes...)
	table := nodes[0].command(t, "fleet", "status")
	for _, want := range []string{"node n1 of fleet /weir/test: connected", "n1 (this)", "n2", "n3", "c/" + b.Addr(), "maint"} {
		require.Contains(t, table, want)
	}
	require.NotContains(t, table, "pending")
	require.Contains(t, nodes[0].command(t, "fleet", "drain", "n2", "--reason", "new kernel"), "node n2: drain; written to the fleet")
	drained := func(n *node) func() bool { return func() bool { return n.api.Get("node", "state") == "drain" } }
	nettest.Wait(t, 60*time.Second, "n2 to be drained", drained(nodes[1]))
	require.Contains(t, nodes[1].command(t, "status"), "new kernel")
	require.False(t, drained(nodes[0])())
	require.Contains(t, nodes[2].command(t, "fleet", "status"), "node n2")
	nodes[1].command(t, "node", "ready") // takes it back for the fleet
	nodes[2].waitFleet(t, "the drain to end", func(f status.Fleet) bool { return len(f.Overrides) == 1 })
	code, text := nodes[0].api.RunCommand("fleet", "drain", "n9")
	require.Equal(t, 1, code, text)
	require.Contains(t, text, "no live node n9")
	nodes[2].command(t, "fleet", "reset")
	waitState(t, b.Addr(), "up", nodes...)
	require.Contains(t, nodes[0].api.MustDo("GET /metrics", ""), "weir_fleet_connected 1\n")
	require.Contains(t, nodes[0].api.MustDo("GET /metrics", ""), "weir_fleet_nodes 3\n")
	for _, n := range nodes {
		n.Baseline = n.DescriptorKinds()
		n.Baseline["socket"] = n.Process().Listening() + 1 // the connection to the store
	}
}

// TestFleetWithoutStore checks that nothing depends on the store: a start, an override, a restart, a reload and a stop.
func TestFleetWithoutStore(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a, b := nettest.Start(t, nettest.Echo), nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 2, a.Addr(), b.Addr())
	nodes[0].command(t, "server", "c/"+a.Addr(), "drain")
	waitState(t, a.Addr(), "drain", nodes...)
	etcd.Members[0].Kill()
	require.Contains(t, nodes[1].command(t, "server", "c/"+b.Addr(), "maint"), "pending")
	nodes[1].waitFleet(t, "the loss of the store", func(f status.Fleet) bool { return !f.Connected && f.Pending == 1 })
	require.Contains(t, nodes[1].command(t, "status"), "fleet not connected")
	nodes[1].stop(t)
	nodes[1].start(t)
	require.Equal(t, "drain", nodes[1].state(t, a.Addr()), "after a restart without the store")
	require.Equal(t, "maint", nodes[1].state(t, b.Addr()))
	require.Equal(t, 1, nodes[1].fleet(t).Pending)
	nodes[1].command(t, "server", "c/"+a.Addr(), "reset")
	nodes[1].Reload(strings.Replace(nodes[1].config, "[cluster.c]", "[cluster.c]\nconnect_timeout = \"1s\"", 1))
	require.Equal(t, "maint", nodes[1].state(t, b.Addr()))

	etcd.Up()
	waitState(t, a.Addr(), "up", nodes...)
	waitState(t, b.Addr(), "maint", nodes...)
	for _, n := range nodes {
		n.waitFleet(t, "nothing to be pending", func(f status.Fleet) bool { return f.Connected && f.Pending == 0 && len(f.Members) == 2 })
	}

	etcd.Wipe()
	for _, n := range nodes {
		n.waitFleet(t, "the wiped store to be filled", func(f status.Fleet) bool { return f.Connected && len(f.Members) == 2 })
	}
	nettest.Wait(t, 60*time.Second, "the override in the store", func() bool { return strings.Contains(etcd.Ctl("get", "--prefix", "/weir/test/overrides"), `"maint"`) })
	require.Equal(t, "maint", nodes[0].state(t, b.Addr()))
	nettest.Wait(t, 60*time.Second, "an event", func() bool {
		return len(nodes[0].Events("fleet_restored"))+len(nodes[1].Events("fleet_restored")) > 0
	})
}

// TestFrozenStoreHasNoEffect checks sessions, new connections, checks and a stop while the store does not answer, and what the
// operator sees of values that are no records.
func TestFrozenStoreHasNoEffect(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a := nettest.Start(t, nettest.Echo)
	n := startFleet(t, etcd, 1, a.Addr())[0]
	for key, value := range map[string]string{
		"overrides/server/c/" + strings.ReplaceAll(a.Addr(), ":", "%3A"): `{"v":1,"node":"x","at":"2026-01-01T00:00:00Z","value":{"state":"gone"}}`,
		"overrides/server/c": "[", "overrides/cluster/x": `{"v":7}`, "nodes/evil": strings.Repeat("x", 70000), "nodes/a/b": "{}",
	} {
		etcd.Ctl("put", "/weir/test/"+key, value)
	}
	n.waitFleet(t, "the bad records", func(f status.Fleet) bool { return f.Ignored >= 4 })
	require.Contains(t, n.command(t, "status"), "records of the store ignored")
	require.Equal(t, "up", n.state(t, a.Addr()))
	session := nettest.Dial(t, n.listen)
	defer session.Close()
	require.NoError(t, weirtest.PingPong(session))
	etcd.Members[0].Freeze()
	defer etcd.Members[0].Thaw()
	n.waitFleet(t, "the loss of the store", func(f status.Fleet) bool { return !f.Connected })
	require.NoError(t, weirtest.PingPong(session))
	text, end := weirtest.EchoOnce(t, n.listen)
	require.NotEmpty(t, text, end)
	began := time.Now()
	n.command(t, "server", "c/"+a.Addr(), "weight", "3")
	require.Less(t, nettest.Elapsed(began), weirtest.Bound(5*time.Second))
	require.Equal(t, "up 3", n.state(t, a.Addr()))
}

// TestSecondNodeWithOneName checks that it serves alone and says why, and joins when the name is free.
func TestSecondNodeWithOneName(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a := nettest.Start(t, nettest.Echo)
	first := startFleet(t, etcd, 1, a.Addr())[0]
	second := fleetOf(t, etcd, 1, a.Addr())[0]
	second.start(t)
	second.waitFleet(t, "the name to be in use", func(f status.Fleet) bool { return strings.Contains(f.Error, "node name n1 is in use by another weir") })
	require.Contains(t, second.command(t, "status"), "in use by another weir")
	text, end := weirtest.EchoOnce(t, second.listen)
	require.NotEmpty(t, text, end)
	first.stop(t)
	second.waitFleet(t, "the name to be free", func(f status.Fleet) bool { return f.Connected })
}

// TestOverrideInUpgradeAndReload checks that the new process continues as the same node, and that [fleet] can leave and return.
func TestOverrideInUpgradeAndReload(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1)
	a := nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 2, a.Addr())
	nodes[0].command(t, "server", "c/"+a.Addr(), "drain")
	waitState(t, a.Addr(), "drain", nodes...)
	nodes[1].Upgrade()
	nodes[1].waitFleet(t, "the new process to be the node", func(f status.Fleet) bool { return f.Connected && len(f.Members) == 2 })
	require.Equal(t, "drain", nodes[1].state(t, a.Addr()))
	nodes[1].command(t, "server", "c/"+a.Addr(), "ready")
	waitState(t, a.Addr(), "up", nodes...)

	at := strings.Index(nodes[0].config, "[fleet]")
	end := strings.Index(nodes[0].config[at:], "ttl") + at
	end += strings.Index(nodes[0].config[end:], "\n")
	nodes[0].Reload(nodes[0].config[:at] + nodes[0].config[end:])
	nodes[1].waitFleet(t, "n1 to leave", func(f status.Fleet) bool { return len(f.Members) == 1 })
	nodes[1].command(t, "server", "c/"+a.Addr(), "maint")
	require.Equal(t, "up", nodes[0].state(t, a.Addr()))
	nodes[0].Reload(nodes[0].config)
	waitState(t, a.Addr(), "maint", nodes...)
}

// TestFullStoreHasNoEffect checks that overrides hold while the store takes no writes, that the operator sees it, and that they
// are written when there is room.
func TestFullStoreHasNoEffect(t *testing.T) {
	t.Parallel()
	etcd := nettest.StartEtcd(t, 1, "--quota-backend-bytes=1000000")
	a := nettest.Start(t, nettest.Echo)
	nodes := startFleet(t, etcd, 2, a.Addr())
	etcd.Fill()
	require.Contains(t, nodes[0].command(t, "server", "c/"+a.Addr(), "weight", "5"), "pending")
	require.Equal(t, "up 5", nodes[0].state(t, a.Addr()))
	nodes[0].waitFleet(t, "the problem", func(f status.Fleet) bool { return f.Connected && strings.Contains(f.Error, "full") && f.Pending == 1 })
	require.Contains(t, nodes[0].command(t, "status"), "overrides cannot be written")
	text, end := weirtest.EchoOnce(t, nodes[0].listen)
	require.NotEmpty(t, text, end)
	etcd.Empty()
	waitState(t, a.Addr(), "up 5", nodes...)
	require.Len(t, nodes[0].Events("fleet_connected"), 1)
}
