package failover_test

import (
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
	"weir/internal/weirtest"
)

// sqlInterval is the interval of topologies of databases in tests.
const sqlInterval = 300 * time.Millisecond

// startPair starts two servers that replicate, both configured as read only, of which the first is the primary.
func startPair(t *testing.T, args ...string) (primary, replica *nettest.MariaDB) {
	t.Helper()
	args = append([]string{"--read-only=1", "--binlog-format=ROW"}, args...)
	primary = nettest.StartReplicating(t, 1, args...)
	replica = nettest.StartReplicating(t, 2, args...)
	primary.SQL("SET GLOBAL read_only = 0; " + sqlUsers)
	replica.Follow(primary)
	return primary, replica
}

// servePair runs weir in front of two servers.
func servePair(t *testing.T, a, b *nettest.MariaDB, topology string) (*weirtest.Weir, string) {
	t.Helper()
	return serveSQL(t, weirtest.Config{
		Levels:  weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
		Cluster: "on_down = \"close\"\nhold_timeout = \"30s\"\n",
		Checks:  sqlTopology("mysql", sqlInterval, topology),
	})
}

// Switch-overs by hand: clients see a delay, no client fails to connect, and no acknowledged write is lost.
func TestMariaDBSwitchOver(t *testing.T) {
	old, next := startPair(t)
	weir, addr := servePair(t, old, next, "")
	var ids atomic.Int64
	short := startSQLWriters(t, weir, addr, 4, false, &ids)
	pooled := startSQLWriters(t, weir, addr, 4, true, &ids)
	var parts []time.Duration
	both := []*sqlWriters{short, pooled}
	for range weirtest.Scaled(2) {
		before := countSQL(both...)
		short.firstAfter(t, old, time.Now())
		pooled.firstAfter(t, old, time.Now())
		began := time.Now()
		old.SQL("SET GLOBAL read_only = 1")
		next.CatchUp(old)
		next.SQL("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")
		promoted := time.Now()
		first := short.firstAfter(t, next, promoted)
		pooled.firstAfter(t, next, promoted)
		t.Logf("promotion %v, first write %v later", promoted.Sub(began).Round(time.Millisecond), first.Sub(promoted).Round(time.Millisecond))
		parts = append(parts, first.Sub(promoted))
		weirtest.RecordFigures(t, append(countSQL(both...).since(before), "weir", first.Sub(promoted),
			"late", lateWrites(old, promoted.Add(grace), both...))...)
		old.Follow(next)
		old, next = next, old
	}
	short.close()
	pooled.close()
	for _, w := range []*sqlWriters{short, pooled} {
		writes, _, failures := w.copy()
		t.Logf("%d writes, %d statements failed", len(writes), len(failures))
		w.requireConnects(t)
		require.Zero(t, w.lost(old))
		next.CatchUp(old)
		require.Zero(t, w.lost(next))
	}
	require.Less(t, weirtest.Percentile(parts, 99), weirtest.Bound(sqlInterval*11/10+100*time.Millisecond))
}

// Failovers: the primary is killed, and a tool promotes the replica when it has executed what it has received. With
// semi-synchronous replication, no acknowledged write is lost.
func TestMariaDBFailover(t *testing.T) {
	for range weirtest.Scaled(1) {
		t.Run("", failOver)
	}
}

