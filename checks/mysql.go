package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// MySQL logs in and, as requested, checks the role, the replication, the Galera state and the result of a query.
// Without a user it only reads the greeting.
//
// Servers count connections that end before a login and block hosts with too many of them. A check without a user
// therefore completes a login as a user that does not exist and ignores its result. Every check lets the server close
// first.
type MySQL struct {
	User       string
	Password   Secret
	Database   string
	Role       string        // "", primary (not read only) or replica (its replication runs)
	MaxLag     time.Duration // maximum replication lag, in whole seconds; 0 = any
	Galera     bool          // synced with a primary component and ready
	AllowDonor bool          // with Galera: a donor passes too
	Query      string        // its first value must not be 0, empty or NULL
	TLS        *TLS          // nil = plain

	// Without TLS, a server of MySQL 8 that does not remember a login asks for the password itself. It is sent encrypted
	// with the key in ServerKeyFile or, if AllowPublicKey is set, with the key that the server sends, which may be anyone's.
	ServerKeyFile  string
	AllowPublicKey bool
}

// Monitor returns the monitor, or an error if the password cannot be read, the role or the TLS options are invalid, or
// an option requires a user.
func (o MySQL) Monitor() (Monitor, error) {
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
		if o.Role != "" || o.MaxLag > 0 || o.Galera || o.Query != "" || o.Database != "" {
			return nil, errors.New("user: role, max_lag, galera, query and database need one")
		}
		return func(ctx context.Context, t Target) (Report, error) {
			report, err := checkGreeting(ctx, t, secure)
			return report, mysqlOutcome(err)
		}, nil
	}
	key, err := readPublicKey(o.ServerKeyFile)
	if err != nil {
		return nil, err
	}
	login := &mysqlLogin{
		user: o.User, password: password, database: o.Database, secure: secure, serverKey: key, allowPublicKey: o.AllowPublicKey,
	}
	hung := &hungQueries{}
	return NewRedactor([]string{password}, literals(o.Query)...).monitor(func(ctx context.Context, t Target) (Report, error) {
		report, err := o.check(ctx, t, login, hung)
		return report, mysqlOutcome(err)
	}), nil
}

// checkGreeting reads the greeting, starts TLS if requested, and finishes the login that the server expects.
func checkGreeting(ctx context.Context, t Target, secure *tls.Config) (Report, error) {
	x, err := openConn(ctx, t, nil)
	if err != nil {
		return Report{}, err
	}
	defer x.closeAfterServer()
	greeting, sequence, err := readGreeting(x)
	if err != nil {
		return Report{}, err
	}
	x.noReset = true
	report := Report{Detail: greeting.detail()}
	secured := secure != nil && greeting.capabilities&clientSSL != 0
	login, request := unknownUserLogin(sequence+1, secured)
	if secured {
		if _, err := x.Write(request); err != nil {
			return report, fmt.Errorf("request TLS: %w", err)
		}
		if err := x.startTLS(tlsFor(secure, t)); err != nil {
			return report, err
		}
	}
	err = finishLogin(x, login)
	if secure != nil && !secured {
		err = errors.New("TLS: expected a server that offers it, got one that does not")
	}
	return report, err
}

// finishLogin ends the session of a check without a user. Rejection of the user is expected. Rejection of this host is
// a failure.
func finishLogin(x *checkConn, login []byte) error {
	if _, err := x.Write(login); err != nil {
		return nil // the greeting was valid, which is sufficient
	}
	until := time.Now().Add(closeTimeout)
	if deadline, ok := x.ctx.Deadline(); !ok || until.Before(deadline) {
		_ = x.SetReadDeadline(until)
	}
	for range 2 {
		p, sequence, err := readPacket(x, "an answer to a login")
		switch {
		case err != nil:
			_, _ = x.Write(quitPacket[:])
			return nil
		case p[0] == 0xfe: // another authentication method: again without a password
			if _, err := x.Write([]byte{0, 0, 0, sequence + 1}); err != nil {
				return nil
			}
		case p[0] == 0xff:
			if serverErr, ok := errors.AsType[*mysqlError](parseError(p)); ok && refusesHost(serverErr.code) {
				return serverErr
			}
			return nil
		default:
			_, _ = x.Write(quitPacket[:])
			return nil
		}
	}
	_, _ = x.Write(quitPacket[:])
	return nil
}

// refusesHost reports whether an error concerns the server's state or this host, not the user.
func refusesHost(code uint16) bool {
	switch code {
	case 1040, // too many connections
		1041, // out of memory
		1053, // shutting down
		1129, // host blocked
		1130, // host not allowed
		1135, // no thread
		1203, // too many connections of a user
		1226: // a limit of a user is reached
		return true
	}
	return false
}

// check logs in and runs the requested checks.
func (o MySQL) check(ctx context.Context, t Target, login *mysqlLogin, hung *hungQueries) (report Report, err error) {
	s, err := login.start(ctx, t)
	if s != nil {
		report.Detail = s.greeting.detail()
	}
	if err != nil {
		return report, err
	}
	defer s.quit()
	if !o.queries() {
		return report, nil
	}
	hung.end(s, t.Address)
	s.limitQueries(ctx)
	if err := o.verify(s); err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			hung.add(s, t.Address)
		}
		return report, err
	}
	if s.role != "" {
		report.Detail += ", " + s.role
	}
	return report, nil
}

// queries reports whether the check runs a query.
func (o MySQL) queries() bool { return o.Role != "" || o.MaxLag > 0 || o.Galera || o.Query != "" }
