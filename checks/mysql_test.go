package checks

import (
	"bytes"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

func user(name, password string) MySQL {
	return MySQL{User: name, Password: Secret{Value: password}}
}

func TestMySQLPlugins(t *testing.T) {
	for _, h := range []*mysqlServer{
		{plugin: "mysql_native_password", password: "secret"},
		{plugin: "caching_sha2_password", password: "secret"},
		{plugin: "caching_sha2_password", password: "secret", full: true},
	} {
		host := nettest.Start(t, h.handle)
		o := user("u", "secret")
		o.AllowPublicKey = true
		report, err := runCheck(t, o, host.Addr())
		require.NoError(t, err, "%+v", h.plugin)
		require.Equal(t, "mysql 8.4.0-weir", report.Detail)
		nettest.Wait(t, 5*time.Second, "a proper leave", func() bool { return h.left.Load() == 1 })
		o.Password.Value = "mistaken"
		_, err = runCheck(t, o, host.Addr())
		require.ErrorContains(t, err, "login: server error 1045: \"Access denied: wrong password\"")
	}
}

func TestMySQLHandshakeOnly(t *testing.T) {
	greeting := packet(0, greetingOf("caching_sha2_password"))
	for name, host := range map[string]nettest.Handler{
		"rejects the user":         sendPackets(greeting, errorPacket(2, 1045, "Access denied")),
		"rejects the protocol":     sendPackets(greeting, errorPacket(2, 1251, "Client does not support authentication protocol")),
		"accepts the user":         sendPackets(greeting, packet(2, okPacket)),
		"requests another method":  sendPackets(greeting, packet(2, []byte("\xfemysql_native_password\x00"+challenge)), errorPacket(4, 1045, "no")),
		"requests methods forever": sendPackets(greeting, packet(2, []byte{0xfe}), packet(4, []byte{0xfe}), packet(6, []byte{0xfe})),
		"sends nothing more":       sendThenSilent(string(greeting)),
		"closes":                   nettest.SendText(string(greeting)),
		"sends invalid data":       sendPackets(greeting, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")),
		"greets in pieces":         sendPieces(5*time.Millisecond, string(greeting[:3]), string(greeting[3:20]), string(greeting[20:])),
		"does not stop talking":    sendEndless(string(greeting), "blah"),
		"greets as MySQL 4.1 does": sendPackets(packet(0, append([]byte("\x0a4.1.22\x00\x01\x00\x00\x0012345678\x00\x2c\xa2"), 0)), packet(2, okPacket)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, host)
			report, err := runCheck(t, MySQL{}, h.Addr())
			require.NoError(t, err)
			require.Regexp(t, `^mysql (8\.4\.0-weir|4\.1\.22)$`, report.Detail)
		})
	}
}

func TestMySQLHandshakeOnlyFinishesLogin(t *testing.T) {
	rec := &nettest.Recorder{Banner: string(packet(0, greetingOf("mysql_native_password")))}
	h := nettest.Start(t, rec.Handle)
	_, err := runCheck(t, MySQL{}, h.Addr())
	require.NoError(t, err)
	v := rec.WaitEnd(t, 0, 5*time.Second)
	require.Equal(t, nettest.EOF, v.End, "no reset")
	require.True(t, bytes.HasSuffix(v.Data, quitPacket[:]))
	require.Contains(t, string(v.Data), unknownUser)
}

