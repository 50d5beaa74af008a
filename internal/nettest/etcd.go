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

// Etcd is a cluster of real etcd servers on loopback. Its elections take about half a second.
type Etcd struct {
	t       testing.TB
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

// StartEtcd starts a cluster of n servers with further arguments and waits until it serves. Arguments that begin with
// --cert-file let clients connect with TLS.
func StartEtcd(t testing.TB, n int, args ...string) *Etcd {
	t.Helper()
	c := &Etcd{t: t, scheme: "http", args: args}
	for _, a := range args {
		if strings.HasPrefix(a, "--cert-file") {
			c.scheme = "https"
		}
	}
	var peers []string
	for i := range n {
		m := &EtcdMember{c: c, name: fmt.Sprintf("e%d", i+1), dir: t.TempDir(), client: Reserve(t), peer: Reserve(t)}
		c.Members = append(c.Members, m)
		peers = append(peers, m.name+"=http://"+m.peer)
	}
	c.peers = strings.Join(peers, ",")
	c.Up()
	return c
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
	m.p = startProgram(m.c.t, "etcd", append([]string{"--name=" + m.name, "--data-dir=" + filepath.Join(m.dir, "data"), "--unsafe-no-fsync",
		"--heartbeat-interval=50", "--election-timeout=500",
		"--listen-client-urls=" + m.URL(), "--advertise-client-urls=" + m.URL(),
		"--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=http://" + m.peer, "--initial-cluster=" + m.c.peers}, m.c.args...)...)
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
	out, err := etcdctl(strings.Join(c.URLs(), ","), args)
	require.NoError(c.t, err, out)
	return out
}

// Fill writes values until the servers have no more space. Start them with --quota-backend-bytes.
func (c *Etcd) Fill() {
	c.t.Helper()
	value := strings.Repeat("x", 100_000)
	for i := range 1000 {
		out, err := etcdctl(strings.Join(c.URLs(), ","), []string{"put", fmt.Sprintf("/filler/%d", i), value})
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

func (m *EtcdMember) ctl(args ...string) (string, error) { return etcdctl(m.URL(), args) }

func etcdctl(endpoints string, args []string) (string, error) {
	cmd := exec.Command("etcdctl", append([]string{"--endpoints=" + endpoints}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
