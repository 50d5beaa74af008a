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

// limitedListener is a listener with so many clients at most. Those who are connected and ask for nothing give way to
// newcomers, the one that has waited longest first; if all are at work, newcomers are turned away at once instead of
// waiting for those who keep what they have.
type limitedListener struct {
	net.Listener
	limit int

	mu   sync.Mutex
	count  int                            // guarded by mu, like all below
	idle *list.List                     // of *limitedConn, the one that has waited longest first
	idleElements   map[*limitedConn]*list.Element // in idle
}

func limitClients(ln net.Listener, most int) *limitedListener {
	return &limitedListener{Listener: ln, limit: most, idle: list.New(), idleElements: map[*limitedConn]*list.Element{}}
}

// acceptPause is how long a listener rests when clients cannot be accepted.
const acceptPause = 50 * time.Millisecond

func (b *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // whatever is short will be there again: the API must not end of it
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

// add takes a client in, in the place of another if there is no room.
func (b *limitedListener) add(c *limitedConn) bool {
	b.mu.Lock()
	var leaves *limitedConn
	if b.count >= b.limit {
		if e := b.idle.Front(); e != nil {
			leaves = e.Value.(*limitedConn)
		}
	}
	room := b.count < b.limit || leaves != nil
	if room {
		b.count++
		b.idleElements[c] = b.idle.PushBack(c)
	}
	b.mu.Unlock()
	if leaves != nil {
		leaves.Close()
	}
	return room
}

// closeIdle closes the connections of those who ask for nothing.
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

// trackState is the http.Server's ConnState: it tells who has asked for something and who has not.
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
	closed     bool // guarded by the listener's mu
}

func (c *limitedConn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}

// discardLog is for what the HTTP library has to say about clients that misbehave: nobody acts on it.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
