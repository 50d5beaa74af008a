package soak

// The client side of a session.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ioTimeout is how long a side waits for the next byte before it reports the session as stalled.
const ioTimeout = 40 * time.Second

// clientResult is a client's result of one session.
type clientResult struct {
	script   script
	listener string
	client   netip.AddrPort // invalid = of a unix socket
	onUnix   bool           // a unix socket, where a reset looks like an end
	claimed  netip.AddrPort // client in the PROXY header it sends; invalid = no header
	begun    time.Time
	ended    time.Time
	server   int    // index of the server; -1 = unknown
	up       uint32 // bytes that the kernel accepted, without the header
	down     uint32 // correct bytes received, without the preamble
	outcome  outcome
	detail   string
}

// streamConn is a TCP connection or one of a unix socket.
type streamConn interface {
	net.Conn
	CloseWrite() error
}

const unixPrefix = "unix:"

// isUnix reports whether an address is a unix socket.
func isUnix(address string) bool { return strings.HasPrefix(address, unixPrefix) }

// run runs one session from a local address. The kernel may refuse the address for a while after its last use; then the
// error is EADDRINUSE and nothing has happened. No step waits longer than ioTimeout.
func (s script) run(ctx context.Context, from netip.AddrPort, listener, address string) (clientResult, error) {
	p := clientResult{script: s, listener: listener, client: from, begun: time.Now(), server: -1}
	d, network := net.Dialer{Timeout: ioTimeout}, "tcp"
	path, onUnix := strings.CutPrefix(address, unixPrefix)
	if onUnix {
		network, address, p.client, p.onUnix = "unix", path, netip.AddrPort{}, true
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	conn, err := d.Dial(network, address) // without the context: sessions that have begun are completed
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			return p, err
		}
		p.outcome, p.detail = outcomeOf(err), err.Error()
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			p.outcome = outcomeRefused
		}
		p.ended = time.Now()
		return p, nil
	}
	c := conn.(streamConn)
	defer c.Close()
	if s.proxy != 0 {
		p.claimed = s.claimedClient()
	}
	wrote := make(chan error, 1)
	read := make(chan struct{})
	go func() { wrote <- s.write(ctx, c, read, &p.up) }()
	rerr := s.read(c, &p)
	close(read)
	if rerr != nil && !errors.Is(rerr, errEarly) {
		abort(c) // ends the writer
	}
	werr := <-wrote
	p.setOutcome(rerr, werr)
	p.ended = time.Now()
	return p, nil
}

var (
	errEarly  = errors.New("a clean end before the last byte")
	errGaveUp = errors.New("reset according to the script")
)

// corruption is an error of a stream whose bytes differ from what was sent.
type corruption struct{ error }

// write sends the header and the stream in chunks, and then closes or resets according to the script.
func (s *script) write(ctx context.Context, c streamConn, read <-chan struct{}, sent *uint32) error {
	if s.proxy != 0 {
		header := s.proxyHeader()
		if s.id%3 == 0 { // in two pieces
			if _, err := c.Write(header[:s.id%uint64(len(header))]); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
			header = header[s.id%uint64(len(header)):]
		}
		if _, err := c.Write(header); err != nil {
			return err
		}
	}
	pause := func(milliseconds uint32) {
		if milliseconds == 0 {
			return
		}
		wait := time.NewTimer(time.Duration(milliseconds) * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done(): // the run has ended
		case <-read: // the session has ended
		}
	}
	if _, err := c.Write(s.hello.bytes[:s.hello.cut]); err != nil {
		return err
	}
	pause(s.hello.pause)
	if _, err := c.Write(slices.Concat(s.hello.bytes[s.hello.cut:], s.header())); err != nil {
		return err
	}
	pause(s.pause)
	body, size := s.upStream(), s.sizes(1)
	buf := make([]byte, s.chunk)
	for *sent < s.up {
		k := min(uint32(size()), s.up-*sent)
		if s.clientReset != never {
			if *sent >= s.clientReset {
				abort(c)
				return errGaveUp
			}
			k = min(k, s.clientReset-*sent)
		}
		_, _ = body.Read(buf[:k])
		_ = c.SetWriteDeadline(time.Now().Add(ioTimeout))
		if _, err := c.Write(buf[:k]); err != nil {
			return err
		}
		*sent += k
	}
	if s.clientReset != never {
		abort(c)
		return errGaveUp
	}
	if s.order == serverFirst {
		select {
		case <-read:
		case <-time.After(ioTimeout):
			return os.ErrDeadlineExceeded
		}
	}
	return c.CloseWrite()
}

// read receives the preamble and the stream to its end.
func (s *script) read(c streamConn, p *clientResult) error {
	extend := func() { _ = c.SetReadDeadline(time.Now().Add(ioTimeout + time.Duration(s.pause)*time.Millisecond)) }
	extend()
	if size := greetingSize(s.greeting); size > 0 {
		hello := make([]byte, size)
		n, err := io.ReadFull(c, hello)
		switch {
		case denied(s.greeting, hello[:n]):
			return errDenied
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errEarly
		case err != nil:
			return err
		case !bytes.Equal(hello, mysqlGreeting):
			return corruption{fmt.Errorf("invalid greeting %q", hello)}
		}
		extend()
	}
	var first [preambleSize]byte
	if n, err := io.ReadFull(c, first[:]); denied(s.greeting, first[:n]) {
		return errDenied
	} else if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errEarly
		}
		return err
	}
	if string(first[:8]) != string(magic[:]) {
		return corruption{fmt.Errorf("invalid preamble %q", first[:8])}
	}
	if id := binary.LittleEndian.Uint64(first[8:]); id != s.id {
		return corruption{fmt.Errorf("preamble of session %d", id)}
	}
	p.server = int(binary.LittleEndian.Uint64(first[16:]))
	check := newChecker(s.downStream(), s.down)
	buf := make([]byte, 64<<10)
	if s.slow {
		buf = buf[:8<<10]
	}
	return check.read(c, buf, &p.down, func() {
		if s.slow {
			time.Sleep(20 * time.Millisecond)
		}
		extend()
	}, nil)
}

// setOutcome derives the outcome from the errors of both directions. The kernel reports a reset once, to the call that
// comes first: if the writer got it, the reader sees an end of file.
func (p *clientResult) setOutcome(rerr, werr error) {
	var bad corruption
	switch {
	case errors.As(rerr, &bad):
		p.outcome = outcomeCorrupt
	case errors.Is(rerr, errDenied):
		p.outcome = outcomeDenied
	case errors.Is(werr, errGaveUp):
		p.outcome = outcomeGaveUp
	case errors.Is(rerr, errEarly) && (p.onUnix || errors.Is(werr, syscall.ECONNRESET)):
		p.outcome = outcomeReset
	case errors.Is(rerr, errEarly):
		p.outcome = outcomeEarly
	case rerr != nil:
		p.outcome = outcomeOf(rerr)
	case werr != nil:
		p.outcome = outcomeOf(werr)
	default:
		p.outcome = outcomeComplete
	}
	if p.outcome != outcomeComplete && p.outcome != outcomeGaveUp {
		p.detail = fmt.Sprintf("up %d of %d (%v), down %d of %d (%v)", p.up, p.script.up, werr, p.down, p.script.down, rerr)
	}
}

func outcomeOf(err error) outcome {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN):
		return outcomeReset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return outcomeStalled
	}
	return outcomeOther
}

// abort closes a connection with a reset.
func abort(c streamConn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
