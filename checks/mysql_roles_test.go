package checks

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// replicaOf returns the statement that makes a server a replica of m, through a connection with a name. Two connections
// need two names of the host.
func replicaOf(t *testing.T, m *nettest.MariaDB, name, host string) string {
	_, port, err := net.SplitHostPort(m.Addr())
	require.NoError(t, err)
	return fmt.Sprintf("CHANGE MASTER '%s' TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='weir', MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; "+
		"START SLAVE '%s'; ", name, host, port, name)
}

// A replica with several connections passes if all of them run, whatever their names are, and however long the status is.
func TestMySQLReplicaWithNamedConnections(t *testing.T) {
	first := nettest.StartMariaDB(t, "--server-id=1", "--log-bin", "--gtid-domain-id=1")
	r := nettest.StartMariaDB(t, "--server-id=2", "--gtid-domain-id=2", "--gtid-ignore-duplicates=1", "--read-only=1")
	replica := user("weir", "secret")
	replica.Role, replica.MaxLag = "replica", time.Minute

	_, err := runCheck(t, replica, r.Addr())
	require.EqualError(t, err, "role: expected replica, got no replication")
	require.Equal(t, Failed, outcomeOf(err), "a server that is read only is not a primary")
	runStatements(t, r, replicaOf(t, first, "one", "127.0.0.1"))
	waitPass(t, replica, r)
	runStatements(t, r, replicaOf(t, first, "", "127.1"))
	waitPass(t, replica, r)
	runStatements(t, r, "STOP SLAVE 'one' SQL_THREAD")
	_, err = runCheck(t, replica, r.Addr())
	require.ErrorContains(t, err, `replication: expected the sql thread of connection "one" to run, got "No"`)
	runStatements(t, r, "STOP SLAVE ''; START SLAVE 'one' SQL_THREAD")
	_, err = runCheck(t, replica, r.Addr())
	require.ErrorContains(t, err, `replication: expected the io thread to run, got "No"`)
	runStatements(t, r, "START SLAVE ''")
	waitPass(t, replica, r)

	tables := make([]string, 4000)
	for i := range tables {
		tables[i] = fmt.Sprintf("database_with_a_long_name.table_%04d", i)
	}
	runStatements(t, r, "STOP ALL SLAVES; SET default_master_connection = 'one'; SET GLOBAL replicate_do_table = '"+strings.Join(tables, ",")+"'; START ALL SLAVES")
	out, err := r.Client(r.Addr(), "-e", "SHOW ALL SLAVES STATUS").Output()
	require.NoError(t, err)
	require.Greater(t, len(out), 142_000)
	waitPass(t, replica, r)

	_, err = runCheck(t, replica, first.Addr())
	require.Equal(t, Standby, outcomeOf(err), "%v", err)
	primary := user("weir", "secret")
	primary.Role = "primary"
	_, err = runCheck(t, primary, r.Addr())
	require.Equal(t, Standby, outcomeOf(err), "%v", err)
}

// waitPass waits until a check passes.
func waitPass(t *testing.T, o MySQL, m *nettest.MariaDB) {
	t.Helper()
	nettest.Wait(t, time.Minute, "the check to pass", func() bool {
		_, err := runCheck(t, o, m.Addr())
		return err == nil
	})
}

func TestMySQLWithReadOnlyInnoDBIsNoPrimary(t *testing.T) {
	m := nettest.StartMariaDB(t, "--innodb-read-only=1")
	o := user("weir", "secret")
	_, err := runCheck(t, o, m.Addr())
	require.NoError(t, err)
	o.Role = "primary"
	_, err = runCheck(t, o, m.Addr())
	require.EqualError(t, err, `role: expected primary (innodb_read_only = 0), got innodb_read_only = "ON"`)
	require.Equal(t, Standby, outcomeOf(err))
}

const galeraLibrary = "/usr/lib/galera/libgalera_smm.so"

func TestGaleraNodeThatRejectsQueriesFails(t *testing.T) {
	_, err := os.Stat(galeraLibrary)
	require.NoError(t, err, "install galera-4 to run this test")
	group := nettest.Reserve(t)
	m := nettest.StartMariaDB(t, "--wsrep-on=ON", "--wsrep-provider="+galeraLibrary, "--wsrep-cluster-address=gcomm://", "--binlog-format=ROW",
		"--innodb-autoinc-lock-mode=2", "--wsrep-node-address="+group, "--wsrep-provider-options=gmcast.listen_addr=tcp://"+group+";ist.recv_addr="+group)
	o := user("weir", "secret")
	o.Galera = true
	waitPass(t, o, m)
	runStatements(t, m, "SET GLOBAL wsrep_reject_queries = ALL")
	_, err = runCheck(t, o, m.Addr())
	require.EqualError(t, err, `galera: expected wsrep_reject_queries NONE, got "ALL"`)
	runStatements(t, m, "SET GLOBAL wsrep_reject_queries = NONE")
	waitPass(t, o, m)
	runStatements(t, m, "SET GLOBAL wsrep_desync = ON")
	_, err = runCheck(t, o, m.Addr())
	require.ErrorContains(t, err, "galera: expected wsrep_local_state Synced, got \"2 Donor")
	o.AllowDonor = true
	_, err = runCheck(t, o, m.Addr())
	require.NoError(t, err)
}

