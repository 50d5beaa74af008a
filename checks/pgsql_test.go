package checks

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"weir/internal/nettest"
)

// pgMessage returns a message of the PostgreSQL protocol.
func pgMessage(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))) + body
}

// pgAuth returns a message about authentication.
func pgAuth(code uint32, rest string) string {
	return pgMessage('R', string(binary.BigEndian.AppendUint32(nil, code))+rest)
}

func pgError(code, text string) string {
	return pgMessage('E', "SFATAL\x00VFATAL\x00C"+code+"\x00M"+text+"\x00\x00")
}

// pgReady is what a server sends after a login.
var pgReady = pgAuth(0, "") + pgMessage('S', "server_version\x0015.4 (Debian 15.4-1)\x00") + pgMessage('K', "\x00\x00\x00\x01\x00\x00\x00\x02") + pgMessage('Z', "I")

// pgRows returns the result of a statement with one column.
func pgRows(values ...string) string {
	out := pgMessage('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
	for _, v := range values {
		out += pgMessage('D', "\x00\x01"+string(binary.BigEndian.AppendUint32(nil, uint32(len(v))))+v)
	}
	return out + pgMessage('C', "SELECT 1\x00") + pgMessage('Z', "I")
}

// pgRow returns the result of a statement with one row.
func pgRow(values ...string) string {
	head, row := []byte{0, byte(len(values))}, []byte{0, byte(len(values))}
	for _, v := range values {
		head = append(head, "n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"...)
		row = append(binary.BigEndian.AppendUint32(row, uint32(len(v))), v...)
	}
	return pgMessage('T', string(head)) + pgMessage('D', string(row)) + pgMessage('C', "SELECT 1\x00") + pgMessage('Z', "I")
}

func TestPgSQLReplies(t *testing.T) {
	state := func(values ...string) string { return pgReady + pgRow(values...) }
	for _, c := range []struct {
		name, replies string
		o             PgSQL
		want          string // the error
		outcome       Outcome
		detail        string
	}{
		{"login", pgReady, PgSQL{}, "", Passed, "postgresql 15.4"},
		{"notice", pgMessage('N', "SWARNING\x00C01000\x00Mx\x00\x00") + pgReady, PgSQL{}, "", Passed, "postgresql 15.4"},
		{"primary", state("f", "off", "", "f"), PgSQL{Role: "primary"}, "", Passed, "postgresql 15.4, primary"},
		{"read only", state("f", "on", "", "f"), PgSQL{Role: "primary"}, "got transaction_read_only = on", Standby, "postgresql 15.4, read only"},
		{"replica wanted", state("f", "off", "", "f"), PgSQL{Role: "replica"}, "expected replica, got primary", Standby, ""},
		{"primary wanted", state("t", "on", "0", "t"), PgSQL{Role: "primary"}, "expected primary, got replica", Standby, ""},
		{"replica", state("t", "on", "0.0123", "t"), PgSQL{Role: "replica", MaxLag: time.Second}, "", Passed, "postgresql 15.4, replica, lag 12ms"},
		{"lag", state("t", "on", "1.5", "t"), PgSQL{Role: "replica", MaxLag: time.Second}, "expected a lag of at most 1s, got 1.5s", Failed, ""},
		{"unknown lag", state("t", "on", "", "t"), PgSQL{MaxLag: time.Second}, "got an unknown lag", Failed, ""},
		{"clock ahead", state("t", "on", "-3", "t"), PgSQL{MaxLag: time.Second}, "", Passed, "postgresql 15.4, replica, lag 0s"},
		{"huge lag", state("t", "on", "1e300", "t"), PgSQL{MaxLag: time.Second}, "at most 1s, got", Failed, ""},
		{"no number", state("t", "on", "NaN", "t"), PgSQL{MaxLag: time.Second}, "lag", Failed, ""},
		{"short row", pgReady + pgRows("t"), PgSQL{Role: "replica"}, "role: expected a row of 4 values, got 1", Failed, ""},
		{"query", pgReady + pgRows("1", "0"), PgSQL{Query: "x"}, "", Passed, ""},
		{"query without a row", pgReady + pgRows(), PgSQL{Query: "x"}, "got no row", Failed, ""},
		{"too many clients", pgError("53300", "sorry, too many clients already"), PgSQL{}, "login: server error 53300: \"sorry, too many clients already\"", Full, ""},
		{"starting", pgError("57P03", "the database system is starting up"), PgSQL{}, "login: server error 57P03: \"the database system is starting up\"", Failed, ""},
		{"too many clients, later", pgReady + pgError("53300", "x"), PgSQL{Query: "x"}, "query: server error 53300", Full, ""},
		{"terminated", pgReady + pgError("57P01", "terminating connection"), PgSQL{Role: "primary"}, "role: server error 57P01: \"terminating connection\"", Failed, ""},
		{"unprintable", pgError("5\x1b\xff", "\x1b[31m\xff"), PgSQL{}, "server error", Failed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.Start(t, runScript([2]string{"user", c.replies}, [2]string{"X\x00\x00\x00\x04", ""}))
			o := c.o
			o.User = "u"
			report, err := checkWithin(t, o, Target{Address: h.Addr()}, 10*time.Second)
			require.Equal(t, c.outcome, outcomeOf(err), "%v", err)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			if c.detail != "" {
				require.Equal(t, c.detail, report.Detail)
			}
		})
	}
}