// A check without a user can request TLS and fails if the server offers none.
func TestMySQLHandshakeOnlyWithTLS(t *testing.T) {
	bare := greetingOf("mysql_native_password")
	offer := bytes.Clone(bare)
	offer[1+len("8.4.0-weir\x00")+4+8+1+1] |= clientSSL >> 8
	plain := packet(0, offer)
	for name, c := range map[string]struct {
		host nettest.Handler
		want string
	}{
		"offers none":        {sendPackets(packet(0, bare), errorPacket(2, 1045, "Access denied")), "TLS: expected a server that offers it"},
		"sends invalid data": {sendPackets(plain, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")), "TLS handshake: "},
		"closes":             {nettest.SendText(string(plain)), ""},
		"falls silent":       {sendThenSilent(string(plain)), "timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			_, err := checkWithin(t, MySQL{TLS: &TLS{SkipVerify: true}}, Target{Address: h.Addr()}, limitFor(c.want))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestMySQLErrors(t *testing.T) {
	greeting := packet(0, greetingOf("mysql_native_password"))
	for code, text := range map[uint16]string{
		1040: "Too many connections",
		1045: "Access denied for user",
		1129: "Host '10.0.0.1' is blocked because of many connection errors",
		1251: "Client does not support authentication protocol",
	} {
		first := nettest.Start(t, sendPackets(errorPacket(0, code, text)))
		second := nettest.Start(t, sendPackets(greeting, errorPacket(2, code, text)))
		want := "server error " + itoa(int(code)) + ": \"" + text + "\""
		_, err := runCheck(t, MySQL{}, first.Addr())
		require.ErrorContains(t, err, want)
		_, err = runCheck(t, user("u", "secret"), first.Addr())
		require.ErrorContains(t, err, want)
		_, err = runCheck(t, user("u", "secret"), second.Addr())
		require.ErrorContains(t, err, want)
		_, err = runCheck(t, MySQL{}, second.Addr())
		if refusesHost(code) {
			require.ErrorContains(t, err, want)
		} else {
			require.NoError(t, err)
		}
	}
}

func TestMySQLGreetingCutAnywhere(t *testing.T) {
	greeting := packet(0, greetingOf("mysql_native_password"))
	for n := range greeting {
		h := nettest.Start(t, nettest.SendText(string(greeting[:n])))
		for _, o := range []MySQL{{}, user("u", "secret")} {
			_, err := runCheck(t, o, h.Addr())
			require.Error(t, err)
			require.ErrorContains(t, err, "connection closed by the server")
		}
	}
}

func TestMySQLHostileServers(t *testing.T) {
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"silent", nettest.Silent, "timed out: expected a MySQL greeting, got nothing"},
		{"closes", nettest.SendText(""), "connection closed by the server: expected a MySQL greeting, got nothing"},
		{"another protocol", nettest.SendText("-ERR wrong number of arguments\r\n"), `expected a MySQL greeting, got "-ERR`},
		{"endless garbage", sendEndless("", "\xff"), "expected a MySQL greeting"},
		{"endless greeting", sendEndless("\xff\xff\xff\x00\x0a", "8"), "expected a MySQL greeting"},
		{"dripping", sendPieces(100*time.Millisecond, "J", "\x00", "\x00", "\x00", "\x0a", "8", "8", "8", "8"), "timed out"},
		{"protocol 9", nettest.SendText(string(packet(0, append([]byte{9}, "3.23\x00 and so on, and so on"...)))), "MySQL greeting"},
		{"echo", nettest.Echo, "timed out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			for _, o := range []MySQL{{}, user("u", "s3cr3t")} {
				_, err := checkWithin(t, o, Target{Address: h.Addr()}, limitFor(c.want))
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "s3cr3t")
			}
		})
	}
}

func TestMySQLOptions(t *testing.T) {
	for want, o := range map[string]MySQL{
		"user: role":           {Role: "primary"},
		"user: role, max_lag":  {Query: "SELECT 1"},
		"role: want primary":   {User: "u", Role: "master"},
		"password_env: WEIR_X": {User: "u", Password: Secret{Env: "WEIR_X"}},
	} {
		_, err := o.Monitor()
		require.ErrorContains(t, err, want)
	}
}

