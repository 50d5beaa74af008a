package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall" // for ECONNRESET and EPIPE
	"time"
)

// exchange is the connection of one check: opened by it, used by it alone, closed by it. It is a net.Conn.
type exchange struct {
	net.Conn // the connection, secured if it is to be

	ctx    context.Context
	raw    net.Conn    // the connection itself
	unhook func() bool // ends the watch on ctx
	over   bool        // the server has ended its side
	gentle bool        // close without a reset, whoever closes first
	closed bool
}

// open dials the target and binds the connection's life to the context: its deadline is set once, so that no byte that
// arrives extends it, and its cancellation interrupts whatever is waiting. The PROXY protocol header goes first, then
// the TLS handshake, as each is asked for.
func open(ctx context.Context, t Target, secure *tls.Config) (*exchange, error) {
	conn, err := dial(ctx, t, patient)
	if err != nil {
		return nil, err
	}
	x := &exchange{Conn: conn, ctx: ctx, raw: conn}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	x.unhook = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if t.SendProxy != "" {
		header, err := proxyHeader(t.SendProxy, conn.LocalAddr(), conn.RemoteAddr())
		if err == nil {
			_, err = x.Write(header)
		}
		if err != nil {
			x.close()
			return nil, fmt.Errorf("send PROXY header: %w", err)
		}
	}
	if secure != nil {
		if err := x.secure(tlsFor(secure, t)); err != nil {
			x.close()
			return nil, err
		}
	}
	return x, nil
}

// secure goes over to TLS.
func (x *exchange) secure(config *tls.Config) error {
	c := tls.Client(x.raw, config)
	if err := c.HandshakeContext(x.ctx); err != nil {
		return handshakeError(x.cause(err))
	}
	x.Conn = c
	return nil
}

// Read reads once. The errors are io.EOF, a timeout, context.Canceled and what the system says.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.Conn.Read(p)
	if err != nil {
		err = x.cause(err)
	}
	return n, err
}

// Write writes all of p. The errors are those of Read.
func (x *exchange) Write(p []byte) (int, error) {
	n, err := x.Conn.Write(p)
	if err != nil {
		err = x.cause(err)
	}
	return n, err
}

// Close is close; it is here so that an exchange can be lent out as a net.Conn.
func (x *exchange) Close() error {
	x.close()
	return nil
}

// cause strips an error of the addresses, which the check's name says already, and notes whether the server is gone.
func (x *exchange) cause(err error) error {
	if reason := ended(x.ctx, err); reason != nil {
		return reason
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		x.over = true
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// close ends the connection. Unless the server has closed first, it does so with a reset: the server is told at once,
// and no socket of this host is left waiting out its time. A secured connection is first taken leave of.
func (x *exchange) close() {
	if x.closed {
		return
	}
	x.closed = true
	if c, secured := x.Conn.(*tls.Conn); secured && !x.over && x.ctx.Err() == nil {
		_ = c.CloseWrite()
		x.awaitEnd()
	}
	x.unhook()
	if !x.over && !x.gentle {
		reset(x.raw)
	}
	_ = x.raw.Close()
}

// farewell is how long a server is given to close first, where it can be expected to.
const farewell = 100 * time.Millisecond

// closeAfterServer waits for the server to close, for at most the time of a farewell, then closes. It is for protocols
// in which the server closes when it has understood that the client is going, and would complain about a reset.
func (x *exchange) closeAfterServer() {
	if !x.closed && !x.over && x.ctx.Err() == nil {
		x.awaitEnd()
	}
	x.close()
}

// awaitEnd reads the rest, for at most the time of a farewell and the size of a reply.
func (x *exchange) awaitEnd() {
	x.unhook() // the context has no more say; the time left is short
	until := time.Now().Add(farewell)
	if deadline, ok := x.ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	_ = x.raw.SetDeadline(until)
	var rest [512]byte
	for range maxReply / len(rest) {
		if _, err := x.Read(rest[:]); err != nil {
			return
		}
	}
}

// reset makes the next Close of a TCP connection an abortive one.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
