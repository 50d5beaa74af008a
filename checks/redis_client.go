package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// RedisClient connects to Redis servers and Sentinels for more than one check. It is immutable.
type RedisClient struct {
	login    Redis
	password string
	redactor *Redactor
	secure   *tls.Config
}

// Client returns a client with the user, the password and the TLS options, or an error if one of them is invalid or
// cannot be read. Other options are not used.
func (o Redis) Client() (*RedisClient, error) {
	password, err := o.Password.Read()
	if err != nil {
		return nil, err
	}
	secure, err := o.TLS.config()
	if err != nil {
		return nil, err
	}
	return &RedisClient{login: o, password: password, redactor: NewRedactor([]string{password}), secure: secure}, nil
}

// RedisConn is a connection of a RedisClient, for one goroutine. Its errors contain no password. It must be closed.
type RedisConn struct {
	client *RedisClient
	x      *checkConn
	r      *respReader
}

// Dial connects and authenticates within timeout. The end of ctx interrupts this and every later call. The errors are
// those of a monitor: IsShortage reports failures of this host.
func (c *RedisClient) Dial(ctx context.Context, timeout time.Duration, t Target) (*RedisConn, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x, err := openConn(limited, t, c.secure)
	if err != nil {
		return nil, c.redactor.error(err)
	}
	r := newRESPReader(x)
	if c.login.User != "" || c.password != "" {
		err = c.login.login(x, r, c.password)
	}
	if err == nil {
		err = x.rebind(ctx)
	}
	if err != nil {
		x.close()
		return nil, c.redactor.error(err)
	}
	return &RedisConn{client: c, x: x, r: r}, nil
}

// Send sends commands in one piece, so that a server that processes one client at a time answers all of them in the same
// state.
func (c *RedisConn) Send(deadline time.Time, commands ...[]string) error {
	if err := c.setDeadline(deadline); err != nil {
		return err
	}
	var text []byte
	for _, words := range commands {
		text = appendCommand(text, words)
	}
	_, err := c.x.Write(text)
	return c.client.redactor.error(err)
}

// Receive reads one reply or message of at most limit bytes and calls value with each text in it: its place, such as [3 0] for the first text of
// the fourth array, and its first 512 bytes; nil for a null. The place in a reply that is no array is empty. Both
// arguments are valid during the call. After an error other than an error reply (IsRedisError) only Close may follow.
func (c *RedisConn) Receive(deadline time.Time, limit int, value func(place []int, text []byte)) error {
	if err := c.setDeadline(deadline); err != nil {
		return err
	}
	return c.client.redactor.error(c.r.values(limit, value))
}

// Await waits until a reply or message begins to arrive. It fails at the deadline with context.DeadlineExceeded; the
// connection is usable after that.
func (c *RedisConn) Await(deadline time.Time) error {
	if err := c.setDeadline(deadline); err != nil {
		return err
	}
	_, err := c.r.Peek(1)
	if err != nil {
		err = readError(err, nil)
	}
	return c.client.redactor.error(err)
}

// Close closes the connection.
func (c *RedisConn) Close() { c.x.close() }

// setDeadline sets the time limit of the next calls.
func (c *RedisConn) setDeadline(deadline time.Time) error {
	_ = c.x.raw.SetDeadline(deadline)
	// A context that ends later sets an earlier deadline after this one.
	if c.x.ctx.Err() != nil {
		return context.Canceled
	}
	return nil
}

// IsRedisError reports whether err is an error reply of a Redis server.
func IsRedisError(err error) bool {
	var reply *redisError
	return errors.As(err, &reply)
}

// rebind replaces the context of a connection.
func (x *checkConn) rebind(ctx context.Context) error {
	x.stopWatch()
	if x.ctx.Err() != nil {
		return fmt.Errorf("connect: %w", contextError(x.ctx, x.ctx.Err()))
	}
	x.bind(ctx)
	return nil
}
