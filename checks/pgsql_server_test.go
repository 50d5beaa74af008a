package checks

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// pgUser returns a check that logs in to the database postgres.
func pgUser(name, password string) PgSQL {
	return PgSQL{User: name, Password: Secret{Value: password}, Database: "postgres"}
}

// startTLSPostgreSQL starts a server with users of every method of authentication: scram, digest, clear, anyone and, with a
// client certificate, certified. Their password is "s3cr3t-of-pg". It returns the files of the certificate.
func startTLSPostgreSQL(t *testing.T, settings ...string) (p *nettest.PostgreSQL, cert, key string) {
	t.Helper()
	cert, key = makeCertificateFor(t, "certified")
	p = nettest.StartPostgreSQL(t, settings...)
	certText, err := os.ReadFile(cert)
	require.NoError(t, err)
	keyText, err := os.ReadFile(key)
	require.NoError(t, err)
	p.Query(p.Addr(), "CREATE USER scram PASSWORD 's3cr3t-of-pg'", "CREATE USER anyone", "CREATE USER certified", "CREATE USER limited PASSWORD 's3cr3t-of-pg' CONNECTION LIMIT 0",
		"SET password_encryption = 'md5'; CREATE USER digest PASSWORD 's3cr3t-of-pg'", "CREATE USER clear PASSWORD 's3cr3t-of-pg'",
		"ALTER SYSTEM SET ssl_cert_file = '"+p.File("server.pem", string(certText))+"'",
		"ALTER SYSTEM SET ssl_key_file = '"+p.File("server.key", string(keyText))+"'",
		"ALTER SYSTEM SET ssl_ca_file = '"+p.File("ca.pem", string(certText))+"'", "ALTER SYSTEM SET ssl = on")
	p.SetAccess("hostssl all certified all cert", "host all certified all reject", "host all clear all password", "host all digest all md5",
		"host all anyone all trust", "host all all all scram-sha-256", "local all all scram-sha-256", "host replication all all scram-sha-256")
	p.Reload()
	return p, cert, key
}

