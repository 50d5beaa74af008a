package checks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/conf"
	"weir/internal/nettest"
)

// openSession opens a session as the user of a nettest.MariaDB.
func openSession(t *testing.T, address string, limit time.Duration) (*MySQLSession, error) {
	t.Helper()
	client, err := NewMySQLClient(conf.Topology{User: "weir", Password: conf.Secret{Value: "secret"}})
	require.NoError(t, err)
	return openWith(t, client, address, limit)
}

func openWith(t *testing.T, client *MySQLClient, address string, limit time.Duration) (*MySQLSession, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return client.Open(ctx, Target{Address: address}, limit)
}

func TestMySQLSession(t *testing.T) {
	m := nettest.StartMariaDB(t)
	s, err := openSession(t, m.Addr(), time.Second)
	require.NoError(t, err)
	require.True(t, s.MariaDB())
	within := func(limit time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		t.Cleanup(cancel)
		return ctx
	}
	values, err := s.Values(within(5*time.Second), "SELECT 'a' AS x, NULL AS y, REPEAT('b', 5000) AS z, 'c' AS other", 3000, "x", "y", "z")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "a", "z": strings.Repeat("b", 3000)}, values)
	values, err = s.Variables(within(5*time.Second), "VARIABLES", "read_only", "no_such_variable")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"read_only": "OFF"}, values)
	list, err := s.Replication(within(5 * time.Second))
	require.NoError(t, err)
	require.Empty(t, list)

	// An error of the server does not end the session.
	_, err = s.Values(within(5*time.Second), "SELECT @@no_such_variable", 10, "x")
	require.Equal(t, 1193, MySQLErrorCode(err), "%v", err)
	require.False(t, s.Broken())
	_, err = s.Values(within(5*time.Second), "SELECT 1 AS x", 10, "x")
	require.NoError(t, err)

	// A session is idle until the server ends it.
	require.False(t, s.AwaitEnd(within(20*time.Millisecond)))
	_, err = s.Values(within(5*time.Second), "SELECT 1 AS x", 10, "x")
	require.NoError(t, err)
	ended := make(chan bool, 1)
	ctx := within(20 * time.Second)
	go func() { ended <- s.AwaitEnd(ctx) }()
	m.Kill()
	require.True(t, <-ended)
	_, err = s.Values(within(5*time.Second), "SELECT 1 AS x", 10, "x")
	require.Error(t, err)
	s.Close()
	_, err = openSession(t, m.Addr(), time.Second)
	require.ErrorContains(t, err, "refused")
}

// A query that outlives its context ends the session, and the server ends it by itself or with the next session.
func TestMySQLSessionEndsItsHungQueries(t *testing.T) {
	m := nettest.StartMariaDB(t)
	client, err := NewMySQLClient(conf.Topology{User: "weir", Password: conf.Secret{Value: "secret"}})
	require.NoError(t, err)
	s, err := openWith(t, client, m.Addr(), time.Hour)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	const query = "SELECT SLEEP(1000) AS x"
	_, err = s.Values(ctx, query, 10, "x")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, s.Broken())
	s.Close()
	runs := func() string {
		return m.SQL("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = '" + query + "'")
	}
	require.Equal(t, "1", runs())
	s, err = openWith(t, client, m.Addr(), 100*time.Millisecond)
	require.NoError(t, err)
	nettest.Wait(t, 5*time.Second, "the query to end", func() bool { return runs() == "0" })
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = s.Values(ctx, query, 10, "x")
	require.Equal(t, 1969, MySQLErrorCode(err), "max_statement_time: %v", err)
	s.Close()
}

func TestMySQLSessionErrors(t *testing.T) {
	m := nettest.StartMariaDB(t)
	client, err := NewMySQLClient(conf.Topology{User: "weir", Password: conf.Secret{Value: "wrong-password"}, Database: "wrong-password"})
	require.NoError(t, err)
	_, err = openWith(t, client, m.Addr(), time.Second)
	require.Equal(t, 1045, MySQLErrorCode(err), "%v", err)
	full := nettest.Start(t, sendPackets(errorPacket(0, 1040, "Too many connections: wrong-password")))
	_, err = openWith(t, client, full.Addr(), time.Second)
	var fullErr *FullError
	require.True(t, errors.As(err, &fullErr))
	require.NotContains(t, err.Error(), "wrong-password")
	_, err = NewMySQLClient(conf.Topology{User: "weir", TLS: conf.TLS{On: true, CAFile: "/nonexistent/ca.pem"}})
	require.ErrorContains(t, err, "tls_ca_file")
	_, err = NewMySQLClient(conf.Topology{User: "weir", ServerKeyFile: "/nonexistent/key.pem"})
	require.ErrorContains(t, err, "server_public_key_file")
}
