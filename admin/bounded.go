package admin

import (
	"io"
	"log"
	"net"
	"sync"
)

// bounded is a listener with so many clients at most: further ones are turned away at once instead of waiting for those
// who keep what they have.
func bounded(ln net.Listener, most int) net.Listener {
	return &boundedListener{Listener: ln, slots: make(chan struct{}, most)}
}

type boundedListener struct {
	net.Listener
	slots chan struct{}
}

func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-b.slots })}, nil
		default:
			conn.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// quiet is for what the HTTP library has to say about clients that misbehave: nobody acts on it.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
