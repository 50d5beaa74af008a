package rollout_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/status"
	"weir/internal/weirtest"
)

// patience is the time in which something must have happened on a busy machine.
const patience = 2 * time.Minute

// storePort is the port of etcd in the network of the test; each fleet has its own.
var storePort atomic.Int32

// testFleet is three weirs that share their configuration, and the servers of its clusters.
type testFleet struct {
	t     *testing.T
	etcd  *nettest.Etcd
	store string // URL of etcd for the nodes
	ttl   string
	host  *nettest.Host
	nodes []*node
}

// node is one weir in a namespace of its own, with clients.
type node struct {
	f       *testFleet
	name    string
	ns      *nettest.Namespace
	address string // of its interface
	gateway string // the test's end of the link: etcd and servers listen there
	api     weirtest.API
	weir    *weirtest.Weir
	state   string // state file
}

// addAddress gives the test the address of etcd and of the servers.
var addAddress sync.Once

// ip changes the network of the test.
func ip(t *testing.T, args ...string) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
}

// nets counts the networks between the test and its nodes.
var nets atomic.Int32

// startFleet starts etcd and three weirs that have no revision yet. Nodes that are silent for ttl have left.
func startFleet(t *testing.T, ttl string) *testFleet {
	t.Helper()
	port := 20000 + storePort.Add(1)
	f := &testFleet{t: t, ttl: ttl, store: fmt.Sprintf("http://10.91.0.1:%d", port)}
	addAddress.Do(func() { ip(t, "address", "add", "10.91.0.1/32", "dev", "lo") })
	f.etcd = nettest.StartEtcd(t, 1, "--listen-client-urls=http://0.0.0.0:"+fmt.Sprint(port))
	f.host = nettest.StartAt(t, "10.91.0.1:0", nettest.Echo)
	for i := range 3 {
		third := nets.Add(1)
		n := &node{f: f, name: string(rune('a' + i)), ns: nettest.NewNamespace(t), api: weirtest.NewAPI(t)}
		n.gateway, n.address = fmt.Sprintf("10.90.%d.1", third), fmt.Sprintf("10.90.%d.2", third)
		link := fmt.Sprintf("node%d", third)
		n.ns.Exec("ip", "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), homeFile.Fd()))
		ip(t, "address", "add", n.gateway+"/24", "dev", link)
		ip(t, "link", "set", link, "up")
		n.ns.Exec("ip", "address", "add", n.address+"/24", "dev", "eth0")
		n.ns.Exec("ip", "link", "set", "eth0", "up")
		n.ns.Exec("ip", "route", "add", "default", "via", n.gateway)
		n.state = filepath.Join(t.TempDir(), "state.json")
		n.start()
		f.nodes = append(f.nodes, n)
	}
	return f
}

// apiAddress is the address of the API of each node in its namespace.
const apiAddress = "127.0.0.1:6380"

// file returns the file of the node.
func (n *node) file() string {
	return n.api.AddTo(fmt.Sprintf("[runtime]\nstate_file = %q\n[admin]\nlisten = \"\"\n[log]\nformat = \"json\"\n", n.state), apiAddress) + fmt.Sprintf(
		"[fleet]\nstore = \"etcd\"\nendpoints = [%q]\nprefix = \"/weir/test\"\nnode = %q\nshare = [\"config\"]\nttl = %q\n", n.f.store, n.name, n.f.ttl)
}

// start starts the weir and waits until it has joined the fleet.
func (n *node) start() {
	n.weir = weirtest.Options{Namespace: n.ns, File: n.fileName()}.Start(n.f.t, n.file())
	n.weir.Baseline = nil // the connections to etcd come and go
	nettest.Wait(n.f.t, patience, n.name+" to join the fleet", func() bool {
		s := n.shared()
		return s.Error == "" && slices.ContainsFunc(s.Nodes, func(other status.SharedNode) bool { return other.Node == n.name })
	})
}

func (n *node) fileName() string {
	return filepath.Join(filepath.Dir(n.state), "weir.toml")
}

// shared returns what the node says about the shared configuration.
func (n *node) shared() (s status.SharedConfig) {
	n.f.t.Helper()
	var code int
	var text string
	nettest.Wait(n.f.t, patience, n.name+" to share its configuration", func() bool { // from a moment after the start on
		code, text = n.api.Do("GET /v1/fleet/config", "")
		return code == 200
	})
	require.NoError(n.f.t, json.Unmarshal([]byte(text), &s))
	return s
}

// config returns a shared configuration with a listener at port 6379 of each node and these servers.
func config(servers ...string) string {
	return fmt.Sprintf("[[listener]]\nname = \"redis\"\naddress = \":6379\"\ncluster = \"redis\"\n[cluster.redis]\ntry = 1\n"+
		"[[cluster.redis.level]]\nservers = [\"%s\"]\n[[cluster.redis.check]]\ntype = \"tcp\"\ninterval = \"500ms\"\nfall = 2\n", strings.Join(servers, `", "`))
}

// write writes a file and returns its path.
func (f *testFleet) write(text string) string {
	path := filepath.Join(f.t.TempDir(), "shared.toml")
	require.NoError(f.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// apply rolls a good configuration out and returns what the command has printed. On a machine that is so busy that a node is
// taken to have left, it tries again.
func (f *testFleet) apply(n *node, text string, args ...string) string {
	f.t.Helper()
	for range 5 {
		code, out := n.api.RunCommand(append([]string{"fleet", "apply", "-c", f.write(text)}, args...)...)
		if code == 0 {
			return out
		}
		require.Regexp(f.t, "left the fleet|within|not reachable", out)
	}
	f.t.Fatal("no roll-out has succeeded")
	return ""
}

// waitRevision waits until all nodes run a revision.
func (f *testFleet) waitRevision(revision int, nodes ...*node) {
	f.t.Helper()
	for _, n := range nodes {
		nettest.Wait(f.t, patience, fmt.Sprintf("%s to run revision %d", n.name, revision), func() bool { return n.shared().Revision == revision })
	}
}

// waitPhase waits until a node sees a phase of the roll-out of a revision.
func (n *node) waitPhase(revision int, phase string) {
	n.f.t.Helper()
	nettest.Wait(n.f.t, patience, fmt.Sprintf("%s to see the phase %s", n.name, phase), func() bool {
		r := n.shared().Rollout
		return r != nil && r.To == revision && r.Phase == phase
	})
}

// load is clients of one node that open short sessions one after the other.
type load struct {
	work          sync.WaitGroup
	stop          chan struct{}
	served, fails atomic.Int64
	first         atomic.Pointer[error]
}

// startLoad starts clients of a node.
func (n *node) startLoad() *load {
	l := &load{stop: make(chan struct{})}
	for range 2 {
		l.work.Go(func() {
			for seed := uint64(1); ; seed++ {
				select {
				case <-l.stop:
					return
				default:
				}
				c, err := nettest.TryDial(n.address + ":6379")
				if err == nil {
					err = nettest.Exchange(c, seed, 100, 100)
				}
				if err == nil {
					l.served.Add(1)
					continue
				}
				l.fails.Add(1)
				l.first.CompareAndSwap(nil, &err)
			}
		})
	}
	n.f.t.Cleanup(l.end)
	return l
}

// end ends the load.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.work.Wait()
}

// requireNoErrors ends the load, which must have been served without an error.
func (l *load) requireNoErrors(t *testing.T, node string) {
	t.Helper()
	l.end()
	if err := l.first.Load(); err != nil {
		t.Errorf("%d of %d clients of node %s failed: %v", l.fails.Load(), l.fails.Load()+l.served.Load(), node, *err)
	}
	require.Positive(t, l.served.Load())
}
