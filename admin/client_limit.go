package admin

import (
	"container/list"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// limitedListener is a listener with a maximum number of clients. At the limit, a new client replaces the client that has been
// idle longest; if none is idle, the new client is closed at once.
type limitedListener struct {
	net.Listener
	limit int

	mu           sync.Mutex
	count        int                            // guarded by mu, like all below
	idle         *list.List                     // of *limitedConn, longest idle first
	idleElements map[*limitedConn]*list.Element // in idle
}

func limitClients(ln net.Listener, most int) *limitedListener {
	return &limitedListener{Listener: ln, limit: most, idle: list.New(), idleElements: map[*limitedConn]*list.Element{}}
}

// acceptPause is the pause after an error of accept.
const acceptPause = 50 * time.Millisecond

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
		c := &limitedConn{Conn: conn, listener: b}
		if b.add(c) {
			return c, nil
		}
		conn.Close()
	}
}

// add adds a client, in place of an idle one at the limit. It reports false if there is no room.
func (b *limitedListener) add(c *limitedConn) bool {
	b.mu.Lock()
	var oldest *limitedConn
	if b.count >= b.limit {
		if e := b.idle.Front(); e != nil {
			oldest = e.Value.(*limitedConn)
		}
	}
	room := b.count < b.limit || oldest != nil
	if room {
		b.count++
		b.idleElements[c] = b.idle.PushBack(c)
	}
	b.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return room
}

// closeIdle closes the idle connections.
func (b *limitedListener) closeIdle() {
	b.mu.Lock()
	var idle []*limitedConn
	for e := b.idle.Front(); e != nil; e = e.Next() {
		idle = append(idle, e.Value.(*limitedConn))
	}
	b.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// trackState is the ConnState of the http.Server. It tracks which connections are idle.
func (b *limitedListener) trackState(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*limitedConn)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := b.idleElements[c]; {
	case state == http.StateIdle && e == nil && !c.closed:
		b.idleElements[c] = b.idle.PushBack(c)
	case state == http.StateActive && e != nil:
		b.idle.Remove(e)
		delete(b.idleElements, c)
	}
}

func (b *limitedListener) remove(c *limitedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	b.count--
	if e := b.idleElements[c]; e != nil {
		b.idle.Remove(e)
		delete(b.idleElements, c)
	}
}

// limitedConn is a client of a limitedListener.
type limitedConn struct {
	net.Conn
	listener *limitedListener
	closed   bool // guarded by the listener's mu
}

func (c *limitedConn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}

// discardLog discards the messages of net/http about misbehaving clients.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
