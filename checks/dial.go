package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall" // two socket options, set while dialling; see set
)

// dial opens a fresh connection to the target, from its source address. The context is the only time limit.
func dial(ctx context.Context, t Target, patience dialMode) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: false},
		KeepAlive:       -1, // a check is over before the first keepalive would be due
		FallbackDelay:   -1,
	}
	network := t.Network
	if network == "" {
		network = "tcp"
	}
	if network == "tcp" {
		if err := t.checkFamily(); err != nil {
			return nil, err
		}
		d.SetMultipathTCP(false)
		d.Control = delayAck
		if t.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.Source, 0))
			d.Control = delayAckBindLate
		}
	}
	conn, err := d.DialContext(ctx, network, t.Address)
	if err != nil {
		return nil, dialError(ctx, t, err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && patience == dialFull {
		ackNow(tcp)
	}
	return conn, nil
}

// checkFamily refuses a source address of another family than the target's.
func (t Target) checkFamily() error {
	if !t.Source.IsValid() {
		return nil
	}
	to, err := netip.ParseAddrPort(t.Address)
	if err == nil && to.Addr().Unmap().Is4() != t.Source.Unmap().Is4() {
		return fmt.Errorf("%w: %s cannot be reached from %s", ErrShortage, t.Address, t.Source)
	}
	return nil
}

// dialMode says what a connection is opened for.
type dialMode uint8

const (
	dialFull  dialMode = iota // for the server's program to see
	dialQuiet                 // to be reset at once: only the server's kernel need know of it
)

// delayAck holds the last acknowledgement of the handshake back. A connection that is reset before it is sent is known
// to have been accepted by the server's kernel, and never reaches the server's program: no accept, no log line, no
// "connection aborted" counted against this host. And a server that speaks first and aborts at once cannot have done both
// before this host has seen the connection stand: what it said would be lost.
func delayAck(_, _ string, c syscall.RawConn) error { return setOptions(c, false) }

// delayAckBindLate also lets the kernel choose the local port when the destination is known, so that ports are used up per
// destination and not per source address.
func delayAckBindLate(_, _ string, c syscall.RawConn) error { return setOptions(c, true) }

// ackNow sends the acknowledgement that was held back.
func ackNow(conn *net.TCPConn) {
	if c, err := conn.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
	}
}

// ipBindAddressNoPort is IP_BIND_ADDRESS_NO_PORT of ip(7), which package syscall lacks.
const ipBindAddressNoPort = 24

// setOptions applies socket options that are improvements and no more: a kernel without them serves as well.
func setOptions(c syscall.RawConn, bindLate bool) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
		if bindLate {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
		}
	})
}

// dialError says whom the connection was for and why there is none, in one breath, and marks failures of this host.
func dialError(ctx context.Context, t Target, err error) error {
	if ended := contextError(ctx, err); ended != nil {
		return fmt.Errorf("connect to %s: %w", t.Address, ended)
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		if call.Syscall == "bind" {
			return fmt.Errorf("%w: bind to %s: %w", ErrShortage, t.Source, call.Err)
		}
		if strings.HasPrefix(call.Syscall, "connect") {
			return fmt.Errorf("connect to %s: %w", t.Address, call.Err)
		}
		return fmt.Errorf("connect to %s: %w", t.Address, call)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("connect to %s: %w", t.Address, err)
}

// timeoutError is what an exceeded deadline is called. It is context.DeadlineExceeded to errors.Is.
type timeoutError struct{}

func (timeoutError) Error() string        { return "timed out" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// contextError returns the reason if err came about because the context has ended, else nil.
func contextError(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return timeoutError{}
	}
	return nil
}
