package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"weir/conf"
)

// UDP sends datagrams and reads the replies. A step with an expectation passes if one datagram matches it. The last
// step without an expectation waits for the rest of the time and passes unless the server's host rejects the datagram
// (ICMP). Without steps, one empty datagram is sent.
type UDP struct{ Steps []conf.Step }

// Monitor returns the monitor, or an error if a regular expression is invalid.
func (o UDP) Monitor() (Monitor, error) {
	steps, err := compileSteps(o.Steps)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		steps = []step{{}}
	}
	return NewRedactor(sentSecrets(o.Steps), sentTexts(o.Steps)...).monitor(func(ctx context.Context, t Target) (Report, error) {
		return Report{}, exchangeDatagrams(ctx, t, steps)
	}), nil
}

func exchangeDatagrams(ctx context.Context, t Target, steps []step) error {
	d := net.Dialer{Control: t.bindInterface(nil)}
	if err := t.checkFamily(); err != nil {
		return err
	}
	if t.Source.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.localAddr(), 0))
	}
	conn, err := d.DialContext(ctx, "udp", t.Address)
	if err != nil {
		return dialError(ctx, t, err)
	}
	x := &checkConn{Conn: conn, raw: conn}
	x.bind(ctx)
	defer x.close()
	var prefix []byte // the receiver reads a header in every datagram
	if t.SendProxy != "" {
		if prefix, err = proxyHeader("v2", conn.LocalAddr(), conn.RemoteAddr()); err != nil {
			return err
		}
	}
	for i, s := range steps {
		// An ICMP error for an earlier datagram is returned by the next call, whichever it is.
		if len(s.send) > 0 || i == 0 {
			if _, err := x.Write(slices.Concat(prefix, s.send)); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		var err error
		switch {
		case s.expects():
			err = s.awaitDatagram(x)
		case i == len(steps)-1:
			err = awaitRefusal(x)
		}
		if err != nil && len(steps) > 1 {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxDatagram is the largest UDP payload: that of IPv6, which does not count its own header.
const maxDatagram = 65535 - 8

// awaitRefusal waits until a datagram arrives or the time is over; both pass.
func awaitRefusal(x *checkConn) error {
	_, err := x.Read(make([]byte, 1))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// awaitDatagram reads until a datagram matches, at most 64 kB in total.
func (s step) awaitDatagram(x *checkConn) error {
	var want string
	if s.regex != nil {
		want = "a match of " + quote([]byte(s.regex.String()))
	} else {
		want = quote(s.expect)
	}
	buf := make([]byte, maxDatagram)
	var last []byte
	for total := 0; total <= maxReply; {
		n, err := x.Read(buf)
		if err != nil {
			return mismatch(err, want, last)
		}
		if s.matches(buf[:n]) {
			return nil
		}
		total += n + 64 // an empty one counts too
		last = append(last[:0], buf[:min(n, maxQuote+1)]...)
	}
	return mismatch(tooLargeError(maxReply), want, last)
}