func TestPgSQLOfServer(t *testing.T) {
	const password = "s3cr3t-of-pg"
	p, cert, key := startTLSPostgreSQL(t)
	trusted := &TLS{CAFile: cert}
	withTLS := func(o PgSQL, secure *TLS) PgSQL { o.TLS = secure; return o }
	for _, c := range []struct {
		name string
		o    PgSQL
		want string // the error; "" = none
	}{
		{"SCRAM", pgUser("scram", password), ""},
		{"SCRAM over TLS", withTLS(pgUser("scram", password), trusted), ""},
		{"MD5", pgUser("digest", password), ""},
		{"trust", pgUser("anyone", ""), ""},
		{"clear text", pgUser("clear", password), "login: the server asks for the password itself: use tls"},
		{"clear text over TLS", withTLS(pgUser("clear", password), trusted), ""},
		{"client certificate", withTLS(pgUser("certified", ""), &TLS{CAFile: cert, CertFile: cert, KeyFile: key}), ""},
		{"no client certificate", withTLS(pgUser("certified", ""), trusted), "login: server error 28000: \"connection requires a valid client certificate"},
		{"no TLS", pgUser("certified", ""), "login: server error 28000: "},
		{"another authority", withTLS(pgUser("scram", password), &TLS{}), "TLS handshake: "},
		{"wrong password", pgUser("scram", "x"+password), "login: server error 28P01: \"password authentication failed for user \\\"scram\\\"\""},
		{"wrong password, MD5", pgUser("digest", "x"+password), "login: server error 28P01: "},
		{"unknown user", pgUser("nobody", password), "login: server error 28P01: "},
		{"unknown database", PgSQL{User: "anyone"}, "login: server error 3D000: "},
		{"limit of a user", pgUser("limited", password), "login: server error 53300: \"too many connections for role"},
		{"no user", PgSQL{}, ""},
		{"no user, TLS", PgSQL{TLS: trusted}, ""},
		{"no user, another authority", PgSQL{TLS: &TLS{}}, "TLS handshake: "},
	} {
		report, err := checkWithin(t, c.o, Target{Address: p.Addr()}, 10*time.Second)
		if c.want == "" {
			require.NoError(t, err, c.name)
			require.Regexp(t, `^postgresql (\d+\.\d+|TLS)|^postgresql, TLS`, report.Detail, c.name)
		} else {
			require.ErrorContains(t, err, c.want, c.name)
			require.NotContains(t, err.Error(), password)
		}
		require.Equal(t, c.name == "limit of a user", outcomeOf(err) == Full, c.name)
	}

	// A query.
	for query, want := range map[string]string{
		"SELECT 1":           "",
		"SELECT 'f'":         "", // a text
		"SELECT 1; SELECT 0": "",
		"SELECT g, repeat('x', 5000) FROM generate_series(1, 100) g": "",
		"SELECT count(*) > 0 FROM pg_database":                       "",
		"SHOW server_version":                                        "",
		"SELECT 0":                                                   "query: expected a first value that is not 0, empty or NULL, got \"0\"",
		"SELECT '0.0'":                                               "got \"0.0\"",
		"SELECT false":                                               "got \"0\"",
		"SELECT NULL":                                                "got NULL",
		"SELECT ''":                                                  "got \"\"",
		"SELECT 1 WHERE false":                                       "got no row",
		"SET work_mem = '1MB'":                                       "got no row",
		"SELECT":                                                     "got no row",
		"SELECT 1/0":                                                 "query: server error 22012: \"division by zero\"",
		"SELEC":                                                      "query: server error 42601: ",
		"SELECT repeat('x', 100000)":                                 "query: reply too large (over 65536 bytes): expected a result",
		"SELECT repeat('x', 60000) FROM generate_series(1, 100)": "query: reply too large (over 1048576 bytes): expected a result",
		"COPY (SELECT 1) TO STDOUT":                              "got no row",
	} {
		o := pgUser("scram", password)
		o.Query = query
		_, err := checkWithin(t, o, Target{Address: p.Addr()}, 10*time.Second)
		if want == "" {
			require.NoError(t, err, query)
		} else {
			require.ErrorContains(t, err, want, query)
		}
	}

	// The server ends a query before the check has given up.
	o := pgUser("scram", password)
	o.Query = "SELECT pg_sleep(60)"
	_, err := checkWithin(t, o, Target{Address: p.Addr()}, 500*time.Millisecond)
	require.Error(t, err)
	nettest.Wait(t, 5*time.Second, "the query to end", func() bool {
		return p.Query(p.Addr(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()") == "0"
	})

	// A unix socket.
	_, err = checkWithin(t, pgUser("scram", password), Target{Network: "unix", Address: p.Socket()}, 10*time.Second)
	require.NoError(t, err)
	report, err := checkWithin(t, PgSQL{}, Target{Network: "unix", Address: p.Socket()}, 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, "postgresql, no TLS", report.Detail)

	// Nothing that succeeds is logged.
	before := p.Log()
	for range 10 {
		for _, o := range []PgSQL{
			pgUser("scram", password), pgUser("digest", password), withTLS(pgUser("scram", password), trusted), {}, {TLS: trusted}, {TLS: &TLS{SkipVerify: true}},
		} {
			_, err := checkWithin(t, o, Target{Address: p.Addr()}, 10*time.Second)
			require.NoError(t, err)
		}
		_, err := checkWithin(t, PgSQL{}, Target{Network: "unix", Address: p.Socket()}, 10*time.Second)
		require.NoError(t, err)
	}
	require.Equal(t, "1", p.Query(p.Addr(), "SELECT 1")) // the server has seen the ends before
	require.Equal(t, before, p.Log())

	// Without a place for a connection, the server is full.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		c, err := pgconn.Connect(ctx, p.DSN(p.Addr()))
		if err != nil {
			require.ErrorContains(t, err, "53300")
			break
		}
		defer c.Close(ctx)
	}
	for _, o := range []PgSQL{pgUser("scram", password), withTLS(pgUser("scram", password), trusted)} {
		_, err = checkWithin(t, o, Target{Address: p.Addr()}, 10*time.Second)
		require.Equal(t, Full, outcomeOf(err), "%v", err)
		require.ErrorContains(t, err, "login: server error 53300: ")
	}
}

// The source address of a check is that of the server's sessions.
func TestPgSQLSourceAddress(t *testing.T) {
	p := nettest.StartPostgreSQL(t, "log_connections=on")
	target := Target{Address: p.Addr()}
	target.Source = netip.MustParseAddr("127.0.0.9")
	_, err := checkWithin(t, pgUser("weir", "secret"), target, 10*time.Second)
	require.NoError(t, err)
	require.Contains(t, p.Log(), "connection received: host=127.0.0.9")
	require.Contains(t, p.Log(), "application_name=weir")
}

func TestPgSQLRoles(t *testing.T) {
	primary := nettest.StartPostgreSQL(t)
	primary.Query(primary.Addr(), "CREATE USER monitor PASSWORD 's3cr3t-of-pg'") // without privileges
	standby := primary.StartStandby()
	role := func(role string, lag time.Duration) PgSQL {
		o := pgUser("monitor", "s3cr3t-of-pg")
		o.Role, o.MaxLag = role, lag
		return o
	}
	run := func(o PgSQL, p *nettest.PostgreSQL) (Report, error) {
		return checkWithin(t, o, Target{Address: p.Addr()}, 10*time.Second)
	}
	nettest.Wait(t, 10*time.Second, "the standby to stream", func() bool {
		report, err := run(role("replica", time.Minute), standby)
		return err == nil && !strings.Contains(report.Detail, "not streaming")
	})
	report, err := run(role("primary", 0), primary)
	require.NoError(t, err)
	require.Regexp(t, `^postgresql \d+\.\d+, primary$`, report.Detail)
	_, err = run(role("", time.Minute), primary) // a primary has no lag
	require.NoError(t, err)
	_, err = run(role("replica", 0), primary)
	require.Equal(t, Standby, outcomeOf(err))
	require.EqualError(t, err, "role: expected replica, got primary (not in recovery)")
	report, err = run(role("replica", 0), standby)
	require.NoError(t, err)
	require.Regexp(t, `^postgresql \d+\.\d+, replica, lag 0s$`, report.Detail)
	_, err = run(role("primary", 0), standby)
	require.Equal(t, Standby, outcomeOf(err))
	require.EqualError(t, err, "role: expected primary, got replica (in recovery)")

	// A server that rejects writes is no primary.
	primary.Query(primary.Addr(), "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
	nettest.Wait(t, 10*time.Second, "the primary to be read only", func() bool {
		_, err = run(role("primary", 0), primary)
		return err != nil
	})
	require.Equal(t, Standby, outcomeOf(err))
	require.EqualError(t, err, "role: expected primary, got transaction_read_only = on")
	primary.Query(primary.Addr(), "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
	nettest.Wait(t, 10*time.Second, "the primary to be writable", func() bool { _, err = run(role("primary", 0), primary); return err == nil })

	// A standby that receives and does not replay lags behind; one that has replayed everything does not, however old it is.
	primary.Query(primary.Addr(), "CREATE TABLE t (n int)")
	nettest.Wait(t, 10*time.Second, "the standby to have the table", func() bool {
		return standby.Query(standby.Addr(), "SELECT count(*) FROM pg_class WHERE relname = 't'") == "1"
	})
	standby.Query(standby.Addr(), "SELECT pg_wal_replay_pause()")
	nettest.Wait(t, 10*time.Second, "the last transaction to be old", func() bool {
		return standby.Query(standby.Addr(), "SELECT now() - pg_last_xact_replay_timestamp() > '300ms'") == "t"
	})
	_, err = run(role("replica", 200*time.Millisecond), standby)
	require.NoError(t, err)
	primary.Query(primary.Addr(), "INSERT INTO t VALUES (1)")
	nettest.Wait(t, 10*time.Second, "the standby to lag behind", func() bool { _, err = run(role("replica", 200*time.Millisecond), standby); return err != nil })
	require.Equal(t, Failed, outcomeOf(err))
	require.ErrorContains(t, err, "replication: expected a lag of at most 200ms, got ")
	_, err = run(role("", 200*time.Millisecond), standby)
	require.Error(t, err)
	_, err = run(role("replica", time.Hour), standby)
	require.NoError(t, err)
	standby.Query(standby.Addr(), "SELECT pg_wal_replay_resume()")
	nettest.Wait(t, 10*time.Second, "the standby to catch up", func() bool { _, err = run(role("replica", 200*time.Millisecond), standby); return err == nil })

	// A standby without a primary keeps its role; the report says that nothing arrives.
	primary.Kill()
	nettest.Wait(t, 10*time.Second, "the stream to end", func() bool {
		report, err = run(role("replica", time.Second), standby)
		require.NoError(t, err)
		return strings.Contains(report.Detail, "replica, not streaming, lag 0s")
	})
	standby.Promote()
	nettest.Wait(t, 10*time.Second, "the standby to be the primary", func() bool { _, err = run(role("primary", 0), standby); return err == nil })

	// A server that starts up says so, with and without a login; the second is all that a check without a user can see.
	primary.Follow(standby)
	hold := primary.File("hold", "")
	primary.Start("restore_command=while test -e " + hold + "; do sleep 0.05; done; false")
	var reason string
	nettest.Wait(t, 20*time.Second, "a server that starts up", func() bool {
		if _, err = run(role("replica", 0), primary); err != nil {
			reason = err.Error()
		}
		return strings.Contains(reason, "57P03")
	})
	require.Equal(t, Failed, outcomeOf(err))
	require.Equal(t, `login: server error 57P03: "the database system is starting up"`, reason)
	_, err = run(PgSQL{}, primary)
	require.NoError(t, err)
	require.NoError(t, os.Remove(hold))
	nettest.Wait(t, 20*time.Second, "the server to be a standby", func() bool { _, err = run(role("replica", 0), primary); return err == nil })
}

// Nothing of the environment and of the home directory has an effect.
func TestPgSQLReadsNoEnvironment(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	p := nettest.StartPostgreSQL(t) // its programs read the environment
	plain, err := newPgSQLLogin("u", "", "", nil)
	require.NoError(t, err)
	service := write("service", "[other]\nhost=203.0.113.1\nuser=intruder\npassword=wrong\nsslmode=verify-full\noptions=-cwork_mem=1\n")
	for name, value := range map[string]string{
		"HOME": home, "PGHOST": "203.0.113.1,203.0.113.2", "PGHOSTADDR": "203.0.113.1", "PGPORT": "1,2", "PGDATABASE": "other", "PGUSER": "intruder",
		"PGPASSWORD": "wrong", "PGPASSFILE": write("passfile", "*:*:*:*:wrong\n"), "PGSERVICE": "other", "PGSERVICEFILE": service,
		"PGSSLMODE": "verify-full", "PGSSLCERT": "/nonexistent", "PGSSLKEY": "/nonexistent", "PGSSLROOTCERT": "/nonexistent", "PGSSLSNI": "1",
		"PGSSLPASSWORD": "x", "PGSSLNEGOTIATION": "direct", "PGAPPNAME": "other", "PGCONNECT_TIMEOUT": "nonsense", "PGTARGETSESSIONATTRS": "nonsense",
		"PGTZ": "nonsense", "PGOPTIONS": "-c nonsense=1", "PGMINPROTOCOLVERSION": "nonsense", "PGMAXPROTOCOLVERSION": "nonsense",
		"PGCHANNELBINDING": "require", "PGREQUIREAUTH": "gss", "PGKRBSRVNAME": "x", "PGCLIENTENCODING": "nonsense",
	} {
		t.Setenv(name, value)
	}
	write(".pgpass", "*:*:*:*:wrong\n")
	write(".pg_service.conf", "[other]\nhost=203.0.113.1\n")
	write(".postgresql/root.crt", "nonsense")
	write(".postgresql/postgresql.crt", "nonsense")
	write(".postgresql/postgresql.key", "nonsense")
	login, err := newPgSQLLogin("u", "", "", nil)
	require.NoError(t, err)
	show := func(c *pgconn.Config) string {
		return fmt.Sprint(c.Host, c.Port, c.User, c.Password == "", c.Database, c.Fallbacks, c.TLSConfig, c.ConnectTimeout, c.RuntimeParams, c.SSLNegotiation,
			c.ChannelBinding, c.RequireAuth, c.MinProtocolVersion, c.MaxProtocolVersion, c.KerberosSrvName, c.KerberosSpn,
			c.ValidateConnect == nil, c.AfterConnect == nil, c.AfterNetConnect == nil, c.OAuthTokenProvider == nil)
	}
	require.Equal(t, show(plain.config), show(login.config))
	require.Empty(t, login.config.Password)
	require.Empty(t, login.config.Fallbacks)
	require.Equal(t, map[string]string{"application_name": "weir"}, login.config.RuntimeParams)

	o := PgSQL{User: "weir", Password: Secret{Value: "secret"}, Database: "postgres", Role: "primary"}
	_, err = checkWithin(t, o, Target{Address: p.Addr()}, 10*time.Second)
	require.NoError(t, err)
}
