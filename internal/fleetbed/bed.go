package fleetbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// The address of the fleet, and its servers.
const (
	VIP        = "10.9.9.9"
	Port       = "7000"
	ServerAddr = "10.0.100.2:7001"
)

// patience is how long the bed waits for routing daemons. They need seconds to start.
const patience = 30 * time.Second

// Bed is a fleet in network namespaces. It ends with its test.
type Bed struct {
	T                       *testing.T
	Client, Router, Servers *nettest.Namespace
	Server                  *nettest.Host // echoes
	Nodes                   []*Node
	dir                     string
}

// Node is a machine of the fleet.
type Node struct {
	*nettest.Namespace
	Bed    *Bed
	Number int // from 1
	API    weirtest.API
	Weir   *weirtest.Weir // the running one
}

// New returns a bed in which routing daemons run and weir does not. daemons has that of each node: "bird", "frr" or "none".
func New(t *testing.T, daemons ...string) *Bed {
	t.Helper()
	b := &Bed{T: t, Client: nettest.NewNamespace(t), Router: nettest.NewNamespace(t), Servers: nettest.NewNamespace(t), dir: weirtest.ShortTempDir(t)}
	require.NoError(t, os.Chmod(b.dir, 0o755)) // for the users of the daemons
	b.Client.Connect(b.Router, "10.0.0.2", "10.0.0.1")
	b.Servers.Connect(b.Router, "10.0.100.2", "10.0.100.1")
	b.Client.Exec("ip", "route", "add", "default", "via", "10.0.0.1")
	b.Servers.Exec("ip", "route", "add", "default", "via", "10.0.100.1")
	b.Server = b.Servers.Start(ServerAddr, nettest.Echo)
	b.Router.Sysctl("ipv4/ip_forward", "1")
	b.Router.Sysctl("ipv4/fib_multipath_hash_policy", "1") // addresses and ports
	b.Router.Exec("nft", "add table ip sticky; add chain ip sticky before { type filter hook prerouting priority -150; }; "+
		"add chain ip sticky after { type filter hook forward priority 0; }; add rule ip sticky before meta mark set ct mark")
	// BIRD replaces a route by removing and adding it. A client whose packet comes between the two repeats it.
	b.Router.Exec("ip", "route", "add", "blackhole", VIP+"/32", "metric", "1000")
	for i := range daemons {
		n := &Node{Namespace: nettest.NewNamespace(t), Bed: b, Number: i + 1, API: weirtest.NewAPI(t)}
		b.Nodes = append(b.Nodes, n)
		b.connect(n)
	}
	b.startBIRD(b.Router, "router", b.routerConfig())
	for i, n := range b.Nodes {
		switch daemons[i] {
		case "bird":
			b.startBIRD(n.Namespace, n.name(), n.birdConfig())
		case "frr":
			b.startFRR(n)
		case "none":
		default:
			t.Fatalf("no routing daemon %q", daemons[i])
		}
	}
	for i, n := range b.Nodes {
		if daemons[i] == "none" {
			continue
		}
		nettest.Wait(t, weirtest.Bound(patience), "the BGP session of "+n.name(), func() bool {
			return strings.Contains(b.birdc("router", "show", "protocols", n.name()), "Established")
		})
	}
	return b
}

func (n *Node) name() string { return fmt.Sprintf("node%d", n.Number) }

// address returns the address of the node in its network with the router, or that of the router.
func (n *Node) address(router bool) string {
	if router {
		return fmt.Sprintf("10.0.%d.1", n.Number)
	}
	return fmt.Sprintf("10.0.%d.2", n.Number)
}

// connect joins a node to the router, which keeps connections at the node to which they went first.
func (b *Bed) connect(n *Node) {
	b.T.Helper()
	n.Connect(b.Router, n.address(false), n.address(true))
	n.Exec("ip", "route", "add", "default", "via", n.address(true))
	mark, table := fmt.Sprint(n.Number), fmt.Sprint(100+n.Number)
	b.Router.Exec("nft", "add rule ip sticky after ct state new ip daddr "+VIP+" oifname "+n.device()+" ct mark set "+mark)
	b.Router.Exec("ip", "rule", "add", "fwmark", mark, "lookup", table)
	b.Router.Exec("ip", "route", "add", VIP+"/32", "via", n.address(false), "table", table)
}

// device returns the interface of the router to the node: after those to the clients and to the servers.
func (n *Node) device() string { return fmt.Sprintf("eth%d", n.Number+1) }

// Config returns the configuration of a node: a listener at the shared address, and more tables.
func (n *Node) Config(more string) string {
	return n.API.AddTo(weirtest.Config{
		Runtime: "drain_timeout = \"10s\"", Listen: VIP + ":" + Port, Listener: "freebind = true", Cluster: "protected = false",
		Levels: weirtest.OneLevel(ServerAddr),
		Checks: "[[cluster.c.check]]\ntype = \"tcp\"\ninterval = \"200ms\"\nfall = 2\nrise = 1\n",
		More:   fmt.Sprintf("[[vip]]\naddress = \"%s/32\"\nclusters = [\"c\"]\nhold = \"100ms\"\n%s", VIP, more),
	}.String())
}

// Serve starts weir on a node.
func (n *Node) Serve(config string) *weirtest.Weir {
	n.Bed.T.Helper()
	n.Weir = weirtest.Options{Namespace: n.Namespace}.Start(n.Bed.T, config)
	return n.Weir
}

// ServeAll starts weir on all nodes and waits until the router sends connections to each.
func (b *Bed) ServeAll() {
	b.T.Helper()
	for _, n := range b.Nodes {
		n.Serve(n.Config(""))
	}
	b.WaitNextHops(b.Nodes...)
}

// Clean removes what a killed weir has left behind, as its service does.
func (n *Node) Clean() {
	n.Bed.T.Helper()
	n.Do(func() {
		code, out := weirtest.RunCommand(n.Bed.T, "node", "clean")
		require.Zero(n.Bed.T, code, out)
	})
}

// SetLink plugs or unplugs the network of a node.
func (n *Node) SetLink(state string) {
	n.Bed.T.Helper()
	n.Exec("ip", "link", "set", "eth0", state)
}

// NextHops returns the nodes to which the router sends new connections.
func (b *Bed) NextHops() (nodes []*Node) {
	b.T.Helper()
	text := b.Router.Exec("ip", "route", "show", VIP) + " "
	for _, n := range b.Nodes {
		if strings.Contains(text, "via "+n.address(false)+" ") {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// WaitNextHops waits until the router sends new connections to exactly these nodes.
func (b *Bed) WaitNextHops(nodes ...*Node) {
	b.T.Helper()
	nettest.Wait(b.T, weirtest.Bound(patience), fmt.Sprintf("%d next hops", len(nodes)), func() bool {
		got := b.NextHops()
		if len(got) != len(nodes) {
			return false
		}
		for i := range got {
			if got[i] != nodes[i] {
				return false
			}
		}
		return true
	})
}

// write writes a file of the bed and returns its path.
func (b *Bed) write(name, text string) string {
	b.T.Helper()
	path := filepath.Join(b.dir, name)
	require.NoError(b.T, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(b.T, os.WriteFile(path, []byte(text), 0o644))
	return path
}
