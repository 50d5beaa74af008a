package nettest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A DatagramHandler replies to one datagram of a DatagramHost, any number of times.
type DatagramHandler func(from netip.AddrPort, data []byte, reply func([]byte))

// EchoDatagram sends the datagram back.
func EchoDatagram(_ netip.AddrPort, data []byte, reply func([]byte)) { reply(data) }

// ReplyWithName replies with the name and the address that the datagram came from.
func ReplyWithName(name string) DatagramHandler {
	return func(from netip.AddrPort, _ []byte, reply func([]byte)) { reply([]byte(name + " " + from.String())) }
}

// DatagramHost is a UDP server with one behaviour. While it is down its port is unreachable.
type DatagramHost struct {
	t       testing.TB
	addr    string
	listen  func() (*net.UDPConn, error)
	handler DatagramHandler
	seen    atomic.Int64
	wg      sync.WaitGroup

	mu   sync.Mutex
	conn *net.UDPConn // nil while down
}

// ListenDatagrams opens a UDP socket. The caller closes it.
func ListenDatagrams(addr string) (*net.UDPConn, error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP("udp", at)
}

// StartDatagrams runs a host on a new address until the test ends.
func StartDatagrams(t testing.TB, h DatagramHandler) *DatagramHost {
	t.Helper()
	return StartDatagramsAt(t, ReserveDatagrams(t), h)
}

// StartDatagramsAt runs a host at an address.
func StartDatagramsAt(t testing.TB, addr string, h DatagramHandler) *DatagramHost {
	t.Helper()
	host := &DatagramHost{t: t, addr: addr, handler: h}
	host.listen = func() (*net.UDPConn, error) { return ListenDatagrams(addr) }
	host.Up()
	t.Cleanup(host.Down)
	return host
}

// StartDatagrams runs a host inside the namespace.
func (ns *Namespace) StartDatagrams(addr string, h DatagramHandler) *DatagramHost {
	ns.t.Helper()
	host := &DatagramHost{t: ns.t, addr: addr, handler: h}
	host.listen = func() (c *net.UDPConn, err error) {
		ns.Do(func() { c, err = ListenDatagrams(addr) })
		return c, err
	}
	host.Up()
	ns.t.Cleanup(host.Down)
	return host
}

// Addr returns the host's address.
func (h *DatagramHost) Addr() string { return h.addr }

// Received returns the number of datagrams received.
func (h *DatagramHost) Received() int { return int(h.seen.Load()) }

// Up listens again after Down.
func (h *DatagramHost) Up() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		return
	}
	c := h.bind()
	c.SetReadBuffer(4 << 20)
	h.conn = c
	h.wg.Go(func() { h.serve(c) })
}

// bind listens, which may take a moment: a process that is being started holds a copy of every descriptor, including
// closed ones, until it executes its program.
func (h *DatagramHost) bind() *net.UDPConn {
	h.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := h.listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			require.NoError(h.t, err)
			return c
		}
	}
}

// Down closes the socket: further datagrams are rejected (ICMP).
func (h *DatagramHost) Down() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		h.conn.Close()
		h.conn = nil
		h.wg.Wait()
		h.bind().Close() // no process holds a copy any more
	}
}

func (h *DatagramHost) serve(c *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		h.seen.Add(1)
		h.handler(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n], func(b []byte) { c.WriteToUDPAddrPort(b, from) })
	}
}

// DatagramClient is a client with one socket.
type DatagramClient struct {
	*net.UDPConn
	t testing.TB
}

// DialDatagrams makes a client of an address, from a local address ("" = any). It is closed at the end of the test at
// the latest.
func DialDatagrams(t testing.TB, from, to string) *DatagramClient {
	t.Helper()
	c, err := TryDialDatagrams(from, to)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &DatagramClient{c, t}
}

// DialDatagrams makes a client inside the namespace.
func (ns *Namespace) DialDatagrams(from, to string) *DatagramClient {
	ns.t.Helper()
	var c *net.UDPConn
	var err error
	ns.Do(func() { c, err = TryDialDatagrams(from, to) })
	require.NoError(ns.t, err)
	ns.t.Cleanup(func() { c.Close() })
	return &DatagramClient{c, ns.t}
}

// TryDialDatagrams is DialDatagrams without a test. The caller closes the socket.
func TryDialDatagrams(from, to string) (*net.UDPConn, error) {
	var local *net.UDPAddr
	if from != "" {
		var err error
		if local, err = net.ResolveUDPAddr("udp", from); err != nil {
			return nil, err
		}
	}
	remote, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return nil, err
	}
	return net.DialUDP("udp", local, remote)
}

// Send sends one datagram.
func (c *DatagramClient) Send(data []byte) {
	c.t.Helper()
	_, err := c.Write(data)
	require.NoError(c.t, err)
}

// Receive waits for one datagram. It returns false if none arrives in time.
func (c *DatagramClient) Receive(within time.Duration) ([]byte, bool) {
	c.t.Helper()
	buf := make([]byte, 1<<16)
	c.SetReadDeadline(time.Now().Add(within))
	n, err := c.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, false
	}
	require.NoError(c.t, err)
	return buf[:n], true
}

// RoundTrip sends a datagram and waits for its reply, or fails the test.
func (c *DatagramClient) RoundTrip(data string) string {
	c.t.Helper()
	c.Send([]byte(data))
	answer, ok := c.Receive(15 * time.Second)
	require.True(c.t, ok, "no answer to %q", data)
	return string(answer)
}
