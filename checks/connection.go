package checks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall" // for ECONNRESET and EPIPE
	"time"
)

// checkConn is the connection of one check. The check opens it, uses it and closes it. It is a net.Conn.
type checkConn struct {
	net.Conn // the TLS connection, or raw

	ctx        context.Context
	raw        net.Conn    // the TCP, unix or UDP connection
	stopWatch  func()      // stops watching ctx
	peerClosed atomic.Bool // the server has closed or reset the connection
	noReset    bool        // close without a reset even if the server has not closed
	closed     bool
}

// openConn dials the target and binds the connection to the context. The deadline is set once, so arriving bytes do not
// extend it. Cancellation interrupts pending reads and writes. The PROXY protocol header is sent first and the TLS
// handshake follows, if requested.
func openConn(ctx context.Context, t Target, secure *tls.Config) (*checkConn, error) {
	conn, err := dial(ctx, t, dialFull)
	if err != nil {
		return nil, err
	}
	x := &checkConn{Conn: conn, raw: conn}
	x.bind(ctx)
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

// bind makes the deadline and the cancellation of ctx apply to the connection.
func (x *checkConn) bind(ctx context.Context) {
	x.ctx = ctx
	deadline, _ := ctx.Deadline() // zero = none
	_ = x.raw.SetDeadline(deadline)
	x.stopWatch = interruptAfter(ctx, x.raw)
}

// interruptAfter interrupts pending reads and writes of a connection when ctx ends. After stop has returned, the connection
// is not touched.
func interruptAfter(ctx context.Context, conn net.Conn) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	stopped := false
	return func() {
		if !stopped && !cancel() {
			<-done
		}
		stopped = true
	}
}

// startTLS performs the TLS handshake.
func (x *checkConn) startTLS(config *tls.Config) error {
	c := tls.Client(x.raw, config)
	if err := c.HandshakeContext(x.ctx); err != nil {
		return handshakeError(x.plainError(err))
	}
	x.Conn = c
	return nil
}

// Read reads once. The errors are io.EOF, a timeout, context.Canceled and system errors.
func (x *checkConn) Read(p []byte) (int, error) {
	n, err := x.Conn.Read(p)
	if err != nil {
		err = x.plainError(err)
	}
	return n, err
}

// Write writes all of p. It returns the errors of Read.
func (x *checkConn) Write(p []byte) (int, error) {
	n, err := x.Conn.Write(p)
	if err != nil {
		err = x.plainError(err)
	}
	return n, err
}

// Close calls close. It makes checkConn a net.Conn.
func (x *checkConn) Close() error {
	x.close()
	return nil
}

// plainError removes the addresses from an error, because the name of the check implies them. It also records whether
// the server has closed the connection.
func (x *checkConn) plainError(err error) error {
	if reason := contextError(x.ctx, err); reason != nil {
		return reason
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		x.peerClosed.Store(true)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// close closes the connection with a reset unless the server has closed first. A reset informs the server at once and
// leaves no socket in TIME_WAIT on this host. A TLS connection sends its closing alert before.
func (x *checkConn) close() {
	if x.closed {
		return
	}
	x.closed = true
	if c, secured := x.Conn.(*tls.Conn); secured && !x.peerClosed.Load() && x.ctx.Err() == nil {
		_ = c.CloseWrite()
		x.awaitClose()
	}
	x.stopWatch()
	if !x.peerClosed.Load() && !x.noReset {
		resetOnClose(x.raw)
	}
	_ = x.raw.Close()
}

// closeTimeout is how long to wait for the server to close first, where the protocol lets the server close.
const closeTimeout = 100 * time.Millisecond

// closeAfterServer waits up to closeTimeout for the server to close, then closes. It is for protocols in which the
// server closes at the end and would report a reset as an error.
func (x *checkConn) closeAfterServer() {
	if !x.closed && !x.peerClosed.Load() && x.ctx.Err() == nil {
		x.awaitClose()
	}
	x.close()
}

// closeWithFIN ends the stream to the server, waits up to closeTimeout for the server to close, and closes without a reset.
// It is for servers that log a reset.
func (x *checkConn) closeWithFIN() {
	x.noReset = true
	if c, ok := x.Conn.(interface{ CloseWrite() error }); ok && !x.closed && !x.peerClosed.Load() && x.ctx.Err() == nil {
		_ = c.CloseWrite()
	}
	x.closeAfterServer()
}

// awaitClose reads the remaining bytes, for up to closeTimeout and maxReply bytes.
func (x *checkConn) awaitClose() {
	x.stopWatch() // the deadline below replaces the context
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

// resetOnClose makes the next Close of a TCP connection send a reset.
func resetOnClose(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