// A password leaves only for a server that proves that it has it, or over TLS.
func TestPgSQLSendsNoClearTextPassword(t *testing.T) {
	for name, reply := range map[string]string{"clear text": pgAuth(3, ""), "GSS": pgAuth(7, ""), "SSPI": pgAuth(9, ""), "Kerberos": pgAuth(2, ""), "unknown": pgAuth(99, "")} {
		rec := &received{}
		h := nettest.Start(t, recordScript(rec, [2]string{"user", reply}, [2]string{"\x00\x00", pgReady}))
		_, err := checkWithin(t, PgSQL{User: "u", Password: Secret{Value: "s3cr3t-of-pg"}}, Target{Address: h.Addr()}, 10*time.Second)
		require.ErrorContains(t, err, "login: ", name)
		if name == "clear text" {
			require.EqualError(t, err, "login: the server asks for the password itself: use tls")
		}
		require.NotContains(t, rec.String(), "s3cr3t")
	}
}

// A server cannot make a check compute for long or keep much.
func TestPgSQLHostileServers(t *testing.T) {
	notice := pgMessage('N', "SWARNING\x00C01000\x00M"+strings.Repeat("x", 1000)+"\x00\x00")
	parameter := pgMessage('S', strings.Repeat("p", 1000)+"\x00v\x00")
	row := pgMessage('D', "\x00\x01\x00\x00\x00\x01x")
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"silent", nettest.Silent, "timed out: expected an answer to"},
		{"closes", nettest.SendText(""), "connection closed by the server: expected an answer to"},
		{"another protocol", nettest.SendText("HTTP/1.1 400 Bad Request\r\n\r\n"), `got "HTTP/1.1 400`},
		{"garbage", sendEndless("", "\xff"), "got \"\\xff"},
		{"zeros", sendEndless("", "\x00"), "got \"\\x00"},
		{"huge message", sendEndless("R\x7f\xff\xff\xff", "x"), `got "R\x7f`},
		{"long message", sendEndless("R\x00\x02\x00\x00", "x"), `got "R\x00\x02`},
		{"negative length", sendEndless("R\xff\xff\xff\xff", "x"), `got "R\xff`},
		{"echo", nettest.Echo, "got \"\\x00\\x00\\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			for _, o := range []PgSQL{{}, {TLS: &TLS{SkipVerify: true}}, pgUser("u", "s3cr3t-of-pg"), {User: "u", TLS: &TLS{SkipVerify: true}}} {
				began := time.Now()
				_, err := checkWithin(t, o, Target{Address: h.Addr()}, limitFor(c.want))
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "s3cr3t")
				require.Less(t, nettest.Elapsed(began), 5*time.Second)
			}
		})
	}
	for _, c := range []struct {
		name string
		host nettest.Handler
		want string
	}{
		{"notices", sendEndless("", notice), "reply too large (over 1048576 bytes): expected an answer to the login"},
		{"parameters", sendEndless("", parameter), "reply too large (over 1048576 bytes): expected an answer to the login"},
		{"rows", sendEndless(pgReady+pgRows()[:len(pgRows())-20], row), "reply too large (over 1048576 bytes): expected a result"},
		{"notices instead of a result", sendEndless(pgReady, notice), "reply too large (over 1048576 bytes): expected a result"},
		{"dripping", sendPieces(100*time.Millisecond, "R", "\x00", "\x00", "\x00", "\x08", "\x00", "\x00", "\x00", "\x00"), "login: timed out: expected an answer to the login, got \"R"},
		{"endless dripping message", sendPieces(50*time.Millisecond, append([]string{"R", "\x00", "\x00", "\x80", "\x00"}, strings.Split(strings.Repeat("x", 100), "")...)...), "login: timed out"},
		{"silent after the login", sendThenSilent(pgReady), "query: timed out: expected a result"},
		{"closes after the login", runScript([2]string{"user", pgReady}, [2]string{"SELECT 1", ""}), "query: connection closed by the server: expected a result"},
		{"iterations", offerIterations("500001"), "login: at most 500000 iterations of SCRAM-SHA-256, the server asks for \"500001\""},
		{"iterations beyond integers", offerIterations("99999999999999999999"), "login: at most 500000 iterations"},
		{"no iterations", offerIterations("0"), "login: at least 1 iteration of SCRAM-SHA-256, the server asks for \"0\""},
		{"negative iterations", offerIterations("-1"), "login: at least 1 iteration of SCRAM-SHA-256, the server asks for \"-1\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := nettest.Start(t, c.host)
			o := pgUser("u", "s3cr3t-of-pg")
			o.Query = "SELECT 1"
			began := time.Now()
			_, err := checkWithin(t, o, Target{Address: h.Addr()}, limitFor(c.want))
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "s3cr3t")
			require.Less(t, nettest.Elapsed(began), 5*time.Second)
		})
	}
}

