package soak

// Test servers, which follow the script in front of a session and can be killed.

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

// serverResult is a server's result of one session.
type serverResult struct {
	ID      uint64
	Server  int
	From    netip.AddrPort // client in the PROXY header; invalid = no header
	Up      uint32         // correct bytes received, without the header
	Outcome outcome
	Detail  string
}

// tcpServer is a test server in this process.
type tcpServer struct {
	index   int
	address string
	report  func(serverResult)
	refuser refuser

	mu    sync.Mutex
	ln    net.Listener // nil = killed
	conns map[*net.TCPConn]*killSignal
	work  sync.WaitGroup
}

// killSignal informs the goroutines of a connection that the server was killed.
type killSignal struct {
	once sync.Once
	done chan struct{}
}

func (l *killSignal) send() { l.once.Do(func() { close(l.done) }) }

func (l *killSignal) sent() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func newServer(index int, address string, report func(serverResult)) *tcpServer {
	return &tcpServer{index: index, address: address, report: report, conns: map[*net.TCPConn]*killSignal{}}
}

// start starts or restarts the server.
func (s *tcpServer) start() error {
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
			l := &killSignal{done: make(chan struct{})}
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

// kill stops listening and resets all connections, like a host that loses power and restarts.
func (s *tcpServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return
	}
	_ = s.ln.Close()
	s.ln = nil
	for c, l := range s.conns {
		l.send()
		abort(c)
	}
}

// stop kills the server and waits for its goroutines.
func (s *tcpServer) stop() {
	s.kill()
	s.work.Wait()
}

// sessions returns the number of open connections.
func (s *tcpServer) sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// serve handles one session. A connection that sends nothing is a check.
func (s *tcpServer) serve(c *net.TCPConn, l *killSignal) {
	if !s.refuser.greet(c) {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(ioTimeout))
	in := bufio.NewReader(c)
	v := serverResult{Server: s.index}
	var bad corruption
	sc, n, err := readStart(in, &v)
	switch {
	case errors.As(err, &bad):
		v.Outcome, v.Detail = outcomeCorrupt, err.Error()
		s.report(v)
		return
	case err != nil:
		if n > 0 && !l.sent() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			s.report(serverResult{Server: s.index, Outcome: outcomeEarly, Detail: fmt.Sprintf("a header of %d bytes", n)})
		}
		return
	}
	v.ID = sc.id
	err = s.runScript(c, in, &sc, &v)
	switch {
	case l.sent():
		v.Outcome = outcomeKilled
	case errors.As(err, &bad):
		v.Outcome = outcomeCorrupt
	case errors.Is(err, errGaveUp):
		v.Outcome = outcomeGaveUp
	case errors.Is(err, errEarly):
		v.Outcome = outcomeEarly
	case err != nil:
		v.Outcome = outcomeOf(err)
	default:
		v.Outcome = outcomeComplete
	}
	if err != nil {
		v.Detail = fmt.Sprintf("up %d of %d: %v", v.Up, sc.up, err)
	}
	s.report(v)
}

// readStart reads what comes before the stream of a session: a PROXY header, a ClientHello and the script. n is how many bytes
// came after the PROXY header.
func readStart(in *bufio.Reader, v *serverResult) (sc script, n int, err error) {
	if v.From, err = readProxy(in); err != nil {
		return sc, 0, err
	}
	hello, err := readHello(in)
	if n = len(hello); err != nil {
		return sc, n, err
	}
	var head [headerSize]byte
	k, err := io.ReadFull(in, head[:])
	if n += k; err != nil {
		return sc, n, err
	}
	if sc, err = parseHeader(head[:]); err != nil {
		return sc, n, corruption{err}
	}
	return sc, n, sc.checkHello(hello)
}

// runScript sends and receives at the same time, or echoes. An error of receive takes precedence.
func (s *tcpServer) runScript(c *net.TCPConn, in io.Reader, sc *script, v *serverResult) error {
	if _, err := c.Write(preamble(sc.id, s.index)); err != nil {
		return err
	}
	check := newChecker(sc.upStream(), sc.up)
	if sc.echo {
		return s.echo(c, in, sc, check, v)
	}
	received := make(chan struct{})
	sent := make(chan error, 1)
	go func() { sent <- s.send(c, sc, received) }()
	err := s.receive(c, in, check, v)
	close(received)
	if err != nil && !errors.Is(err, errEarly) {
		abort(c)
	}
	sendErr := <-sent
	switch {
	case errors.Is(sendErr, errGaveUp):
		return sendErr
	case err == nil, errors.Is(err, errEarly) && errors.Is(sendErr, syscall.ECONNRESET):
		return sendErr
	}
	return err
}

func (s *tcpServer) receive(c *net.TCPConn, in io.Reader, check *checker, v *serverResult) error {
	return check.read(in, make([]byte, 64<<10), &v.Up, extend(c), nil)
}

// extend returns a function that extends the read deadline of a connection.
func extend(c *net.TCPConn) func() {
	return func() { _ = c.SetReadDeadline(time.Now().Add(idleTimeout)) }
}

// idleTimeout is how long a server waits for a client, which may pause on purpose.
const idleTimeout = 10 * time.Minute

func (s *tcpServer) send(c *net.TCPConn, sc *script, received <-chan struct{}) error {
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
		_ = c.SetWriteDeadline(time.Now().Add(ioTimeout))
		if _, err := c.Write(buf[:k]); err != nil {
			return err
		}
		sent += k
	}
	if sc.order == clientFirst {
		<-received
	}
	return c.CloseWrite()
}

func (s *tcpServer) echo(c *net.TCPConn, in io.Reader, sc *script, check *checker, v *serverResult) error {
	err := check.read(in, make([]byte, sc.chunk), &v.Up, extend(c), func(got []byte) error {
		if check.n >= sc.serverReset {
			abort(c)
			return errGaveUp
		}
		_ = c.SetWriteDeadline(time.Now().Add(ioTimeout))
		_, err := c.Write(got)
		return err
	})
	if err != nil {
		return err
	}
	return c.CloseWrite()
}

// Serve runs a child server, which its parent kills. It writes "ready" and then the result of every session, one line
// of JSON each.
func Serve(index int, address string, out io.Writer) error {
	var mu sync.Mutex
	lines := json.NewEncoder(out)
	s := newServer(index, address, func(v serverResult) {
		mu.Lock()
		defer mu.Unlock()
		if lines.Encode(v) != nil {
			os.Exit(1) // the parent has ended
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
