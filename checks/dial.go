package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall" // socket options, see setOptions
)

// dial opens a new connection to the target from its source address. The context is the only time limit.
func dial(ctx context.Context, t Target, patience dialMode) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: false},
		KeepAlive:       -1, // a check is over before the first keepalive would be due
		FallbackDelay:   -1,
	}
	network := cmp.Or(t.Network, "tcp")
	if network == "tcp" {
		if err := t.checkFamily(); err != nil {
			return nil, err
		}
		d.SetMultipathTCP(false)
		d.Control = delayAck
		if t.Source.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.localAddr(), 0))
			d.Control = delayAckBindLate
		}
		d.Control = t.bindInterface(d.Control)
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

// bindInterface returns a function that also binds a socket to the target's interface.
func (t Target) bindInterface(control func(network, address string, c syscall.RawConn) error) func(network, address string, c syscall.RawConn) error {
	if t.Interface == "" {
		return control
	}
	return func(network, address string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = syscall.BindToDevice(int(fd), t.Interface) })
		switch {
		case err != nil:
			return err
		case bound != nil:
			return fmt.Errorf("%w: interface %s: %w", ErrShortage, t.Interface, bound)
		case control == nil:
			return nil
		}
		return control(network, address, c)
	}
}

// localAddr returns the source address. A link-local one is of the interface that the target's address names.
func (t Target) localAddr() netip.Addr {
	if to, err := netip.ParseAddrPort(t.Address); err == nil && t.Source.IsLinkLocalUnicast() && t.Source.Is6() {
		return t.Source.WithZone(to.Addr().Zone())
	}
	return t.Source
}

// checkFamily returns an error if the source address and the target have different address families.
func (t Target) checkFamily() error {
	if !t.Source.IsValid() {
		return nil
	}
	to, err := netip.ParseAddrPort(t.Address)
	if err == nil && to.Addr().Unmap().Is4() != t.Source.Unmap().Is4() {
		return fmt.Errorf("%w: %s cannot be reached from %s", errSource, t.Address, t.Source)
	}
	return nil
}

// errSource marks a shortage: the source address cannot be used.
var errSource = fmt.Errorf("%w: source address", ErrShortage)

// dialMode is the purpose of a connection.
type dialMode uint8

const (
	dialFull  dialMode = iota // accepted by the server's program
	dialQuiet                 // reset at once, seen only by the server's kernel
)

// delayAck holds back the last acknowledgement of the handshake. The server's kernel has then accepted the connection.
// If it is reset before the acknowledgement is sent, it never reaches the server's program: no accept, no log line, no
// aborted connection counted against this host. It also keeps a server that sends data and aborts at once from doing
// both before this host has seen the connection established; the data would be lost.
func delayAck(_, _ string, c syscall.RawConn) error { return setOptions(c, false) }

// delayAckBindLate also lets the kernel choose the local port when the destination is known, so that ports are used per
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

// setOptions sets optional socket options. A kernel without them works as well.
func setOptions(c syscall.RawConn, bindLate bool) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
		if bindLate {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
		}
	})
}

// dialError returns an error with the target and the cause, and wraps ErrShortage if this host failed.
func dialError(ctx context.Context, t Target, err error) error {
	if ended := contextError(ctx, err); ended != nil {
		return fmt.Errorf("connect to %s: %w", t.Address, ended)
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		if call.Syscall == "bind" {
			return fmt.Errorf("%w: bind to %s: %w", errSource, t.Source, call.Err)
		}
		if strings.HasPrefix(call.Syscall, "connect") {
			return fmt.Errorf("connect to %s: %w", t.Address, call.Err)
		}
		return fmt.Errorf("connect to %s: %w", t.Address, call)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return fmt.Errorf("connect to %s: %w", t.Address, err)
}

// timeoutError is the error of an exceeded deadline. errors.Is reports it as context.DeadlineExceeded.
type timeoutError struct{}

func (timeoutError) Error() string        { return "timed out" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// contextError returns the context's error if err was caused by its end, else nil.
func contextError(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return timeoutError{}
	}
	return nil
}
