package nettest

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// galeraLibrary is Galera's provider, of the package galera-4.
const galeraLibrary = "/usr/lib/galera/libgalera_smm.so"

// Galera is a cluster of real nodes.
type Galera struct {
	t     testing.TB
	Nodes []*MariaDB
}

// StartGalera runs a cluster of n nodes until the test ends, and waits until all are synced. Nodes that vanish are missed
// after three seconds. State transfers use rsync, whose daemon gives up the rights of root: tests of root run the nodes as the
// user mysql.
func StartGalera(t testing.TB, n int) *Galera {
	t.Helper()
	_, err := os.Stat(galeraLibrary)
	require.NoError(t, err, "install galera-4 to run this test")
	groups := make([]string, n)
	for i := range groups {
		groups[i] = Reserve(t)
	}
	g := &Galera{t: t}
	for i, group := range groups {
		m := newMariaDB(t, i == 0)
		m.args = []string{
			"--skip-name-resolve",
			"--wsrep-on=ON", "--wsrep-provider=" + galeraLibrary, "--wsrep-cluster-address=gcomm://" + strings.Join(groups, ","),
			"--wsrep-cluster-name=weir", "--wsrep-node-address=127.0.0.1", "--wsrep-node-name=" + string(rune('a'+i)),
			"--wsrep-sst-method=rsync", "--wsrep-sst-receive-address=" + Reserve(t),
			"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--default-storage-engine=InnoDB",
			"--wsrep-provider-options=gmcast.listen_addr=tcp://" + group + ";ist.recv_addr=" + Reserve(t) +
				";gcache.size=16M;pc.recovery=false;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S;evs.keepalive_period=PT0.5S" +
				";evs.inactive_check_period=PT0.5S;evs.install_timeout=PT6S;gmcast.peer_timeout=PT3S;gmcast.time_wait=PT1S",
		}
		if os.Getuid() == 0 {
			m.user = "mysql"
			m.giveTo(m.user)
		}
		args := m.args
		if i == 0 {
			m.args = append(slices.Clone(args), "--wsrep-new-cluster")
		}
		m.Up()
		m.args = args
		g.Nodes = append(g.Nodes, m)
		g.WaitSynced(i)
	}
	return g
}

// giveTo changes the owner of the server's files.
func (m *MariaDB) giveTo(name string) {
	m.t.Helper()
	owner, err := user.Lookup(name)
	require.NoError(m.t, err)
	uid, err := strconv.Atoi(owner.Uid)
	require.NoError(m.t, err)
	gid, err := strconv.Atoi(owner.Gid)
	require.NoError(m.t, err)
	require.NoError(m.t, filepath.WalkDir(m.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}))
}

// WaitSynced waits until a node is synced.
func (g *Galera) WaitSynced(i int) {
	g.t.Helper()
	defer func() {
		if g.t.Failed() {
			g.t.Log(g.Nodes[i].Log())
		}
	}()
	Wait(g.t, 60*time.Second, "a synced node", func() bool {
		out, err := g.Nodes[i].TrySQL("SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'")
		return err == nil && strings.HasSuffix(out, "\tSynced")
	})
}

// WaitSize waits until a node reports that the cluster has n nodes.
func (g *Galera) WaitSize(i, n int) {
	g.t.Helper()
	Wait(g.t, 30*time.Second, "the size of the cluster", func() bool { return g.Status(i, "wsrep_cluster_size") == strconv.Itoa(n) })
}

// Status returns a status variable of a node.
func (g *Galera) Status(i int, name string) string {
	g.t.Helper()
	_, value, _ := strings.Cut(g.Nodes[i].SQL("SHOW GLOBAL STATUS LIKE '"+name+"'"), "\t")
	return value
}
