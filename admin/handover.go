package admin

// Addresses that two processes have for a while: one of them stops accepting there, and may have to go on.

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// pausable is a listener that can be told to wait.
type pausableListener struct {
	net.Listener

	mu     sync.Mutex
	accepting   chan struct{} // closed while it is open
	closed chan struct{}
	once   sync.Once
}

func newPausableListener(ln net.Listener) *pausableListener {
	g := &pausableListener{Listener: ln, accepting: make(chan struct{}), closed: make(chan struct{})}
	close(g.accepting)
	return g
}

// setPaused stops accepting, or goes on.
func (g *pausableListener) setPaused(hold bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.accepting:
		if hold {
			g.accepting = make(chan struct{})
			g.setDeadline(time.Unix(1, 0))
		}
	default:
		if !hold {
			g.setDeadline(time.Time{})
			close(g.accepting)
		}
	}
}

func (g *pausableListener) setDeadline(t time.Time) {
	if d, ok := g.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(t)
	}
}

func (g *pausableListener) running() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.accepting
}

// Accept waits while the gate is held.
func (g *pausableListener) Accept() (net.Conn, error) {
	for {
		select {
		case <-g.running():
		case <-g.closed:
			return nil, net.ErrClosed
		}
		conn, err := g.Listener.Accept()
		if err == nil || !os.IsTimeout(err) {
			return conn, err
		}
	}
}

func (g *pausableListener) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// Inherit has Prepare take the sockets that another process has had, as far as there are any: from gives the one of an
// address, or nil. It comes before the first Prepare.
func (s *Server) Inherit(from func(address string) *os.File) { s.inherit = from }

// Sockets are copies of the sockets at the addresses, for another process. The caller closes them.
func (s *Server) Sockets() (map[string]*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := map[string]*os.File{}
	for name, d := range s.listeners {
		ln, ok := d.ln.(interface{ File() (*os.File, error) })
		if !ok {
			continue
		}
		f, err := ln.File()
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		files[name] = f
	}
	return files, nil
}

// PauseAccept stops accepting, or goes on. Requests under way are not affected.
func (s *Server) PauseAccept(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.listeners {
		d.pausable.setPaused(hold)
	}
}

// HandOver leaves addresses, and the files of unix sockets, to the process that has taken them; the others are closed by
// Close. Whoever is connected is answered once more and then comes again.
func (s *Server) HandOver(taken []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, d := range s.listeners {
		if slices.Contains(taken, name) {
			d.remove = func() {}
		}
		d.server.SetKeepAlivesEnabled(false)
	}
}
