package admin

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"syscall" // MSG_PEEK
	"time"
)

// limitedListener is a listener with a maximum number of clients. A client works while an authorized request of it is served,
// until its response is written. At the limit, a new client replaces one that does not work: the one that has been answered
// longest, else the one that has sent no complete request for longest. If all clients work, the new client is closed at once.
// Clients that may only read never hold all places.
type limitedListener struct {
	net.Listener
	limit func() int         // maximum number of clients; safe for concurrent use
	tls   func() *tls.Config // of new connections; nil = none
	freed chan struct{}      // signals a place or an answered client
	done  chan struct{}      // closed by Close
	once  sync.Once

	mu       sync.Mutex
	count    int        // guarded by mu, like all below
	readers  int        // clients that work and may only read
	fresh    *list.List // of *limitedConn that have sent no complete request, oldest first
	answered *list.List // of *limitedConn that wait for the next request or are being closed, oldest first
	ticks    uint64     // counts intervals of graceTick during which a new client has waited
}

func limitClients(ln net.Listener, limit func() int, tls func() *tls.Config) *limitedListener {
	return &limitedListener{Listener: ln, limit: limit, tls: tls, freed: make(chan struct{}, 1), done: make(chan struct{}), fresh: list.New(), answered: list.New()}
}

const (
	// acceptPause is the pause after an error of accept.
	acceptPause = 50 * time.Millisecond
	// A fresh client has graceTicks intervals to send a request before a new client takes its place, and as many after the
	// first bytes that it sends. They are counted, not measured, so that a process that does not get the CPU does not close
	// clients whose request it has not read.
	graceTicks = 3
	graceTick  = 15 * time.Millisecond
)

func (b *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // a temporary shortage must not end the API
			time.Sleep(acceptPause)
			continue
		}
		c := &limitedConn{Conn: &lateConn{Conn: conn}, listener: b, tls: b.tls()}
		if b.place(c) {
			return c.secured(), nil
		}
		conn.Close()
	}
}

// Close also ends the wait for a place. It returns when the address is free. Further calls do nothing.
func (b *limitedListener) Close() (err error) {
	b.once.Do(func() {
		close(b.done)
		err = b.Listener.Close()
	})
	return err
}

// place adds a client, at the limit in place of another one. It reports false if all clients work.
func (b *limitedListener) place(c *limitedConn) bool {
	for {
		room, wait := b.add(c)
		if !wait {
			return room
		}
		timer := time.NewTimer(graceTick)
		select {
		case <-timer.C:
			b.mu.Lock()
			b.ticks++
			b.mu.Unlock()
		case <-b.freed:
		case <-b.done:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// add adds a client, at the limit in place of another one. It reports false if there is no room, and whether there will be.
func (b *limitedListener) add(c *limitedConn) (room, wait bool) {
	b.mu.Lock()
	var oldest *limitedConn
	room = b.count < b.limit()
	if e := b.answered.Front(); !room && e != nil {
		oldest, room = e.Value.(*limitedConn), true
	} else if !room && b.fresh.Len() > 0 {
		oldest = b.oldestSilent()
		room, wait = oldest != nil, oldest == nil
	}
	if room {
		b.count++
		c.tick = b.ticks
		c.list, c.element = b.fresh, b.fresh.PushBack(c)
	}
	b.mu.Unlock()
	if room && oldest != nil {
		oldest.Close()
	}
	return room, wait
}

// maxReaders returns how many clients whose requests may only read may work at once.
func (b *limitedListener) maxReaders() int { return max(1, b.limit()*3/4) }

// oldestSilent returns the oldest fresh client whose time to send a request is over, or nil. mu must be held.
func (b *limitedListener) oldestSilent() *limitedConn {
	for e := b.fresh.Front(); e != nil; e = e.Next() {
		c := e.Value.(*limitedConn)
		if b.ticks-c.tick < graceTicks {
			continue
		}
		if c.heard || !c.hasUnread() {
			return c
		}
		c.renew() // its first bytes have arrived and are read next
	}
	return nil
}

// signal wakes the wait for a place.
func (b *limitedListener) signal() {
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// closeIdle closes the connections that do not work.
func (b *limitedListener) closeIdle() {
	b.closeClients(b.answered)
	b.closeClients(b.fresh)
}

// drain closes the clients that have been answered, and gives those that have just connected their time to send a request: they
// cannot know that the listener is being closed.
func (b *limitedListener) drain() {
	for range graceTicks {
		b.closeClients(b.answered)
		b.mu.Lock()
		none := b.fresh.Len() == 0
		b.mu.Unlock()
		if none {
			return
		}
		time.Sleep(graceTick)
	}
	b.closeIdle()
}

func (b *limitedListener) closeClients(list *list.List) {
	b.mu.Lock()
	var clients []*limitedConn
	for e := list.Front(); e != nil; e = e.Next() {
		clients = append(clients, e.Value.(*limitedConn))
	}
	b.mu.Unlock()
	for _, c := range clients {
		c.Close()
	}
}

// begin marks the client as working. It reports false if the client may only read and too many such clients work, or if the
// client was closed.
func (c *limitedConn) begin(may access) bool {
	b := c.listener
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed || may == readAccess && b.readers >= b.maxReaders() {
		return false
	}
	c.unlist()
	if c.reader = may == readAccess; c.reader {
		b.readers++
	}
	return true
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

// unlist removes the client from its list, and from the readers. The listener's mu must be held.
func (c *limitedConn) unlist() {
	if c.list != nil {
		c.list.Remove(c.element)
		c.list, c.element = nil, nil
	}
	if c.reader {
		c.listener.readers--
		c.reader = false
	}
}

func (b *limitedListener) remove(c *limitedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.unlist()
	b.count--
	b.signal()
}

// limitedConn is a client of a limitedListener.
type limitedConn struct {
	net.Conn
	listener *limitedListener
	tls      *tls.Config // under which it was accepted; nil = none; immutable
	secure   *tls.Conn   // nil without TLS; immutable

	list    *list.List // of the listener; nil while working; guarded by the listener's mu, like all below
	element *list.Element
	tick    uint64 // of the listener when the client was accepted, or its first bytes arrived
	reader  bool   // works and may only read
	heard   bool   // has sent bytes
	ended   bool   // its response is complete, but may not be written out
	closed  bool

	read bool // has sent bytes; owned by the goroutine that reads
}

// connKey is the key of the *limitedConn in the context of a request.
type connKey struct{}

// withConn is the ConnContext of the http.Server.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, limitedConnOf(conn))
}

// limitedConnOf returns the client of a connection, or nil.
func limitedConnOf(conn net.Conn) *limitedConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c, _ := conn.(*limitedConn)
	return c
}

func (c *limitedConn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}

// discardLog discards the messages of net/http about misbehaving clients.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
