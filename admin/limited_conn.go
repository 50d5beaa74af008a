package admin

// A client of a limitedListener, from its first bytes to its last response.

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"syscall" // MSG_PEEK
	"time"
)

// limitedConn is a client of a limitedListener.
type limitedConn struct {
	net.Conn
	listener *limitedListener
	tls      *tls.Config // under which it was accepted; nil = none; immutable
	secure   *tls.Conn   // nil without TLS; immutable

	list    *list.List // of the listener; nil while working with full access; guarded by the listener's mu, like all below
	element *list.Element
	tick    uint64    // of the listener when the client was accepted, or its first bytes arrived
	heard   bool      // has sent bytes
	began   time.Time // of its last response
	ended   bool      // its response is complete, but may not be written out
	closed  bool

	read bool // has sent bytes; owned by the goroutine that reads

	reader     atomic.Bool               // its last request may only read
	streams    atomic.Bool               // it follows the event stream
	writeUntil atomic.Pointer[time.Time] // the deadline of writes; nil = none was set
	stalled    atomic.Int32              // slices of the current write in which the client has taken nothing
}

// connKey is the key of the *limitedConn in the context of a request.
type connKey struct{}

// withConn is the ConnContext of the http.Server.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, limitedConnOf(conn))
}

// connOf returns the client that has sent a request.
func connOf(r *http.Request) *limitedConn { return r.Context().Value(connKey{}).(*limitedConn) }

// limitedConnOf returns the client of a connection, or nil.
func limitedConnOf(conn net.Conn) *limitedConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, _ := conn.(*limitedConn)
	return c
}

// begin marks the client as working. A client that may only read needs one of the places of such clients: a free one, or that of the
// slowest. begin reports false if there is none, or if the client was closed.
func (c *limitedConn) begin(may access) bool {
	b, reads := c.listener, may == readAccess
	b.mu.Lock()
	var slow *limitedConn
	if reads && b.reading.Len() >= b.maxReaders() {
		slow = b.slowest()
	}
	begins := !c.closed && (!reads || slow != nil || b.reading.Len() < b.maxReaders())
	if begins {
		c.unlist()
		c.reader.Store(reads)
		c.began = time.Now()
		if reads {
			c.list, c.element = b.reading, b.reading.PushBack(c)
		}
	}
	b.mu.Unlock()
	if begins && slow != nil {
		slow.cut()
	}
	return begins
}

// end marks the response of a client that works as complete. The client is answered once net/http has written the response
// out: when it waits for the next request (connState), or when nothing follows on the connection (CloseWrite). A client that
// gave way before would lose the part that is still buffered.
func (c *limitedConn) end() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.ended = true
}

// connState is the ConnState of the http.Server.
func connState(conn net.Conn, state http.ConnState) {
	if c := limitedConnOf(conn); c != nil && state == http.StateIdle {
		c.written()
	}
}

// CloseWrite is called by net/http after the last response of a connection, before it waits for the client to close. With TLS
// it is not called, and the client works until the connection is closed half a second later.
func (c *limitedConn) CloseWrite() error {
	c.written()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// written marks the client as answered if its response is complete.
func (c *limitedConn) written() {
	c.listener.mu.Lock()
	ended := c.ended
	c.listener.mu.Unlock()
	if ended {
		c.giveWay()
	}
}

// giveWay marks the client as answered: the first one that a new client replaces.
func (c *limitedConn) giveWay() {
	b := c.listener
	b.mu.Lock()
	defer b.mu.Unlock()
	c.ended = false
	c.unlist()
	if !c.closed {
		c.list, c.element = b.answered, b.answered.PushBack(c)
		b.signal()
	}
}

// Read gives a fresh client more time after its first bytes.
func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.read {
		c.read = true
		c.listener.mu.Lock()
		if !c.heard {
			c.renew()
		}
		c.listener.mu.Unlock()
	}
	return n, err
}

// renew lets the time of a fresh client begin again, once. The listener's mu must be held.
func (c *limitedConn) renew() {
	c.heard = true
	c.tick = c.listener.ticks
}

// hasUnread reports whether the client has sent bytes that were not read yet.
func (c *limitedConn) hasUnread() (unread bool) {
	late, ok := c.Conn.(*lateConn)
	n, err := 0, error(nil)
	if ok { // Read would wait for the goroutine that reads
		n, err = late.receive(make([]byte, 1), syscall.MSG_PEEK)
	}
	return err == nil && n > 0
}

// unlist removes the client from its list. The listener's mu must be held.
func (c *limitedConn) unlist() {
	if c.list != nil {
		c.list.Remove(c.element)
		c.list, c.element = nil, nil
	}
}

func (c *limitedConn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}
