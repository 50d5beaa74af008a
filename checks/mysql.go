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

// MySQL logs in and, as asked for, looks at the role, the replication, the state in a Galera cluster or the result of a
// query. Without a user it only reads the greeting.
//
// Servers count connections that end before a login and shut out hosts with too many of them. So a check without a user
// goes through a login as a user that does not exist, whatever comes of it; and every check lets the server close first.
type MySQL struct {
	User       string
	Password   Secret
	Database   string
	Role       string        // "", primary (not read only) or replica (its replication runs)
	MaxLag     time.Duration // of a replica behind its primary, to the second; 0 = any
	Galera     bool          // checkGalera with a primary component and ready
	AllowDonor bool          // with Galera: a donor passes too
	Query      string        // must return a first value that is not 0, empty or NULL
	TLS        *TLS          // nil = plain
}

// Monitor returns the monitor. The errors are those of the password, the role and the TLS options, and that an option
// needs a user.
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

// checkGreeting reads the greeting, secures the connection if it is to be, and takes its leave with a login that the server can
// finish.
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
	report := Report{Detail: "mysql " + printable(greeting.version)}
	secured := secure != nil && greeting.tls
	login, request := unknownUserLogin(sequence+1, secured)
	if secured {
		if _, err := x.Write(request); err != nil {
			return report, fmt.Errorf("ask for TLS: %w", err)
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

// finishLogin ends the session of a check without a user. Being refused as a user is what is expected; being refused as a
// client is a failure.
func finishLogin(x *checkConn, login []byte) error {
	if _, err := x.Write(login); err != nil {
		return nil // the greeting was all that was asked for
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
		case p[0] == 0xfe: // another way to authenticate: with no password either
			if _, err := x.Write([]byte{0, 0, 0, sequence + 1}); err != nil {
				return nil
			}
		case p[0] == 0xff:
			var refused *mysqlError
			if errors.As(parseError(p), &refused) && refusesHost(refused.code) {
				return refused
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

// refusesHost reports whether an error is about the server's state or this host, not about the user.
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

// discardLogger is a logger for the driver, which would otherwise write to standard error.
type discardLogger struct{}

func (discardLogger) Print(...any) {}

// login logs in and does what else is asked for.
func (o MySQL) login(ctx context.Context, t Target, password string, secure *tls.Config) (report Report, err error) {
	wire := &mysqlConn{login: secure == nil}
	defer func() {
		if recover() != nil { // the driver trusts servers to say what is long enough
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
