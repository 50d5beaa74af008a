package soak

// A client's side of one session.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// patience is how long a side waits for the next byte before it calls the session stalled.
const patience = 40 * time.Second

// passage is what a client has seen of one session.
type passage struct {
	script   script
	listener string
	client   netip.AddrPort
	claimed  netip.AddrPort // for whom it says it comes; invalid = for itself
	begun    time.Time
	ended    time.Time
	server   int    // -1 = it did not say
	up       uint32 // bytes that the kernel took, those of the header apart
	down     uint32 // bytes that came and were right, those of the preamble apart
	outcome  outcome
	detail   string
}

// run goes through one session from a local address, which the kernel may refuse for a while after its last use: then
// the error is EADDRINUSE and nothing has happened. Nothing in it waits for longer than patience.
func (s script) run(ctx context.Context, from netip.AddrPort, listener, address string) (passage, error) {
	p := passage{script: s, listener: listener, client: from, begun: time.Now(), server: -1}
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(from)}
	conn, err := d.Dial("tcp", address) // not with the context: what was begun is brought to its end
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			return p, err
		}
		p.outcome, p.detail = outcomeOf(err), err.Error()
		if errors.Is(err, syscall.ECONNREFUSED) {
			p.outcome = refused
		}
		p.ended = time.Now()
		return p, nil
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	if s.proxy != 0 {
		p.claimed = s.claim()
	}
	wrote := make(chan error, 1)
	read := make(chan struct{})
	go func() { wrote <- s.write(ctx, c, read, &p.up) }()
	rerr := s.read(c, &p)
	close(read)
	if rerr != nil && !errors.Is(rerr, errEarly) {
		abort(c) // so that the writer ends too
	}
	werr := <-wrote
	p.judge(rerr, werr)
	p.ended = time.Now()
	return p, nil
}

var (
	errEarly  = errors.New("a clean end before the last byte")
	errGaveUp = errors.New("reset as the script says")
)

// corruption is an error of a stream that is not what was sent.
type corruption struct{ error }

// write sends the header and the stream in pieces, and ends the direction, or the session as the script says.
func (s *script) write(ctx context.Context, c *net.TCPConn, read <-chan struct{}, sent *uint32) error {
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
	if _, err := c.Write(s.header()); err != nil {
		return err
	}
	if s.pause > 0 {
		wait := time.NewTimer(time.Duration(s.pause) * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done(): // the run is over: no more waiting
		case <-read: // the session is
		}
		wait.Stop()
	}
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
		_ = c.SetWriteDeadline(time.Now().Add(patience))
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
		case <-time.After(patience):
			return os.ErrDeadlineExceeded
		}
	}
	return c.CloseWrite()
}

// read takes in the preamble and the stream down to its end.
func (s *script) read(c *net.TCPConn, p *passage) error {
	extend := func() { _ = c.SetReadDeadline(time.Now().Add(patience + time.Duration(s.pause)*time.Millisecond)) }
	extend()
	var first [preambleSize]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errEarly
		}
		return err
	}
	if string(first[:8]) != string(magic[:]) {
		return corruption{fmt.Errorf("a server begins with %q", first[:8])}
	}
	if id := binary.LittleEndian.Uint64(first[8:]); id != s.id {
		return corruption{fmt.Errorf("the server speaks to session %d", id)}
	}
	p.server = int(binary.LittleEndian.Uint64(first[16:]))
	check := newChecker(s.downStream(), s.down)
	buf := make([]byte, 64<<10)
	if s.slow {
		buf = buf[:8<<10]
	}
	for {
		if s.slow {
			time.Sleep(20 * time.Millisecond)
		}
		extend()
		n, err := c.Read(buf)
		if bad := check.take(buf[:n]); bad != nil {
			return corruption{bad}
		}
		p.down = check.n
		switch {
		case errors.Is(err, io.EOF) && check.n < check.all:
			return errEarly
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// judge makes one outcome of what the two directions have met. The kernel tells of a reset once, to whichever call comes
// first: when the writer was told, an end is all that is left for the reader.
func (p *passage) judge(rerr, werr error) {
	var bad corruption
	switch {
	case errors.As(rerr, &bad):
		p.outcome = corrupt
	case errors.Is(werr, errGaveUp):
		p.outcome = gaveUp
	case errors.Is(rerr, errEarly) && errors.Is(werr, syscall.ECONNRESET):
		p.outcome = reset
	case errors.Is(rerr, errEarly):
		p.outcome = early
	case rerr != nil:
		p.outcome = outcomeOf(rerr)
	case werr != nil:
		p.outcome = outcomeOf(werr)
	default:
		p.outcome = complete
	}
	if p.outcome != complete && p.outcome != gaveUp {
		p.detail = fmt.Sprintf("up %d of %d (%v), down %d of %d (%v)", p.up, p.script.up, werr, p.down, p.script.down, rerr)
	}
}

func outcomeOf(err error) outcome {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN):
		return reset
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return stalled
	}
	return strange
}

// abort closes a connection with a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
