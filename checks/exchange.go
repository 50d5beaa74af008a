package checks

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall" // for ECONNRESET and EPIPE
	"time"
)

// exchange is the connection of one check: opened by it, used by it alone, closed by it.
type exchange struct {
	ctx    context.Context
	conn   net.Conn
	unhook func() bool // ends the watch on ctx
	over   bool        // the server has ended its side
}

// open dials the target and binds the connection's life to the context: its deadline is set once, so that no byte that
// arrives extends it, and its cancellation interrupts whatever is waiting.
func open(ctx context.Context, t Target) (*exchange, error) {
	conn, err := dial(ctx, t, patient)
	if err != nil {
		return nil, err
	}
	x := &exchange{ctx: ctx, conn: conn}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	x.unhook = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return x, nil
}

// Read reads once. The errors are io.EOF, timedOut, context.Canceled and what the system says.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.conn.Read(p)
	if err != nil {
		err = x.cause(err)
	}
	return n, err
}

// Write writes all of p. The errors are those of Read.
func (x *exchange) Write(p []byte) (int, error) {
	n, err := x.conn.Write(p)
	if err != nil {
		err = x.cause(err)
	}
	return n, err
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
// and no socket of this host is left waiting out its time.
func (x *exchange) close() {
	x.unhook()
	if !x.over {
		reset(x.conn)
	}
	_ = x.conn.Close()
}

// farewell is how long a server is given to close first, where it can be expected to.
const farewell = 100 * time.Millisecond

// closeAfterServer waits for the server to close, for at most the time of a farewell, then closes. It is for protocols
// in which the server closes when it has understood that the client is going, and would complain about a reset.
func (x *exchange) closeAfterServer() {
	defer x.close()
	until := time.Now().Add(farewell)
	if deadline, ok := x.ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	_ = x.conn.SetReadDeadline(until)
	if x.ctx.Err() != nil {
		return // the deadline just set may have undone that of the cancellation
	}
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
