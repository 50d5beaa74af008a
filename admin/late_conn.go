package admin

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall" // reads without waiting
	"time"
)

// lateConn is a connection whose read deadline does not hide what has arrived: when the process did not get the CPU for longer
// than the deadline, package net reports a timeout without looking at the socket.
type lateConn struct {
	net.Conn
	cancelled atomic.Bool // the read deadline is one of the past, set to end a read
}

func (c *lateConn) SetDeadline(t time.Time) error {
	c.cancelled.Store(isPast(t))
	return c.Conn.SetDeadline(t)
}

func (c *lateConn) SetReadDeadline(t time.Time) error {
	c.cancelled.Store(isPast(t))
	return c.Conn.SetReadDeadline(t)
}

// isPast reports whether a deadline was over long before it was set. net/http sets such a deadline to end a read.
func isPast(t time.Time) bool { return !t.IsZero() && time.Since(t) > time.Hour }

// Read returns what has arrived although the deadline is over.
func (c *lateConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 || len(p) == 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.cancelled.Load() {
		return n, err
	}
	switch late, e := c.receive(p, 0); {
	case e != nil:
		return 0, err
	case late == 0:
		return 0, io.EOF
	default:
		return late, nil
	}
}

// CloseWrite ends the outgoing stream.
func (c *lateConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// dropUnread makes Close drop what the peer has not read, with a reset.
func (c *lateConn) dropUnread() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// SyscallConn returns the socket.
func (c *lateConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// receive receives what has arrived, without waiting.
func (c *lateConn) receive(p []byte, flags int) (n int, err error) {
	socket, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := socket.Control(func(fd uintptr) { n, _, err = syscall.Recvfrom(int(fd), p, flags|syscall.MSG_DONTWAIT) }); e != nil {
		return 0, e
	}
	return n, err
}
