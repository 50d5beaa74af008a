package failover_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// runGaleraExample runs the Galera example: sessions continue through an upgrade, readers leave a drained node, and clients that connect
// while the writer's node is desynced wait for the next one. All clients write to one node, also when the first one is back. In a
// campaign, the writer's node is killed too.
func runGaleraExample(t *testing.T, g *nettest.Galera, ids *atomic.Int64) {
	e := readExample(t, "galera.toml")
	write, read := e.listen("3306"), e.listen("3307")
	for i, n := range g.Nodes {
		e.replace(fmt.Sprintf("10.0.0.2%d:3306", i+1), n.Addr())
	}
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("secret\n"), 0o600))
	e.replace("/etc/weir/mysql-password", password)
	e.replace(`user = "weir"`, `user = "monitor"`) // without rights
	w, a := e.start()
	w.Baseline = nil // weir keeps connections to the nodes

	// open opens a session and returns its node.
	open := func(addr string) (*sql.Conn, int) {
		t.Helper()
		db, err := sql.Open("mysql", "app:secret@tcp("+addr+")/d?timeout=40s")
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		db.SetMaxIdleConns(0) // a closed session is closed
		c, err := db.Conn(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c, nodeOf(t, g, c)
	}
	writer := lowestIndex(g)
	short, pooled := startSQLWriters(t, w, write, 2, false, ids), startSQLWriters(t, w, write, 2, true, ids)
	// moves waits until all clients write to a node, and to no other.
	moves := func(node int) {
		t.Helper()
		since := time.Now()
		short.firstAfter(t, g.Nodes[node], since)
		pooled.firstAfter(t, g.Nodes[node], since)
		settled := time.Now()
		nettest.Wait(t, 30*time.Second, "more writes", func() bool { return writesSince(settled, short) >= 20 && writesSince(settled, pooled) >= 20 })
		for i, n := range g.Nodes {
			if i != node {
				require.Zero(t, lateWrites(n, settled, short, pooled), "writes to another node")
			}
		}
	}
	moves(writer)

	kept, node := open(write)
	require.Equal(t, writer, node)
	reader, drained := open(read)
	require.NotEqual(t, writer, drained)
	before := []int{connectionID(t, kept), connectionID(t, reader)}
	w.Upgrade()
	require.Equal(t, before, []int{connectionID(t, kept), connectionID(t, reader)}, "the same sessions at the nodes")
	_, _, failures := pooled.copy()
	require.Empty(t, failures)

	a.MustRunCommand("server", "read/"+g.Nodes[drained].Addr(), "drain", "--reason", "new kernel")
	for range 4 {
		c, node := open(read)
		require.NotContains(t, []int{writer, drained}, node)
		c.Close()
	}
	require.Equal(t, drained, nodeOf(t, g, reader), "sessions of a drained server continue")
	a.MustRunCommand("server", "read/"+g.Nodes[drained].Addr(), "reset")

	out := a.MustRunCommand("server", "write/"+g.Nodes[writer].Addr(), "drain")
	require.Contains(t, out, "no server takes new sessions", "an operator chooses no writer")
	a.MustRunCommand("server", "write/"+g.Nodes[writer].Addr(), "ready")
	moves(writer)

	g.Nodes[writer].SQL("SET GLOBAL wsrep_desync = ON")
	moves(lowestIndex(g, writer))
	g.Nodes[writer].SQL("SET GLOBAL wsrep_desync = OFF")
	g.WaitSynced(writer)
	moves(writer)

	if weirtest.Campaign() { // a state transfer takes long
		g.Nodes[writer].Kill()
		short.serverKilled()
		pooled.serverKilled()
		_, node := open(write) // it waits
		require.NotEqual(t, writer, node)
		moves(node)
		g.Nodes[writer].Up()
		g.WaitSynced(writer)
		writer = lowestIndex(g)
		moves(writer)
	}
	kept, node = open(write)
	require.Equal(t, writer, node)
	for _, clients := range []*sqlWriters{short, pooled} {
		clients.close()
		clients.requireConnects(t)
		require.Zero(t, clients.lost(g.Nodes[node]))
	}
	drainAndStop(t, w, a, write, func() error { return kept.PingContext(t.Context()) }, func() {
		kept.Close()
		reader.Close()
	})
}

// nodeOf returns the node at which a session is.
func nodeOf(t *testing.T, g *nettest.Galera, c *sql.Conn) int {
	t.Helper()
	var port string
	require.NoError(t, c.QueryRowContext(t.Context(), "SELECT @@port").Scan(&port))
	for i, n := range g.Nodes {
		if portOf(n) == port {
			return i
		}
	}
	t.Fatalf("no node has port %s", port)
	return -1
}

// connectionID returns the number of a session at its node.
func connectionID(t *testing.T, c *sql.Conn) (id int) {
	t.Helper()
	require.NoError(t, c.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
	return id
}

// writesSince returns how many acknowledged writes began after a moment.
func writesSince(at time.Time, w *sqlWriters) (n int) {
	writes, _, _ := w.copy()
	for _, one := range writes {
		if one.began.After(at) {
			n++
		}
	}
	return n
}
