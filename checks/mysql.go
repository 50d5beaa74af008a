package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	driver "github.com/go-sql-driver/mysql"
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
}

// Monitor returns the monitor, or an error if the password cannot be read, the role or the TLS options are invalid, or
// an option requires a user.
func (o MySQL) Monitor() (Monitor, error) {
	password, err := o.Password.read()
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
		return func(ctx context.Context, t Target) (Report, error) { return checkGreeting(ctx, t, secure) }, nil
	}
	return redactReports(func(ctx context.Context, t Target) (Report, error) {
		report, err := o.login(ctx, t, password, secure)
		if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w (%w)", timeoutError{}, err)
		}
		return report, err
	}, password), nil
}

// checkGreeting reads the greeting, starts TLS if requested, and finishes the login that the server expects.
func checkGreeting(ctx context.Context, t Target, secure *tls.Config) (Report, error) {
	x, err := openConn(ctx, t, nil)
	if err != nil {
		return Report{}, err
	}
	defer x.closeAfterServer()
	p, sequence, err := readPacket(x, "a MySQL greeting")
	if err != nil {
		x.close()
		return Report{}, err
	}
	greeting, err := parseGreeting(p)
	if err != nil {
		return Report{}, err
	}
	x.noReset = true
	report := Report{Detail: "mysql " + clipText(greeting.version)}
	secured := secure != nil && greeting.tls
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
			_, _ = x.Write(comQuit[:])
			return nil
		case p[0] == 0xfe: // another authentication method: again without a password
			if _, err := x.Write([]byte{0, 0, 0, sequence + 1}); err != nil {
				return nil
			}
		case p[0] == 0xff:
			var serverErr *mysqlError
			if errors.As(parseError(p), &serverErr) && refusesHost(serverErr.code) {
				return serverErr
			}
			return nil
		default:
			_, _ = x.Write(comQuit[:])
			return nil
		}
	}
	_, _ = x.Write(comQuit[:])
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
		1203: // too many connections of a user
		return true
	}
	return false
}

// discardLogger keeps the driver from writing to standard error.
type discardLogger struct{}

func (discardLogger) Print(...any) {}

// login logs in and runs the requested checks.
func (o MySQL) login(ctx context.Context, t Target, password string, secure *tls.Config) (report Report, err error) {
	wire := &mysqlConn{login: secure == nil}
	defer func() {
		if recover() != nil { // the driver does not check packet lengths
			err = fmt.Errorf("login: malformed packet: expected the MySQL protocol, got %s", quote(wire.first))
			if wire.checkConn != nil {
				wire.close()
			}
		}
	}()
	cfg := driver.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = o.User, password, o.Database
	cfg.Net, cfg.Addr = "weir", t.Address
	cfg.Logger = discardLogger{}
	cfg.CheckConnLiveness = false
	cfg.MaxAllowedPacket = maxReply
	cfg.ConnectionAttributes = "program_name:weir"
	cfg.TLS = tlsFor(secure, t)
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		x, err := openConn(ctx, t, nil)
		if err != nil {
			return nil, err
		}
		wire.checkConn = x
		return wire, nil
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return Report{}, err
	}
	conn, err := connector.Connect(ctx)
	report.Detail = wire.detail()
	if errors.Is(err, driver.ErrOldProtocol) {
		return report, errors.New("login: expected a server of MySQL 4.1 or later, got an older one")
	}
	wire.login = false
	if err != nil {
		return report, fmt.Errorf("login: %w", wire.explain(err, password))
	}
	defer conn.Close()
	session := &mysqlSession{conn: conn, explain: func(err error) error { return wire.explain(err, password) }}
	if err := o.verify(ctx, session); err != nil {
		return report, err
	}
	if session.role != "" {
		report.Detail += ", " + session.role
	}
	return report, nil
}
