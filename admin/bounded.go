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

// boundedListener is a listener with so many clients at most. Those who are connected and ask for nothing give way to
// newcomers, the one that has waited longest first; if all are at work, newcomers are turned away at once instead of
// waiting for those who keep what they have.
type boundedListener struct {
	net.Listener
	most int

	mu   sync.Mutex
	now  int                            // guarded by mu, like all below
	idle *list.List                     // of *boundedConn, the one that has waited longest first
	at   map[*boundedConn]*list.Element // in idle
}

func bounded(ln net.Listener, most int) *boundedListener {
	return &boundedListener{Listener: ln, most: most, idle: list.New(), at: map[*boundedConn]*list.Element{}}
}

// acceptPause is how long a listener rests when clients cannot be accepted.
const acceptPause = 50 * time.Millisecond

func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // whatever is short will be there again: the API must not end of it
			time.Sleep(acceptPause)
			continue
		}
		c := &boundedConn{Conn: conn, listener: b}
		if b.enter(c) {
			return c, nil
		}
		conn.Close()
	}
}

// enter takes a client in, in the place of another if there is no room.
func (b *boundedListener) enter(c *boundedConn) bool {
	b.mu.Lock()
	var leaves *boundedConn
	if b.now >= b.most {
		if e := b.idle.Front(); e != nil {
			leaves = e.Value.(*boundedConn)
		}
	}
	room := b.now < b.most || leaves != nil
	if room {
		b.now++
		b.at[c] = b.idle.PushBack(c)
	}
	b.mu.Unlock()
	if leaves != nil {
		leaves.Close()
	}
	return room
}

// dismiss closes the connections of those who ask for nothing.
func (b *boundedListener) dismiss() {
	b.mu.Lock()
	var idle []*boundedConn
	for e := b.idle.Front(); e != nil; e = e.Next() {
		idle = append(idle, e.Value.(*boundedConn))
	}
	b.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// note is the http.Server's ConnState: it tells who has asked for something and who has not.
func (b *boundedListener) note(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*boundedConn)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := b.at[c]; {
	case state == http.StateIdle && e == nil && !c.left:
		b.at[c] = b.idle.PushBack(c)
	case state == http.StateActive && e != nil:
		b.idle.Remove(e)
		delete(b.at, c)
	}
}

func (b *boundedListener) leave(c *boundedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.left {
		return
	}
	c.left = true
	b.now--
	if e := b.at[c]; e != nil {
		b.idle.Remove(e)
		delete(b.at, c)
	}
}

// boundedConn is a client of a boundedListener.
type boundedConn struct {
	net.Conn
	listener *boundedListener
	left     bool // guarded by the listener's mu
}

func (c *boundedConn) Close() error {
	c.listener.leave(c)
	return c.Conn.Close()
}

// quiet is for what the HTTP library has to say about clients that misbehave: nobody acts on it.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
