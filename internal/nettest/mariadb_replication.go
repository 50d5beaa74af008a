package nettest

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StartReplicating runs mariadbd with a binary log of everything that it executes, replicated or not, and its own number.
func StartReplicating(t testing.TB, serverID int, args ...string) *MariaDB {
	t.Helper()
	return StartMariaDB(t, append([]string{
		"--server-id=" + strconv.Itoa(serverID), "--log-bin=log", "--log-slave-updates=1", "--gtid-strict-mode=1",
		"--slave-net-timeout=10", "--sync-binlog=0",
	}, args...)...)
}

// SQL runs statements at the server as the user weir, and returns the output without the last line end.
func (m *MariaDB) SQL(statements string) string {
	m.t.Helper()
	out, err := m.TrySQL(statements)
	require.NoError(m.t, err, "%s: %s", statements, out)
	return out
}

// TrySQL is SQL for statements that may fail. The output then is the error.
func (m *MariaDB) TrySQL(statements string) (string, error) {
	out, err := m.Client(m.addr, "-e", statements).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// Follow makes the server a replica of another one, by GTID, and waits until it has caught up.
func (m *MariaDB) Follow(source *MariaDB) {
	m.t.Helper()
	host, port, err := net.SplitHostPort(source.addr)
	require.NoError(m.t, err)
	m.SQL("STOP SLAVE; CHANGE MASTER TO MASTER_HOST='" + host + "', MASTER_PORT=" + port +
		", MASTER_USER='weir', MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; START SLAVE")
	m.CatchUp(source)
}

// CatchUp waits until the server has replicated what another one has executed so far.
func (m *MariaDB) CatchUp(source *MariaDB) {
	m.t.Helper()
	position := source.SQL("SELECT @@gtid_binlog_pos")
	Wait(m.t, time.Minute, "replication", func() bool {
		out, err := m.TrySQL("SELECT MASTER_GTID_WAIT('" + position + "', 1)")
		return err == nil && out == "0"
	})
}