// offerIterations asks for SCRAM-SHA-256 with a number of iterations.
func offerIterations(n string) nettest.Handler {
	return func(_ context.Context, c *net.TCPConn) {
		buf := make([]byte, 4096)
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := io.WriteString(c, pgAuth(10, "SCRAM-SHA-256\x00\x00")); err != nil {
			return
		}
		size, err := c.Read(buf)
		if err != nil {
			return
		}
		_, nonce, _ := bytes.Cut(buf[:size], []byte(",,n=,r="))
		_, _ = io.WriteString(c, pgAuth(11, "r="+string(nonce)+"x,s=c2FsdA==,i="+n))
		_, _ = c.Read(buf)
	}
}

// A server that offers TLS and then does not speak it has answered, which is all that a check without a user asks for.
func TestPgSQLWithoutUser(t *testing.T) {
	for name, c := range map[string]struct {
		host   nettest.Handler
		detail string
	}{
		"no TLS":                  {runScript([2]string{"\x04\xd2\x16\x2f", "N"}), "postgresql, no TLS"},
		"no TLS, silent":          {sendThenSilent("N"), "postgresql, no TLS"},
		"TLS, closes":             {runScript([2]string{"\x04\xd2\x16\x2f", "S"}), "postgresql, TLS offered"},
		"TLS, silent":             {sendThenSilent("S"), "postgresql, TLS offered"},
		"TLS, no handshake":       {sendThenSilent("SSSSSSSS"), "postgresql, TLS offered"},
		"TLS, garbage for long":   {sendEndless("S", "x"), "postgresql, TLS offered"},
		"no TLS, garbage forever": {sendEndless("N", "x"), "postgresql, no TLS"},
	} {
		h := nettest.Start(t, c.host)
		began := time.Now()
		report, err := checkWithin(t, PgSQL{}, Target{Address: h.Addr()}, 10*time.Second)
		require.NoError(t, err, name)
		require.Equal(t, c.detail, report.Detail, name)
		require.Less(t, nettest.Elapsed(began), 6*time.Second, name)
	}
	h := nettest.Start(t, sendThenSilent("N"))
	for _, o := range []PgSQL{{TLS: &TLS{}}, {User: "u", TLS: &TLS{}}} {
		_, err := checkWithin(t, o, Target{Address: h.Addr()}, 10*time.Second)
		require.EqualError(t, err, "TLS: expected a server that offers it, got one that does not")
	}
}

// The end of a check is a FIN, because servers log a reset, and a session ends with a Terminate message.
func TestPgSQLEndsCleanly(t *testing.T) {
	for name, c := range map[string]struct {
		o      PgSQL
		banner string
		suffix string
	}{
		"no user":        {PgSQL{}, "N", "\x04\xd2\x16\x2f"},
		"login":          {PgSQL{User: "u"}, pgReady, "X\x00\x00\x00\x04"},
		"query":          {PgSQL{User: "u", Query: "SELECT 1"}, pgReady + pgRows("1"), "X\x00\x00\x00\x04"},
		"PROXY header":   {PgSQL{User: "u"}, pgReady, "X\x00\x00\x00\x04"},
		"wrong password": {PgSQL{User: "u"}, pgError("28P01", "no"), ""},
	} {
		rec := &nettest.Recorder{Banner: c.banner}
		h := nettest.Start(t, rec.Handle)
		target := Target{Address: h.Addr()}
		if name == "PROXY header" {
			target.SendProxy = "v1"
		}
		_, _ = checkWithin(t, c.o, target, 10*time.Second)
		v := rec.WaitEnd(t, 0, 5*time.Second)
		require.Equal(t, nettest.EOF, v.End, name)
		require.True(t, strings.HasSuffix(string(v.Data), c.suffix), "%s: %q", name, v.Data)
		require.Equal(t, name == "PROXY header", strings.HasPrefix(string(v.Data), "PROXY TCP4 127.0.0.1 "), name)
	}
}

func TestPgSQLOptions(t *testing.T) {
	for want, o := range map[string]PgSQL{
		"user: role":           {Role: "primary"},
		"user: role, max_lag":  {Query: "SELECT 1"},
		"role: want primary":   {User: "u", Role: "master"},
		"password_env: WEIR_X": {User: "u", Password: Secret{Env: "WEIR_X"}},
	} {
		_, err := o.Monitor()
		require.ErrorContains(t, err, want)
	}
}
