package nettest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Etcd is a cluster of real etcd servers. Its elections take about half a second.
type Etcd struct {
	t       testing.TB
	ns      *Namespace // in which it runs; nil = that of the test
	scheme  string
	args    []string
	peers   string
	Members []*EtcdMember
}

// EtcdMember is one server. It keeps its addresses and its data when it is started again.
type EtcdMember struct {
	c            *Etcd
	name, dir    string
	client, peer string // addresses
	p            *program
}

// StartEtcd starts a cluster of n servers on loopback with further arguments and waits until it serves. Arguments that begin with
// --cert-file let clients connect with TLS.
func StartEtcd(t testing.TB, n int, args ...string) *Etcd {
	t.Helper()
	c := &Etcd{t: t, scheme: "http", args: args}
	for _, a := range args {
		if strings.HasPrefix(a, "--cert-file") {
			c.scheme = "https"
		}
	}
	for range n {
		c.add(Reserve(t), Reserve(t))
	}
	c.Up()
	return c
}

// StartEtcd starts a cluster in the namespace, with a server at the usual ports of each address, and waits until it serves.
func (ns *Namespace) StartEtcd(addresses ...string) *Etcd {
	ns.t.Helper()
	c := &Etcd{t: ns.t, ns: ns, scheme: "http"}
	for _, at := range addresses {
		c.add(at+":2379", at+":2380")
	}
	c.Up()
	return c
}

// add adds a member that does not run yet.
func (c *Etcd) add(client, peer string) {
	m := &EtcdMember{c: c, name: fmt.Sprintf("e%d", len(c.Members)+1), dir: c.t.TempDir(), client: client, peer: peer}
	c.Members = append(c.Members, m)
	if c.peers != "" {
		c.peers += ","
	}
	c.peers += m.name + "=http://" + m.peer
}

// in runs f in the namespace of the cluster.
func (c *Etcd) in(f func()) {
	c.t.Helper()
	if c.ns == nil {
		f()
		return
	}
	c.ns.Do(f)
}

// Up starts the members that do not run and waits until they serve.
func (c *Etcd) Up() {
	c.t.Helper()
	var started []*EtcdMember
	for _, m := range c.Members {
		if m.p == nil {
			m.start()
			started = append(started, m)
		}
	}
	for _, m := range started {
		m.p.waitReady(c.t, 60*time.Second, func() bool { return strings.Contains(m.p.output.String(), "ready to serve client requests") })
	}
}

func (m *EtcdMember) start() {
	m.c.t.Helper()
	args := append([]string{"--name=" + m.name, "--data-dir=" + filepath.Join(m.dir, "data"), "--unsafe-no-fsync",
		"--heartbeat-interval=50", "--election-timeout=500",
		"--listen-client-urls=" + m.URL(), "--advertise-client-urls=" + m.URL(),
		"--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=http://" + m.peer, "--initial-cluster=" + m.c.peers}, m.c.args...)
	m.c.in(func() { m.p = startProgram(m.c.t, "etcd", args...) })
}

// URL returns the URL for clients.
func (m *EtcdMember) URL() string { return m.c.scheme + "://" + m.client }

// URLs returns the URLs of all members for clients.
func (c *Etcd) URLs() (list []string) {
	for _, m := range c.Members {
		list = append(list, m.URL())
	}
	return list
}

// Kill kills a member.
func (m *EtcdMember) Kill() {
	if m.p != nil {
		m.p.kill()
		m.p = nil
	}
}

// Freeze stops a member without ending it; Thaw lets it continue.
func (m *EtcdMember) Freeze() { m.p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a member continue.
func (m *EtcdMember) Thaw() { m.p.cmd.Process.Signal(syscall.SIGCONT) }

// Wipe kills all members, deletes their data and starts them again.
func (c *Etcd) Wipe() {
	c.t.Helper()
	for _, m := range c.Members {
		m.Kill()
		require.NoError(c.t, os.RemoveAll(filepath.Join(m.dir, "data")))
	}
	c.Up()
}

// Leader returns the member that leads, or nil. Frozen members take a while to ask.
func (c *Etcd) Leader() *EtcdMember {
	for _, m := range c.Members {
		if m.p == nil {
			continue
		}
		out, _ := m.ctl("endpoint", "status", "--command-timeout=1s", "--dial-timeout=1s")
		if fields := strings.Split(out, ", "); len(fields) > 4 && fields[4] == "true" {
			return m
		}
	}
	return nil
}

// Ctl runs etcdctl with all members as endpoints and returns its output.
func (c *Etcd) Ctl(args ...string) string {
	c.t.Helper()
	out, err := c.ctl(strings.Join(c.URLs(), ","), args)
	require.NoError(c.t, err, out)
	return out
}

// Fill writes values until the servers have no more space. Start them with --quota-backend-bytes.
func (c *Etcd) Fill() {
	c.t.Helper()
	value := strings.Repeat("x", 100_000)
	for i := range 1000 {
		out, err := c.ctl(strings.Join(c.URLs(), ","), []string{"put", fmt.Sprintf("/filler/%d", i), value})
		if strings.Contains(out, "space exceeded") {
			return
		}
		require.NoError(c.t, err, out)
	}
	c.t.Fatal("etcd is not full")
}

// Empty makes room again in servers that Fill has filled.
func (c *Etcd) Empty() {
	c.t.Helper()
	c.Ctl("del", "--prefix", "/filler/")
	var status []struct {
		Status struct {
			Header struct{ Revision int64 }
		}
	}
	require.NoError(c.t, json.Unmarshal([]byte(c.Ctl("endpoint", "status", "-w", "json")), &status))
	c.Ctl("compact", fmt.Sprint(status[0].Status.Header.Revision))
	c.Ctl("defrag")
	c.Ctl("alarm", "disarm")
}

func (m *EtcdMember) ctl(args ...string) (string, error) { return m.c.ctl(m.URL(), args) }

func (c *Etcd) ctl(endpoints string, args []string) (text string, err error) {
	cmd := exec.Command("etcdctl", append([]string{"--endpoints=" + endpoints}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	c.in(func() {
		var out []byte
		out, err = cmd.CombinedOutput()
		text = string(out)
	})
	return text, err
}
