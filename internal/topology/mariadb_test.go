package topology

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// Real servers of MariaDB: a switch-over by hand, a failover, and an old primary that comes back with and without writes that
// the new one lacks.
func TestMariaDBReplication(t *testing.T) {
	t.Parallel()
	a := nettest.StartReplicating(t, 1)
	b := nettest.StartReplicating(t, 2, "--read-only=1")
	b.Follow(a)
	a.SQL("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (1)")
	b.CatchUp(a)
	spec := mysqlSpec("mysql")
	_, r := watchSQL(t, Options{Spec: spec, Servers: serversAt(a.Addr(), b.Addr())})
	v := r.waitPrimary(t, 10*time.Second, a.Addr())
	require.Equal(t, map[string]Role{a.Addr(): Primary, b.Addr(): Replica}, v.roles())
	require.Equal(t, a.SQL("SELECT @@gtid_current_pos"), v.GTID)

	// By hand: a becomes read only, b catches up and is promoted, a follows b.
	a.SQL("SET GLOBAL read_only = 1")
	r.waitPrimary(t, 5*time.Second, "")
	b.CatchUp(a)
	b.SQL("STOP SLAVE; SET GLOBAL read_only = 0")
	r.waitPrimary(t, 5*time.Second, b.Addr())
	a.Follow(b)
	b.SQL("INSERT INTO d.t VALUES (2)")
	a.CatchUp(b)
	require.Equal(t, []string{a.Addr(), "", b.Addr()}, r.primaries())

	// The replica is made writable by mistake, and has everything: a conflict. Then b writes, and a has stopped to follow.
	a.SQL("STOP SLAVE; SET GLOBAL read_only = 0")
	nettest.Wait(t, 5*time.Second, "the conflict", func() bool { return strings.Contains(r.last().Problem, "their GTIDs are equal") })
	b.SQL("INSERT INTO d.t VALUES (3)")
	r.waitPrimary(t, 5*time.Second, b.Addr())
	nettest.Wait(t, 5*time.Second, "the comparison", func() bool {
		v = r.last()
		return v.Primary == b.Addr() && strings.Contains(v.Source, "its GTIDs include those of "+a.Addr())
	})
	require.Equal(t, Other, v.roles()[a.Addr()])

	// a writes too: numbers alone would not show that both have what the other has not.
	a.SQL("INSERT INTO d.t VALUES (4), (5)")
	a.SQL("INSERT INTO d.t VALUES (6)")
	v = r.waitPrimary(t, 5*time.Second, "")
	require.Contains(t, v.Problem, "their data has diverged")

	// b ends, and a is the only one that answers.
	b.Kill()
	r.waitPrimary(t, 5*time.Second, a.Addr())
	// b returns as it was configured, read only and following a, which cannot work.
	b.Up()
	nettest.Wait(t, 10*time.Second, "an error", func() bool {
		v := r.last()
		return strings.Contains(v.Members[indexOf(v, b.Addr())].Reason, "replication: the ")
	})
	require.Equal(t, a.Addr(), r.last().Primary)
}

func TestMariaDBReplicationThatIsBroken(t *testing.T) {
	t.Parallel()
	a := nettest.StartReplicating(t, 1, "--binlog-format=ROW")
	b := nettest.StartReplicating(t, 2, "--read-only=1", "--binlog-format=ROW")
	b.Follow(a)
	_, r := watchSQL(t, Options{Spec: mysqlSpec("mysql"), Servers: serversAt(a.Addr(), b.Addr())})
	r.waitPrimary(t, 10*time.Second, a.Addr())
	a.SQL("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY)")
	b.CatchUp(a)
	b.SQL("SET sql_log_bin = 0; INSERT INTO d.t VALUES (1)")
	a.SQL("INSERT INTO d.t VALUES (1)")
	nettest.Wait(t, 10*time.Second, "the error", func() bool { return r.last().roles()[b.Addr()] == Other })
	v := r.last()
	require.Contains(t, v.Members[indexOf(v, b.Addr())].Reason, "replication: the sql thread has stopped: Could not execute Write_rows")
	b.SQL("SET sql_log_bin = 0; DELETE FROM d.t; START SLAVE")
	nettest.Wait(t, 10*time.Second, "the replica", func() bool { return r.last().roles()[b.Addr()] == Replica })
	// Its source is gone: it has what it had.
	a.Kill()
	r.waitPrimary(t, 5*time.Second, "")
	require.Equal(t, Replica, r.last().roles()[b.Addr()])
}
