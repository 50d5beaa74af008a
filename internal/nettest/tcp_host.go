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

// A Handler serves one connection of a Host, which closes the connection when the handler returns. The context ends
// with the host.
type Handler func(ctx context.Context, c *net.TCPConn)

// Host is a TCP server with one behaviour. Its port is reserved for the whole test, so it may go Down (connections are
// refused) and come Up again without another process taking the port.
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

// Start runs a host on a new port on 127.0.0.1 until the test ends.
func Start(t testing.TB, h Handler) *Host {
	t.Helper()
	return StartAt(t, Reserve(t), h)
}

// StartAt runs a host at an address, usually one from Reserve.
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

// Listen opens a plain TCP listen socket (not MPTCP). The caller closes it.
func Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	require.NoError(t, err)
	return ln
}

// Addr returns the host's address as used in a configuration.
func (h *Host) Addr() string { return h.addr.String() }

// AddrPort returns the host's address.
func (h *Host) AddrPort() netip.AddrPort { return h.addr }

// Accepted returns the number of connections accepted so far.
func (h *Host) Accepted() int { return int(h.accepted.Load()) }

// Open returns the number of open connections.
func (h *Host) Open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// Up listens again after Down. It does nothing if the host listens.
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

// Down stops listening: new connections are refused, open ones continue. It does nothing if the host is down.
func (h *Host) Down() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ln != nil {
		stopListening(h.ln)
		h.ln = nil
	}
}

// stopListening makes the port refuse connections before it returns. Closing is not enough: a process that is being started
// holds a copy of every descriptor until it executes its program.
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

// Close stops listening, aborts open connections and returns when the last handler has returned.
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
		n := h.accepted.Add(1)
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
		go h.serve(conn, n)
	}
}

// acceptedNumber is the key of a connection's number in its handler's context.
type acceptedNumber struct{}

// AcceptedNumber returns the number of a handler's connection: 1 is the first that the host has accepted. Handlers of later
// connections may run earlier.
func AcceptedNumber(ctx context.Context) int { return int(ctx.Value(acceptedNumber{}).(int64)) }

func (h *Host) serve(c *net.TCPConn, number int64) {
	defer h.wg.Done()
	h.handler(context.WithValue(h.ctx, acceptedNumber{}, number), c)
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	c.Close()
}
