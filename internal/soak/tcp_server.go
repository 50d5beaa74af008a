package soak

// Servers that do what the header of a session says, and die on request.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// visit is what a server has seen of one session.
type visit struct {
	ID      uint64
	Server  int
	From    netip.AddrPort // whom the PROXY header says it is for; invalid = there was none
	Up      uint32         // bytes that came and were right, those of the header apart
	Outcome outcome
	Detail  string
}

// server is one that runs in this process.
type server struct {
	index   int
	address string
	report  func(visit)

	mu    sync.Mutex
	ln    net.Listener // nil = it is dead
	conns map[*net.TCPConn]*life
	work  sync.WaitGroup
}

// life tells a connection's goroutines that its server has died.
type life struct {
	once sync.Once
	over chan struct{}
}

func (l *life) end() { l.once.Do(func() { close(l.over) }) }

func (l *life) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func newServer(index int, address string, report func(visit)) *server {
	return &server{index: index, address: address, report: report, conns: map[*net.TCPConn]*life{}}
}

// start brings the server up.
func (s *server) start() error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ln = ln
	s.mu.Unlock()
	s.work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c := conn.(*net.TCPConn)
			l := &life{over: make(chan struct{})}
			s.mu.Lock()
			if s.ln != ln {
				s.mu.Unlock()
				abort(c)
				continue
			}
			s.conns[c] = l
			s.mu.Unlock()
			s.work.Go(func() {
				s.serve(c, l)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				_ = c.Close()
			})
		}
	})
	return nil
}

// die stops listening and resets everything, as a host does whose power fails and comes back.
func (s *server) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return
	}
	_ = s.ln.Close()
	s.ln = nil
	for c, l := range s.conns {
		l.end()
		abort(c)
	}
}

// stop dies and waits for the last connection.
func (s *server) stop() {
	s.die()
	s.work.Wait()
}

// sessions is how many there are now.
func (s *server) sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// serve goes through one session. A connection that says nothing is a check.
func (s *server) serve(c *net.TCPConn, l *life) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	v := visit{Server: s.index}
	var err error
	if v.From, err = readProxy(in); err != nil {
		var bad corruption
		if errors.As(err, &bad) {
			v.Outcome, v.Detail = corrupt, err.Error()
			s.report(v)
		}
		return
	}
	var head [headerSize]byte
	n, err := io.ReadFull(in, head[:])
	if err != nil {
		if n > 0 && !l.ended() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			s.report(visit{Server: s.index, Outcome: early, Detail: fmt.Sprintf("a header of %d bytes", n)})
		}
		return
	}
	sc, err := parseHeader(head[:])
	if err != nil {
		v.Outcome, v.Detail = corrupt, err.Error()
		s.report(v)
		return
	}
	v.ID = sc.id
	err = s.play(c, in, &sc, &v)
	var bad corruption
	switch {
	case l.ended():
		v.Outcome = killed
	case errors.As(err, &bad):
		v.Outcome = corrupt
	case errors.Is(err, errGaveUp):
		v.Outcome = gaveUp
	case errors.Is(err, errEarly):
		v.Outcome = early
	case err != nil:
		v.Outcome = outcomeOf(err)
	default:
		v.Outcome = complete
	}
	if err != nil {
		v.Detail = fmt.Sprintf("up %d of %d: %v", v.Up, sc.up, err)
	}
	s.report(v)
}

// play speaks and listens at the same time, unless it echoes. An error of listening counts for more: it tells what came.
func (s *server) play(c *net.TCPConn, in io.Reader, sc *script, v *visit) error {
	if _, err := c.Write(preamble(sc.id, s.index)); err != nil {
		return err
	}
	check := newChecker(sc.upStream(), sc.up)
	if sc.echo {
		return s.echo(c, in, sc, check, v)
	}
	heard := make(chan struct{})
	said := make(chan error, 1)
	go func() { said <- s.speak(c, sc, heard) }()
	err := s.listen(c, in, check, v)
	close(heard)
	if err != nil && !errors.Is(err, errEarly) {
		abort(c)
	}
	spoken := <-said
	switch {
	case errors.Is(spoken, errGaveUp):
		return spoken
	case err == nil, errors.Is(err, errEarly) && errors.Is(spoken, syscall.ECONNRESET):
		return spoken
	}
	return err
}

func (s *server) listen(c *net.TCPConn, in io.Reader, check *checker, v *visit) error {
	buf := make([]byte, 64<<10)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idlePatience))
		n, err := in.Read(buf)
		if bad := check.take(buf[:n]); bad != nil {
			return corruption{bad}
		}
		v.Up = check.n
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

// idlePatience is how long a server waits for a client, which may pause on purpose.
const idlePatience = 10 * time.Minute

func (s *server) speak(c *net.TCPConn, sc *script, heard <-chan struct{}) error {
	body, size := sc.downStream(), sc.sizes(2)
	buf := make([]byte, sc.chunk)
	for sent := uint32(0); ; {
		if sent >= sc.serverReset {
			abort(c)
			return errGaveUp
		}
		if sent == sc.down {
			break
		}
		k := min(uint32(size()), sc.down-sent, sc.serverReset-sent)
		_, _ = body.Read(buf[:k])
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.Write(buf[:k]); err != nil {
			return err
		}
		sent += k
	}
	if sc.order == clientFirst {
		<-heard
	}
	return c.CloseWrite()
}

func (s *server) echo(c *net.TCPConn, in io.Reader, sc *script, check *checker, v *visit) error {
	buf := make([]byte, sc.chunk)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idlePatience))
		n, err := in.Read(buf)
		if bad := check.take(buf[:n]); bad != nil {
			return corruption{bad}
		}
		v.Up = check.n
		if n > 0 {
			if check.n >= sc.serverReset {
				abort(c)
				return errGaveUp
			}
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			if _, err := c.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && check.n < check.all:
			return errEarly
		case errors.Is(err, io.EOF):
			return c.CloseWrite()
		case err != nil:
			return err
		}
	}
}

// Serve is the whole of a child process: one server that is there to be killed. It says "ready", and what it has seen of
// every session, a line of JSON each.
func Serve(index int, address string, out io.Writer) error {
	var mu sync.Mutex
	lines := json.NewEncoder(out)
	s := newServer(index, address, func(v visit) {
		mu.Lock()
		defer mu.Unlock()
		if lines.Encode(v) != nil {
			os.Exit(1) // nobody listens any more
		}
	})
	if err := s.start(); err != nil {
		return err
	}
	mu.Lock()
	fmt.Fprintln(out, "ready")
	mu.Unlock()
	s.work.Wait()
	return nil
}
