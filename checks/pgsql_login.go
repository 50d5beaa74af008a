package checks

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgsqlLogin is what a check needs to log in.
type pgsqlLogin struct {
	config *pgconn.Config // without a function that dials
	secure *tls.Config    // nil = plain
}

// newPgSQLLogin returns a login. pgconn accepts only a Config that its parser has made, and the parser takes what is not
// given from the environment and from files in the home directory. Here every setting is given, and every field that could
// be the environment's is set again.
func newPgSQLLogin(user, password, database string, secure *tls.Config) (*pgsqlLogin, error) {
	c, err := parsePgSQLConfig()
	if err != nil {
		return nil, fmt.Errorf("pgconn: %w", err)
	}
	c.User, c.Password, c.Database = user, password, database
	c.Host, c.Port, c.Fallbacks, c.TLSConfig = "server", 1, nil, nil
	c.ConnectTimeout, c.SSLNegotiation, c.ChannelBinding = 0, "", "disable"
	c.KerberosSrvName, c.KerberosSpn, c.ValidateConnect, c.AfterConnect = "", "", nil, nil
	c.RuntimeParams = map[string]string{"application_name": "weir"}
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.RequireAuth = "md5,scram-sha-256,none"
	if secure != nil {
		c.RequireAuth += ",password"
	}
	c.MaxProtocolMessageBodyLen = maxReply
	return &pgsqlLogin{config: c, secure: secure}, nil
}

// pgsqlSettings are all settings that pgconn would otherwise take from elsewhere.
const pgsqlSettings = "host=server port=1 user=none password=none dbname=none passfile='' connect_timeout=0 sslmode=disable sslkey='' " +
	"sslcert='' sslcertmode=disable sslrootcert='' sslpassword='' sslsni=0 sslnegotiation=postgres application_name=weir target_session_attrs=any " +
	"min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=disable require_auth='' krbsrvname='' krbspn='' timezone='' options=''"

// parsePgSQLConfig returns a Config without anything of the environment, apart from the fields that newPgSQLLogin sets. The
// parser reads the file of a service if PGSERVICE names one, and fails without it. No setting turns that off, so it gets a
// file with an empty service.
func parsePgSQLConfig() (*pgconn.Config, error) {
	if os.Getenv("PGSERVICE") == "" {
		return pgconn.ParseConfig(pgsqlSettings)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, err = io.WriteString(w, "[weir]\n")
	_ = w.Close()
	if err != nil {
		return nil, err
	}
	return pgconn.ParseConfig(fmt.Sprintf("%s service=weir servicefile=/proc/self/fd/%d", pgsqlSettings, r.Fd()))
}

// pgsqlSession is a connection after a login.
type pgsqlSession struct {
	conn *pgconn.PgConn
	wire *pgsqlWire
}

// start logs in over a connection. After an error the caller closes it.
func (l *pgsqlLogin) start(x *checkConn, t Target) (*pgsqlSession, error) {
	if l.secure != nil {
		offered, err := requestTLS(x)
		switch {
		case err != nil:
			return nil, err
		case !offered:
			return nil, errNoTLS
		}
		if err := x.startTLS(tlsFor(l.secure, t)); err != nil {
			return nil, err
		}
	}
	w := &pgsqlWire{checkConn: x, login: &pgsqlLoginReply{secure: l.secure != nil}}
	c := l.config.Copy()
	given := false
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if given { // pgconn would use another connection to cancel a query
			return nil, errors.New("one connection per check")
		}
		given = true
		return w, nil
	}
	conn, err := pgconn.ConnectConfig(x.ctx, c)
	if err != nil {
		w.end() // pgconn may still drain the connection
		return nil, fmt.Errorf("login: %w", w.cause(err, "an answer to the login"))
	}
	return &pgsqlSession{conn: conn, wire: w}, nil
}

// version returns the name and the version of the server.
func (s *pgsqlSession) version() string {
	version, _, _ := strings.Cut(s.conn.ParameterStatus("server_version"), " ") // "15.4 (Debian 15.4-1)"
	return clipText("postgresql " + version)
}

// quit ends the session as the server expects. A server that does not respond to the check's query does not read either.
func (s *pgsqlSession) quit() {
	x := s.wire.checkConn
	if s.conn.IsClosed() { // pgconn has given up and ends the session, for which it would wait for long
		s.wire.end()
		<-s.conn.CleanupDone()
		x.closeWithFIN()
		return
	}
	_, _ = x.Write(pgTerminate)
	x.noReset = true
	x.closeAfterServer()
}

var errNoTLS = errors.New("TLS: expected a server that offers it, got one that does not")

// requestTLS sends an SSLRequest and reports whether the server answers that it offers TLS. Only that byte is read: the
// next ones belong to the handshake.
func requestTLS(x *checkConn) (offered bool, err error) {
	const expected = "an answer to an SSLRequest (S or N)"
	request := binary.BigEndian.AppendUint32(nil, 8)
	request = binary.BigEndian.AppendUint32(request, 80877103)
	if _, err := x.Write(request); err != nil {
		return false, fmt.Errorf("SSLRequest: %w", err)
	}
	reply := make([]byte, 1, maxQuote)
	_, err = io.ReadFull(x, reply)
	switch {
	case errors.Is(err, io.EOF):
		return false, mismatch(errClosed, expected, nil)
	case err != nil:
		return false, mismatch(err, expected, nil)
	case reply[0] == 'S':
		return true, nil
	case reply[0] == 'N':
		return false, nil
	}
	n, _ := x.Read(reply[1:maxQuote])
	return false, mismatch(errors.New("wrong reply"), expected, reply[:1+n])
}
