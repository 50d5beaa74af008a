package checks

import (
	"context"
	"errors"
	"syscall" // for MSG_PEEK
	"time"

	"weir/conf"
)

// MySQLClient opens sessions that outlive a check, with the login of a mysql check. It is safe for concurrent use.
type MySQLClient struct {
	login    *mysqlLogin
	redactor *Redactor
	hung     *hungQueries
}

// NewMySQLClient returns a client with the login and the TLS options of a topology. It returns an OptionError if a file or
// a variable of the environment cannot be read.
func NewMySQLClient(spec conf.Topology) (*MySQLClient, error) {
	password, err := Secret(spec.Password).Read()
	if err != nil {
		return nil, err
	}
	secure, err := tlsOf(conf.Check{TLS: spec.TLS}).config()
	if err != nil {
		return nil, err
	}
	key, err := readPublicKey(spec.ServerKeyFile)
	if err != nil {
		return nil, err
	}
	return &MySQLClient{
		login: &mysqlLogin{
			user: spec.User, password: password, database: spec.Database, secure: secure, serverKey: key, allowPublicKey: spec.AllowPublicKey,
		},
		redactor: NewRedactor([]string{password}),
		hung:     &hungQueries{},
	}, nil
}

// Open connects and logs in. The context limits only that. The server ends queries of the session that run longer than
// limit, and one that an earlier session to the address has left running.
func (c *MySQLClient) Open(ctx context.Context, t Target, limit time.Duration) (*MySQLSession, error) {
	inner, err := c.login.start(ctx, t)
	if err != nil {
		return nil, c.plainError(err)
	}
	s := &MySQLSession{client: c, inner: inner, address: t.Address}
	err = s.exchange(ctx, func() error {
		c.hung.end(inner, t.Address)
		inner.limitQueriesTo(limit)
		return nil
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// plainError returns err without the password, as a FullError if the server has no room for another connection.
func (c *MySQLClient) plainError(err error) error {
	return c.redactor.error(mysqlOutcome(err))
}

// MySQLSession is a session that is kept between queries. One goroutine uses it at a time.
type MySQLSession struct {
	client  *MySQLClient
	inner   *mysqlSession
	address string
	broken  bool // the connection can only be closed
}

// MariaDB reports whether the server is MariaDB and not MySQL.
func (s *MySQLSession) MariaDB() bool { return s.inner.greeting.isMariaDB() }

// exchange runs an exchange with the server under a context.
func (s *MySQLSession) exchange(ctx context.Context, run func() error) error {
	if s.broken {
		return errClosed
	}
	x := s.inner.conn
	x.stopWatch()
	x.bind(ctx)
	s.inner.total = 0
	err := run()
	x.stopWatch()
	if reason := contextError(ctx, ctx.Err()); err == nil && reason != nil {
		err = reason
	}
	if err != nil && !isMySQLError(err) {
		s.broken = true
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			s.client.hung.add(s.inner, s.address)
		}
	}
	return s.client.plainError(err)
}

// Broken reports whether the session can only be closed. Error packets of the server do not break it.
func (s *MySQLSession) Broken() bool { return s.broken }

// Values runs a query and returns the named columns of its first row, with names in lower case and without NULL values. At
// most limit bytes of a value are kept.
func (s *MySQLSession) Values(ctx context.Context, query string, limit int, names ...string) (map[string]string, error) {
	var values map[string]string
	err := s.exchange(ctx, func() error {
		s.inner.maxValue = limit
		defer func() { s.inner.maxValue = maxValue }()
		return s.inner.query(query, named(names...), func(r row) {
			if values == nil {
				values = r
			}
		})
	})
	return values, err
}

// Variables returns global variables by name. show is STATUS or VARIABLES. Variables that the server does not have are
// absent.
func (s *MySQLSession) Variables(ctx context.Context, show string, names ...string) (map[string]string, error) {
	var values map[string]string
	err := s.exchange(ctx, func() (err error) {
		values, err = s.inner.variables(show, names...)
		return err
	})
	return values, err
}

// MySQLReplication is the state of one replication connection (channel).
type MySQLReplication struct {
	Name     string // "" = the default one
	IO, SQL  string // state of the threads: Yes, No, Connecting or Preparing
	IOError  string // last errors; "" = none
	SQLError string
}

// maxConnections limits the replication connections that are read.
const maxConnections = 256

// Replication returns the replication connections of the server.
func (s *MySQLSession) Replication(ctx context.Context) ([]MySQLReplication, error) {
	var list []MySQLReplication
	err := s.exchange(ctx, func() error {
		return s.inner.eachConnection(func(r row) {
			if len(list) == maxConnections {
				return
			}
			list = append(list, MySQLReplication{
				Name:     clipText(r.first("connection_name", "channel_name")),
				IO:       clipText(r.first("replica_io_running", "slave_io_running")),
				SQL:      clipText(r.first("replica_sql_running", "slave_sql_running")),
				IOError:  clipText(r["last_io_error"]),
				SQLError: clipText(r["last_sql_error"]),
			})
		})
	})
	return list, err
}

// AwaitEnd waits until the server ends the idle session and reports whether it did; ctx ends the wait.
func (s *MySQLSession) AwaitEnd(ctx context.Context) bool {
	if s.broken {
		return true
	}
	s.broken = s.inner.conn.awaitInput(ctx)
	return s.broken
}

// Close ends the session as the server expects, and waits for the server for up to closeTimeout.
func (s *MySQLSession) Close() {
	x := s.inner.conn
	x.stopWatch()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	x.bind(ctx)
	if s.broken {
		x.close()
		return
	}
	s.inner.quit()
}

// awaitInput waits until the peer has sent something, has closed or has reset the connection, and reports whether it did.
// Nothing is read. ctx ends the wait.
func (x *checkConn) awaitInput(ctx context.Context) bool {
	x.stopWatch()
	_ = x.raw.SetDeadline(time.Time{})
	conn, ok := x.raw.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	stop := interruptAfter(ctx, x.raw)
	defer stop()
	arrived := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		arrived = err != syscall.EAGAIN && err != syscall.EINTR
		return arrived
	})
	return arrived || err != nil && ctx.Err() == nil
}

// MySQLErrorCode returns the code of a server's error packet that err wraps, or 0.
func MySQLErrorCode(err error) int {
	if serverErr, ok := errors.AsType[*mysqlError](err); ok {
		return int(serverErr.code)
	}
	return 0
}