func TestGaleraVerdict(t *testing.T) {
	for _, c := range []struct {
		cluster, state, ready string
		donor                 bool
		want                  string
	}{
		{"Primary", "4", "ON", false, ""},
		{"Primary", "2", "ON", true, ""},
		{"Primary", "2", "ON", false, "expected wsrep_local_state Synced, got \"2 comment\""},
		{"Primary", "3", "ON", true, "expected wsrep_local_state Synced or Donor"},
		{"non-Primary", "4", "ON", false, "expected wsrep_cluster_status Primary"},
		{"Primary", "4", "OFF", false, "expected wsrep_ready ON"},
		{"", "", "", true, "expected wsrep_cluster_status Primary, got nothing"},
	} {
		err := galeraVerdict(map[string]string{
			"wsrep_cluster_status": c.cluster, "wsrep_local_state": c.state, "wsrep_ready": c.ready, "wsrep_local_state_comment": "comment",
		}, c.donor)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}

// Servers count connections that end before a login, for each remote host with a name, and block hosts with
// too many of them.
func TestMySQLRealServerNeverBlocksTheHost(t *testing.T) {
	own, far := nettest.NewNamespace(t), nettest.NewNamespace(t)
	own.Connect(far, "10.98.0.1", "10.98.0.2")
	var m *nettest.MariaDB
	far.Do(func() {
		m = nettest.StartMariaDBWithNames(t, map[string]string{"10.98.0.1": "balancer"}, "--max-connect-errors=5", "--bind-address=0.0.0.0")
	})
	_, port, err := net.SplitHostPort(m.Addr())
	require.NoError(t, err)
	target := Target{Address: net.JoinHostPort("10.98.0.2", port)}
	before := len(m.Log())
	own.Do(func() {
		for range 100 {
			report, err := checkWithin(t, MySQL{}, target, 5*time.Second)
			require.NoError(t, err)
			require.Contains(t, report.Detail, "MariaDB")
			_, err = checkWithin(t, user("weir", "secret"), target, 5*time.Second)
			require.NoError(t, err)
			_, err = checkWithin(t, TCP{Quiet: true}, target, 5*time.Second)
			require.NoError(t, err)
		}
		log := m.Log()[before:]
		require.NotContains(t, log, "Aborted connection")
		require.NotContains(t, log, "Got an error")

		// Without a login in between, because a login would reset the count.
		for range 10_000 {
			_, err := checkWithin(t, MySQL{}, target, 5*time.Second)
			require.NoError(t, err)
		}
		for range 10 {
			c, err := net.Dial("tcp", target.Address)
			require.NoError(t, err)
			_, _, err = readPacket(c, "")
			require.NoError(t, c.Close())
			if err != nil {
				break
			}
		}
		nettest.Wait(t, 5*time.Second, "the host to be blocked, which it can be", func() bool {
			_, err := checkWithin(t, MySQL{}, target, 5*time.Second)
			return err != nil && strings.Contains(err.Error(), "error 1129")
		})
	})
}

func TestMySQLRealServer(t *testing.T) {
	m := nettest.StartMariaDB(t, "--server-id=1", "--log-bin")
	weir := user("weir", "secret")
	_, err := runCheck(t, user("weir", "wrong"), m.Addr())
	require.ErrorContains(t, err, "error 1045")
	with := func(change func(*MySQL)) error {
		o := weir
		change(&o)
		_, err := runCheck(t, o, m.Addr())
		return err
	}
	require.NoError(t, with(func(o *MySQL) { o.Database, o.Role = "mysql", "primary" }))
	require.ErrorContains(t, with(func(o *MySQL) { o.Database = "nowhere" }), "error 1049")
	require.ErrorContains(t, with(func(o *MySQL) { o.Role = "replica" }), "role: expected replica, got no replication")
	require.NoError(t, with(func(o *MySQL) { o.MaxLag = time.Second }))
	require.ErrorContains(t, with(func(o *MySQL) { o.Galera = true }), "galera: expected wsrep_cluster_status Primary")
	for query, want := range map[string]string{
		"SELECT 1":                     "",
		"SELECT 'yes', 0":              "",
		"SELECT 0.5":                   "",
		"SELECT 0":                     `query: expected a first value that is not 0, empty or NULL, got "0"`,
		"SELECT 0.00":                  `got "0.00"`,
		"SELECT ''":                    `got ""`,
		"SELECT NULL":                  "got NULL",
		"SELECT 1 FROM dual WHERE 1=0": "got no row",
		"DO 1":                         "got no row",
		"SELEKT":                       "query: server error 1064",
		"SELECT REPEAT('x', 1000000)":  "",
		"SELECT REPEAT('x', 9000000)":  "reply too large (over 8388608 bytes)",
		"SELECT 1, seq FROM mysql.seq_1_to_100000":          "",
		"SELECT REPEAT('0', 2000)":                          `got "0000`,
		"SELECT 0 UNION SELECT 1":                           `got "0"`,
		"LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t": "query: ",
	} {
		err := with(func(o *MySQL) { o.Query = query })
		if want == "" {
			require.NoError(t, err, query)
		} else {
			require.ErrorContains(t, err, want, query)
		}
	}
	runStatements(t, m, "SET GLOBAL read_only = 1")
	require.ErrorContains(t, with(func(o *MySQL) { o.Role = "primary" }), "role: expected primary (read_only = 0), got read_only = \"ON\"")

	require.NoError(t, syscall.Kill(m.PID(), syscall.SIGSTOP))
	for _, o := range []MySQL{{}, weir} {
		_, err = checkWithin(t, o, Target{Address: m.Addr()}, 300*time.Millisecond)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, syscall.Kill(m.PID(), syscall.SIGCONT))
	nettest.Wait(t, 10*time.Second, "the server to go on", func() bool {
		_, err := runCheck(t, weir, m.Addr())
		return err == nil
	})

	replicate(t, m)
}

// replicate checks a replica of m.
func replicate(t *testing.T, m *nettest.MariaDB) {
	host, port, err := net.SplitHostPort(m.Addr())
	require.NoError(t, err)
	r := nettest.StartMariaDB(t, "--server-id=2", "--read-only=1")
	replica := user("weir", "secret")
	replica.Role, replica.MaxLag = "replica", time.Minute
	runStatements(t, r, "CHANGE MASTER TO MASTER_HOST='"+host+"', MASTER_PORT="+port+", MASTER_USER='weir', MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; START SLAVE")
	var report Report
	nettest.Wait(t, 20*time.Second, "the replica to follow", func() bool {
		report, err = runCheck(t, replica, r.Addr())
		return err == nil
	})
	require.Contains(t, report.Detail, ", replica")
	runStatements(t, r, "STOP SLAVE SQL_THREAD")
	_, err = runCheck(t, replica, r.Addr())
	require.ErrorContains(t, err, `replication: expected the sql thread to run, got "No"`)
}

// runStatements runs statements with the command line client.
func runStatements(t *testing.T, m *nettest.MariaDB, statements string) {
	t.Helper()
	client := m.Client(m.Addr())
	client.Stdin = strings.NewReader(statements)
	out, err := client.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func FuzzMySQLGreeting(f *testing.F) {
	for _, seed := range [][]byte{
		packet(0, greetingOf("mysql_native_password")), errorPacket(0, 1040, "Too many connections"), {}, {1, 0, 0, 0}, {1, 0, 0, 0, 0xff},
		{0xff, 0xff, 0xff, 0}, packet(0, []byte{9}), packet(0, []byte("\x0a8.0")),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		p, _, err := readPacket(bytes.NewReader(reply), "a MySQL greeting")
		if err == nil {
			var g mysqlGreeting
			if g, err = parseGreeting(p); err == nil && strings.Contains(g.version, "\x00") {
				t.Fatalf("version %q", g.version)
			}
		}
		if err != nil && len(err.Error()) > 8*maxQuote {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
	})
}
