package nettest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patroni is a cluster of PostgreSQL servers under real Patroni, with one real etcd. Its nodes have addresses of their own
// and the same ports. Superuser "weir" has the password "secret". Replication is synchronous (synchronous_mode).
type Patroni struct {
	t            testing.TB
	etcd         string // address
	port, rest   string // of PostgreSQL and of Patroni's API, on every node
	leaderExpiry time.Duration
	nodes        []*PatroniNode
}

// PatroniNode is one server and its Patroni. They run in a PID namespace, so that they end together.
type PatroniNode struct {
	Name, Host string
	dir        string
	p          *program
}

// StartPatroni starts a cluster of n nodes and waits until all replicate from the leader. It takes several seconds. A leader
// that vanishes is replaced after about expiry.
func StartPatroni(t testing.TB, n int, expiry time.Duration) *Patroni {
	t.Helper()
	c := &Patroni{t: t, etcd: Reserve(t), leaderExpiry: expiry}
	_, c.port, _ = net.SplitHostPort(Reserve(t))
	_, c.rest, _ = net.SplitHostPort(Reserve(t))
	dir := t.TempDir()
	peer := Reserve(t)
	etcd := startProgram(t, "etcd", "--name=e", "--data-dir="+dir, "--listen-client-urls=http://"+c.etcd, "--advertise-client-urls=http://"+c.etcd,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=e=http://"+peer, "--unsafe-no-fsync")
	etcd.waitReady(t, 20*time.Second, func() bool { return strings.Contains(etcd.output.String(), "ready to serve client requests") })
	for i := range n {
		node := &PatroniNode{Name: fmt.Sprintf("n%d", i+1), Host: fmt.Sprintf("127.0.0.%d", 11+i)}
		node.dir = newPostgreSQL(t, nil).dir
		c.nodes = append(c.nodes, node)
		c.Up(node)
		if i == 0 { // it installs the database
			Wait(t, 60*time.Second, "the first leader", func() bool { return c.Is(node, "primary") })
		}
	}
	for _, node := range c.nodes[1:] {
		Wait(t, 60*time.Second, node.Name+" to replicate", func() bool { return c.Is(node, "replica") })
	}
	return c
}

// Servers returns the addresses of the servers.
func (c *Patroni) Servers() (list []string) {
	for _, n := range c.nodes {
		list = append(list, net.JoinHostPort(n.Host, c.port))
	}
	return list
}

// APIPort returns the port of Patroni's API on every node.
func (c *Patroni) APIPort() string { return c.rest }

// Is reports whether the API of a node confirms a role: primary, replica or sync.
func (c *Patroni) Is(n *PatroniNode, role string) bool {
	client := http.Client{Timeout: time.Second}
	res, err := client.Get("http://" + net.JoinHostPort(n.Host, c.rest) + "/" + role)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Leader waits for a leader and returns it.
func (c *Patroni) Leader() (leader *PatroniNode) {
	c.t.Helper()
	Wait(c.t, 60*time.Second, "a leader", func() bool {
		for _, n := range c.nodes {
			if c.Is(n, "primary") {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// Other returns a node that is not n.
func (c *Patroni) Other(n *PatroniNode) *PatroniNode {
	for _, other := range c.nodes {
		if other != n {
			return other
		}
	}
	return nil
}

// Up starts a node that does not run. Its server follows the leader.
func (c *Patroni) Up(n *PatroniNode) {
	c.t.Helper()
	seconds := int(c.leaderExpiry / time.Second)
	file := filepath.Join(n.dir, "patroni.yml")
	require.NoError(c.t, os.WriteFile(file, fmt.Appendf(nil, `scope: weir
name: %[1]s
restapi: {listen: "%[2]s:%[3]s", connect_address: "%[2]s:%[3]s"}
etcd3: {hosts: ["%[4]s"]}
bootstrap:
  dcs:
    ttl: %[7]d
    loop_wait: 1
    retry_timeout: %[8]d
    synchronous_mode: true
    maximum_lag_on_failover: 1048576
    postgresql: {use_pg_rewind: false, parameters: {max_connections: 50, shared_buffers: 16MB, fsync: off}}
  initdb: [{encoding: UTF8}, {locale: C}, no-sync]
  pg_hba: [host replication all all scram-sha-256, host all all all scram-sha-256, local all all scram-sha-256]
postgresql:
  listen: "%[2]s:%[5]s"
  connect_address: "%[2]s:%[5]s"
  data_dir: %[6]s/data
  bin_dir: %[9]s
  pgpass: %[6]s/pgpass
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {username: weir, password: secret}
    replication: {username: replicator, password: secret}
  parameters: {unix_socket_directories: "%[6]s", password_encryption: scram-sha-256}
`, n.Name, n.Host, c.rest, c.etcd, c.port, n.dir, seconds, max(1, (seconds-1)/2), filepath.Dir(PostgreSQLProgram(c.t, "postgres"))), 0o644))
	id := unprivileged(c.t)
	require.NotNil(c.t, id, "this test needs root")
	n.p = startProgramIn(c.t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}, "sh", "-c",
		`mount --make-rprivate / && mount -t proc proc /proc && exec setpriv --reuid "$0" --regid "$1" --clear-groups --pdeathsig KILL patroni "$2"`,
		fmt.Sprint(id.Uid), fmt.Sprint(id.Gid), file)
}

// Kill ends a node as a loss of its host does: every process of it ends at once.
func (c *Patroni) Kill(n *PatroniNode) { n.p.kill() }

// Switchover makes another node the leader, in an orderly way, and returns the new leader.
func (c *Patroni) Switchover() *PatroniNode {
	c.t.Helper()
	from := c.Leader()
	var to *PatroniNode
	Wait(c.t, 30*time.Second, "a synchronous replica", func() bool {
		for _, n := range c.nodes {
			if n != from && c.Is(n, "sync") {
				to = n
				return true
			}
		}
		return false
	})
	body := fmt.Sprintf(`{"leader": %q, "candidate": %q}`, from.Name, to.Name)
	client := http.Client{Timeout: 30 * time.Second}
	res, err := client.Post("http://"+net.JoinHostPort(from.Host, c.rest)+"/switchover", "application/json", strings.NewReader(body))
	require.NoError(c.t, err)
	res.Body.Close()
	require.Less(c.t, res.StatusCode, 300)
	return to
}

// Log returns the log of a node's Patroni and of its server.
func (n *PatroniNode) Log() string { return n.p.output.String() }
