package admin

// API listeners during an upgrade: both processes have the sockets; the old one stops accepting and may have to resume.

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// pausableListener is a listener whose Accept can be paused.
type pausableListener struct {
	net.Listener

	mu        sync.Mutex
	accepting chan struct{} // guarded by mu; closed while not paused
	closed    chan struct{}
	once      sync.Once
}

func newPausableListener(ln net.Listener) *pausableListener {
	p := &pausableListener{Listener: ln, accepting: make(chan struct{}), closed: make(chan struct{})}
	close(p.accepting)
	return p
}

// setPaused pauses or resumes Accept.
func (p *pausableListener) setPaused(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.accepting:
		if paused {
			p.accepting = make(chan struct{})
			p.setDeadline(time.Unix(1, 0))
		}
	default:
		if !paused {
			p.setDeadline(time.Time{})
			close(p.accepting)
		}
	}
}

func (p *pausableListener) setDeadline(t time.Time) {
	if l, ok := p.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		l.SetDeadline(t)
	}
}

func (p *pausableListener) running() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepting
}

// Accept blocks while the listener is paused.
func (p *pausableListener) Accept() (net.Conn, error) {
	for {
		select {
		case <-p.running():
		case <-p.closed:
			return nil, net.ErrClosed
		}
		conn, err := p.Listener.Accept()
		if err == nil || !os.IsTimeout(err) {
			return conn, err
		}
	}
}

func (p *pausableListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// Inherit makes Prepare take over sockets of the old process. from returns the socket of an address, or nil. Inherit must be
// called before the first Prepare.
func (s *Server) Inherit(from func(address string) *os.File) { s.inherit = from }

// Sockets returns duplicates of the listen sockets by address, for the new process. The caller closes them.
func (s *Server) Sockets() (map[string]*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := map[string]*os.File{}
	for name, l := range s.listeners {
		ln, ok := l.ln.(interface{ File() (*os.File, error) })
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

// PauseAccept pauses or resumes accepting. Current requests are not affected.
func (s *Server) PauseAccept(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.pausable.setPaused(hold)
	}
}

// HandOver leaves the taken addresses and their socket files to the new process. Close closes the others. Connected clients get one
// more response and must reconnect.
func (s *Server) HandOver(taken []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.listeners {
		if slices.Contains(taken, name) {
			l.remove = func() {}
		}
		l.server.SetKeepAlivesEnabled(false)
	}
}
