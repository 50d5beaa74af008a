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

// checkConn is the connection of one check: opened by it, used by it alone, closed by it. It is a net.Conn.
type checkConn struct {
	net.Conn // the connection, secured if it is to be

	ctx        context.Context
	raw        net.Conn    // the connection itself
	stopWatch  func() bool // ends the watch on ctx
	peerClosed bool        // the server has ended its side
	noReset    bool        // close without a reset, whoever closes first
	closed     bool
}

// openConn dials the target and binds the connection's life to the context: its deadline is set once, so that no byte that
// arrives extends it, and its cancellation interrupts whatever is waiting. The PROXY protocol header goes first, then
// the TLS handshake, as each is asked for.
func openConn(ctx context.Context, t Target, secure *tls.Config) (*checkConn, error) {
	conn, err := dial(ctx, t, dialFull)
	if err != nil {
		return nil, err
	}
	x := &checkConn{Conn: conn, ctx: ctx, raw: conn}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	x.stopWatch = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
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
		if err := x.startTLS(tlsFor(secure, t)); err != nil {
			x.close()
			return nil, err
		}
	}
	return x, nil
}

// startTLS goes over to TLS.
func (x *checkConn) startTLS(config *tls.Config) error {
	c := tls.Client(x.raw, config)
	if err := c.HandshakeContext(x.ctx); err != nil {
		return handshakeError(x.plainError(err))
	}
	x.Conn = c
	return nil
}

// Read reads once. The errors are io.EOF, a timeout, context.Canceled and what the system says.
func (x *checkConn) Read(p []byte) (int, error) {
	n, err := x.Conn.Read(p)
	if err != nil {
		err = x.plainError(err)
	}
	return n, err
}

// Write writes all of p. The errors are those of Read.
func (x *checkConn) Write(p []byte) (int, error) {
	n, err := x.Conn.Write(p)
	if err != nil {
		err = x.plainError(err)
	}
	return n, err
}

// Close is close; it is here so that an exchange can be lent out as a net.Conn.
func (x *checkConn) Close() error {
	x.close()
	return nil
}

// plainError strips an error of the addresses, which the check's name says already, and notes whether the server is gone.
func (x *checkConn) plainError(err error) error {
	if reason := contextError(x.ctx, err); reason != nil {
		return reason
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		x.peerClosed = true
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// close ends the connection. Unless the server has closed first, it does so with a reset: the server is told at once,
// and no socket of this host is left waiting out its time. A secured connection is first taken leave of.
func (x *checkConn) close() {
	if x.closed {
		return
	}
	x.closed = true
	if c, secured := x.Conn.(*tls.Conn); secured && !x.peerClosed && x.ctx.Err() == nil {
		_ = c.CloseWrite()
		x.awaitClose()
	}
	x.stopWatch()
	if !x.peerClosed && !x.noReset {
		resetOnClose(x.raw)
	}
	_ = x.raw.Close()
}

// closeTimeout is how long a server is given to close first, where it can be expected to.
const closeTimeout = 100 * time.Millisecond

// closeAfterServer waits for the server to close, for at most the time of a farewell, then closes. It is for protocols
// in which the server closes when it has understood that the client is going, and would complain about a reset.
func (x *checkConn) closeAfterServer() {
	if !x.closed && !x.peerClosed && x.ctx.Err() == nil {
		x.awaitClose()
	}
	x.close()
}

// awaitClose reads the rest, for at most the time of a farewell and the size of a reply.
func (x *checkConn) awaitClose() {
	x.stopWatch() // the context has no more say; the time left is short
	until := time.Now().Add(closeTimeout)
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

// resetOnClose makes the next Close of a TCP connection an abortive one.
func resetOnClose(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
