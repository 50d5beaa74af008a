package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// PgSQL logs in to PostgreSQL and, as requested, checks the role, the replication lag and the result of a query. Without a
// user it only asks whether the server offers TLS, which every PostgreSQL server answers before a login.
//
// Every check ends the connection so that the server logs nothing about it.
type PgSQL struct {
	User     string
	Password Secret
	Database string        // "" = the user's name
	Role     string        // "", primary (not in recovery and not read only) or replica (in recovery)
	MaxLag   time.Duration // of a replica: maximum age of the last replayed transaction, if received data waits; 0 = any
	Query    string        // its first value must not be 0, empty, NULL or false
	TLS      *TLS          // nil = plain
}

// Monitor returns the monitor, or an error if the password cannot be read, the role or the TLS options are invalid, or
// an option requires a user.
func (o PgSQL) Monitor() (Monitor, error) {
	password, err := o.Password.Read()
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	if o.Role != "" && o.Role != "primary" && o.Role != "replica" {
		return nil, fmt.Errorf("role: want primary or replica, got %q", o.Role)
	}
	if o.User == "" {
		if o.Role != "" || o.MaxLag > 0 || o.Query != "" || o.Database != "" {
			return nil, errors.New("user: role, max_lag, query and database need one")
		}
		return func(ctx context.Context, t Target) (Report, error) { return checkSSLRequest(ctx, t, secure) }, nil
	}
	login, err := newPgSQLLogin(o.User, password, o.Database, secure)
	if err != nil {
		return nil, err
	}
	return NewRedactor([]string{password}, literals(o.Query)...).monitor(func(ctx context.Context, t Target) (Report, error) {
		x, err := openConn(ctx, t, nil)
		if err != nil {
			return Report{}, err
		}
		return o.check(x, login, t)
	}), nil
}

// check logs in over a new connection, runs the requested checks, and closes the connection.
func (o PgSQL) check(x *checkConn, login *pgsqlLogin, t Target) (report Report, err error) {
	s, err := login.start(x, t)
	if err != nil {
		x.closeWithFIN()
		return report, pgsqlOutcome(err)
	}
	defer s.quit()
	report.Detail = s.version()
	state, err := o.verify(s)
	if state != "" {
		report.Detail += ", " + state
	}
	return report, pgsqlOutcome(err)
}

// checkSSLRequest asks the server whether it offers TLS, and starts it if requested.
func checkSSLRequest(ctx context.Context, t Target, secure *tls.Config) (Report, error) {
	x, err := openConn(ctx, t, nil)
	if err != nil {
		return Report{}, err
	}
	defer x.closeWithFIN()
	offered, err := requestTLS(x)
	switch {
	case err != nil:
		return Report{}, pgsqlOutcome(err)
	case secure != nil && !offered:
		return Report{}, errNoTLS
	case secure != nil:
		return Report{Detail: "postgresql, TLS"}, x.startTLS(tlsFor(secure, t))
	case !offered:
		return Report{Detail: "postgresql, no TLS"}, nil
	}
	finishTLS(x, t)
	return Report{Detail: "postgresql, TLS offered"}, nil
}

// finishTLS completes the handshake that the server expects after it has offered TLS: it logs one that is given up. The
// result does not matter, and nothing is sent over the connection.
func finishTLS(x *checkConn, t Target) {
	ctx, cancel := context.WithTimeout(x.ctx, closeTimeout)
	defer cancel()
	c := tls.Client(x.raw, tlsFor(&tls.Config{InsecureSkipVerify: true}, t))
	if c.HandshakeContext(ctx) == nil {
		x.Conn = c
	}
}
