package nettest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A Handler serves one connection of a Host, which closes the connection when the handler returns. The context ends with
// the host.
type Handler func(ctx context.Context, c *net.TCPConn)

// Host is a TCP server with one behaviour. Its port is reserved for as long as the test runs, so that it may go Down
// (connections are refused) and come Up again without another process taking the port meanwhile.
type Host struct {
	t       testing.TB
	addr    netip.AddrPort
	listen  func() net.Listener
	handler Handler
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	accepted atomic.Int64

	mu     sync.Mutex
	ln     net.Listener // nil while down
	conns  map[*net.TCPConn]struct{}
	closed bool
}

// Start runs a host on a port of its own on 127.0.0.1 until the test ends.
func Start(t testing.TB, h Handler) *Host {
	t.Helper()
	return StartAt(t, Reserve(t), h)
}

// StartAt runs a host at an address, which is best one from Reserve.
func StartAt(t testing.TB, addr string, h Handler) *Host {
	t.Helper()
	return start(t, func() net.Listener { return Listen(t, addr) }, h)
}

func start(t testing.TB, listen func() net.Listener, handler Handler) *Host {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{t: t, listen: listen, handler: handler, ctx: ctx, cancel: cancel, conns: map[*net.TCPConn]struct{}{}}
	h.Up()
	t.Cleanup(h.Close)
	return h
}

// Listen opens a plain TCP listening socket (never a multipath one) and leaves closing it to the caller.
func Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	require.NoError(t, err)
	return ln
}

// Addr is where the host listens, as a configuration file wants it.
func (h *Host) Addr() string { return h.addr.String() }

// AddrPort is where the host listens.
func (h *Host) AddrPort() netip.AddrPort { return h.addr }

// Accepted counts the connections accepted so far.
func (h *Host) Accepted() int { return int(h.accepted.Load()) }

// Open counts the connections that are being served now.
func (h *Host) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// Up listens again after Down. It does nothing on a host that listens.
func (h *Host) Up() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ln != nil || h.closed {
		return
	}
	h.ln = h.listen()
	h.addr = h.ln.Addr().(*net.TCPAddr).AddrPort()
	h.wg.Add(1)
	go h.accept(h.ln)
}

// Down stops listening: new connections are refused, open ones go on. It does nothing on a host that is down.
func (h *Host) Down() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ln != nil {
		stopListening(h.ln)
		h.ln = nil
	}
}

// stopListening makes the port refuse before it returns. Closing alone would not: a process that is being started at
// this moment holds a copy of every descriptor until it runs its own program.
func stopListening(ln net.Listener) {
	if raw, err := ln.(*net.TCPListener).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	ln.Close()
}

// Reset aborts every open connection.
func (h *Host) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		Abort(c)
	}
}

// Close ends the host: it stops listening, aborts what is open and returns when the last handler has.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.Down()
	h.cancel()
	h.Reset()
	h.wg.Wait()
}

func (h *Host) accept(ln net.Listener) {
	defer h.wg.Done()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		h.accepted.Add(1)
		conn := c.(*net.TCPConn)
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			conn.Close()
			continue
		}
		h.conns[conn] = struct{}{}
		h.wg.Add(1)
		h.mu.Unlock()
		go h.serve(conn)
	}
}

func (h *Host) serve(c *net.TCPConn) {
	defer h.wg.Done()
	h.handler(h.ctx, c)
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	c.Close()
}