func failOver(t *testing.T) {
	old, next := startPair(t, "--rpl-semi-sync-slave-enabled=1", "--rpl-semi-sync-master-timeout=60000", "--rpl-semi-sync-master-wait-point=AFTER_SYNC")
	old.SQL("SET GLOBAL rpl_semi_sync_master_enabled = 1")
	next.SQL("STOP SLAVE; START SLAVE")
	nettest.Wait(t, 30*time.Second, "a semi-synchronous replica", func() bool {
		return old.SQL("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'") == "Rpl_semi_sync_master_clients\t1"
	})
	w, addr := servePair(t, old, next, "")
	var ids atomic.Int64
	clients := startSQLWriters(t, w, addr, 6, false, &ids)
	clients.firstAfter(t, old, time.Now())
	killed := time.Now()
	old.Kill()
	clients.serverKilled()
	next.SQL("STOP SLAVE IO_THREAD")
	received := regexp.MustCompile(`Gtid_IO_Pos: (\S*)`)
	nettest.Wait(t, 30*time.Second, "the replica to execute what it has", func() bool {
		out, err := next.Client(next.Addr(), "--column-names", "-e", "SHOW SLAVE STATUS\\G").Output()
		require.NoError(t, err)
		m := received.FindSubmatch(out)
		return m != nil && string(m[1]) == next.SQL("SELECT @@gtid_slave_pos")
	})
	next.SQL("STOP SLAVE; SET GLOBAL read_only = 0")
	promoted := time.Now()
	first := clients.firstAfter(t, next, promoted)
	t.Logf("promoted %v after the kill, first write %v later", promoted.Sub(killed).Round(time.Millisecond), first.Sub(promoted).Round(time.Millisecond))
	require.Less(t, first.Sub(promoted), weirtest.Bound(sqlInterval/3+500*time.Millisecond))
	change := w.WaitRecord(15*time.Second, "the change", func(r weirtest.Record) bool { return r.IsEvent("primary_change") && r.Text("to") == "B" })
	require.Equal(t, "mysql", change.Text("source"))

	// The old primary comes back as it was configured, and gets no client.
	old.Up()
	time.Sleep(2 * sqlInterval) // clients go on for two polls
	clients.close()
	writes, _, failures := clients.copy()
	t.Logf("%d writes, %d statements failed", len(writes), len(failures))
	clients.requireConnects(t)
	require.Zero(t, clients.lost(next))
	late := lateWrites(old, promoted, clients)
	weirtest.RecordFigures(t, append(countSQL(clients).since(sqlCounts{}), "weir", first.Sub(promoted),
		"lost", clients.lost(next), "late", late)...)
	require.Zero(t, late)
}

// With two writable servers, sessions go to the one that has everything, or to none.
func TestMariaDBTwoWritableServers(t *testing.T) {
	for range weirtest.Scaled(1) {
		t.Run("", serveTwoWritableServers)
	}
}

func serveTwoWritableServers(t *testing.T) {
	a, b := startPair(t)
	w, addr := serveSQL(t, weirtest.Config{
		Levels:  weirtest.OneLevel(a.Addr()+" name=A", b.Addr()+" name=B"),
		Cluster: "on_down = \"close\"\n",
		Checks:  sqlTopology("mysql", sqlInterval, ""),
	})
	// serves waits until new sessions are served by a server; nil = by none.
	var took []any
	serves := func(what string, m *nettest.MariaDB) {
		t.Helper()
		began := time.Now()
		defer func() {
			took = append(took, strings.ReplaceAll(what, " ", "_"), time.Since(began))
		}()
		nettest.Wait(t, 30*time.Second, what, func() bool {
			out, err := a.Client(addr, "-e", "SELECT @@port").Output()
			if m == nil {
				return err != nil
			}
			return err == nil && string(out) == portOf(m)+"\n"
		})
	}
	serves("the primary", a)
	b.SQL("STOP SLAVE; SET GLOBAL read_only = 0")
	serves("none of two that are equal", nil)
	b.SQL("INSERT INTO d.t VALUES (1, 0)")
	serves("the one that has more", b)
	a.SQL("INSERT INTO d.t VALUES (2, 0)")
	serves("none of two that have diverged", nil)
	a.SQL("SET GLOBAL read_only = 1")
	serves("the only one", b)
	require.NotEmpty(t, w.Records(func(r weirtest.Record) bool { return r.IsEvent("primary_change") && r.Text("to") == "" }))
	weirtest.RecordFigures(t, took...)
}