func TestGaleraSettings(t *testing.T) {
	for _, c := range []struct {
		name, value string
		donor       bool
		want        string
	}{
		{"wsrep_reject_queries", "NONE", false, ""},
		{"wsrep_reject_queries", "ALL_KILL", false, `expected wsrep_reject_queries NONE, got "ALL_KILL"`},
		{"pxc_maint_mode", "DISABLED", false, ""},
		{"pxc_maint_mode", "SHUTDOWN", false, `expected pxc_maint_mode DISABLED, got "SHUTDOWN"`},
		{"pxc_maint_mode", "MAINTENANCE", true, "expected pxc_maint_mode DISABLED"},
		{"wsrep_sst_donor_rejects_queries", "ON", false, ""},
		{"wsrep_sst_donor_rejects_queries", "ON", true, "expected wsrep_sst_donor_rejects_queries OFF"},
		{"other", "", true, ""},
	} {
		err := galeraSettings(map[string]string{c.name: c.value}, c.donor)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}

// Servers without room for a connection are full: they work.
func TestMySQLWithoutRoomIsFull(t *testing.T) {
	greeting := packet(0, greetingOf(nativePassword))
	for code, text := range map[uint16]string{1040: "Too many connections", 1203: "User u already has more than", 1226: "User 'u' has exceeded the"} {
		for _, h := range []nettest.Handler{sendPackets(errorPacket(0, code, text)), sendPackets(greeting, errorPacket(2, code, text))} {
			host := nettest.Start(t, h)
			for _, o := range []MySQL{{}, user("u", "secret")} {
				_, err := runCheck(t, o, host.Addr())
				require.ErrorContains(t, err, text)
				require.Equal(t, Full, outcomeOf(err))
			}
		}
	}
	m := nettest.StartMariaDB(t)
	runStatements(t, m, "CREATE USER one@'%' IDENTIFIED BY 'secret' WITH MAX_CONNECTIONS_PER_HOUR 1")
	_, err := runCheck(t, user("one", "secret"), m.Addr())
	require.NoError(t, err)
	_, err = runCheck(t, user("one", "secret"), m.Addr())
	require.Equal(t, Full, outcomeOf(err), "%v", err)
}

// A query that waits for a lock is ended with its check, so that threads do not accumulate on the server.
func TestMySQLHungQueriesDoNotAccumulate(t *testing.T) {
	m := nettest.StartMariaDB(t, "--innodb-lock-wait-timeout=1000")
	runStatements(t, m, "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO d.t VALUES (1)")
	locker := m.Client(m.Addr(), "-e", "BEGIN; SELECT * FROM d.t FOR UPDATE; SELECT SLEEP(1000)")
	require.NoError(t, locker.Start())
	defer func() {
		_ = locker.Process.Kill()
		_ = locker.Wait()
	}()
	threads := func() string {
		out, err := m.Client(m.Addr(), "-e", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'S% FROM d.t FOR UPDATE /* check */'").Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	for name, c := range map[string]struct {
		query, left string
	}{
		"ended by the server":     {"SELECT a FROM d.t FOR UPDATE /* check */", "0"},
		"ended by the next check": {"SET STATEMENT max_statement_time = 0 FOR SELECT a FROM d.t FOR UPDATE /* check */", "1"},
	} {
		o := user("weir", "secret")
		o.Query = c.query
		monitor, err := o.Monitor()
		require.NoError(t, err)
		check := func() error {
			return runMonitor(monitor, Target{Address: m.Addr()}, 300*time.Millisecond)
		}
		nettest.Wait(t, 10*time.Second, "the lock", func() bool { return check() != nil })
		for range 5 {
			require.Error(t, check(), name)
		}
		nettest.Wait(t, 20*time.Second, name+": the queries to end", func() bool { return threads() == c.left })
	}
}

// Checks of a server that expects PROXY headers are LOCAL in version 2 and name their own addresses in version 1.
func TestMySQLBehindProxyHeader(t *testing.T) {
	m := nettest.StartMariaDB(t, "--proxy-protocol-networks=127.0.0.1")
	o := user("weir", "secret")
	o.Role = "primary"
	for _, version := range []string{"v1", "v2"} {
		for _, o := range []MySQL{o, {}} {
			report, err := checkWithin(t, o, Target{Address: m.Addr(), SendProxy: version}, 5*time.Second)
			require.NoError(t, err, version)
			require.Contains(t, report.Detail, "MariaDB")
		}
	}
}
