package admin

// The addresses of the API: opened before anything is changed, put in use once nothing can fail any more.

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"weir/conf"
)

// apiListener is one open address.
type apiListener struct {
	address     string
	ln     net.Listener
	server *http.Server     // nil until it is in use
	pausable   *pausableListener            // likewise
	limited *limitedListener // likewise
	remove func()           // takes away the file of a unix socket
	inherited bool             // inherited, and not yet in use: its file is the other process's
}

// What a client may take.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	maxClients    = 64 // connections at each address
	closePatience = time.Second
)

// Change is another set of addresses, made ready: the new ones are open and serve nobody yet.
type Change struct {
	server *Server
	token  *Token
	opened  map[string]*apiListener
	wanted map[string]bool
}

// Prepare opens the addresses that are not open yet, for clients with a token. It changes nothing that runs. The default
// socket, which nobody asked for, may fail with a warning. What cannot be opened is told of at once, joined.
func (s *Server) Prepare(spec conf.Admin, token *Token) (*Change, error) {
	c := &Change{server: s, token: token, opened: map[string]*apiListener{}, wanted: map[string]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	for _, at := range spec.Listen {
		name := at.String()
		c.wanted[name] = true
		if s.listeners[name] != nil {
			continue
		}
		d, err := s.openListener(at)
		switch {
		case err == nil:
			c.opened[name] = d
		case spec.Explicit:
			failed = append(failed, err)
		default:
			s.log.Warn("no admin socket", "error", err)
		}
	}
	if len(failed) > 0 {
		c.Discard()
		return nil, errors.Join(failed...)
	}
	return c, nil
}

// Discard closes what was opened.
func (c *Change) Discard() {
	for _, d := range c.opened {
		d.ln.Close()
		if !d.inherited {
			d.remove()
		}
	}
}

// Commit serves at the new addresses and no longer at those that are not wanted. It cannot fail.
func (c *Change) Commit() {
	s := c.server
	s.token.Store(c.token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil { // closed
		c.Discard()
		return
	}
	for name, d := range s.listeners {
		if !c.wanted[name] {
			delete(s.listeners, name)
			s.work.Go(d.close)
		}
	}
	for name, d := range c.opened {
		s.listeners[name] = d
		d.inherited, d.pausable = false, newPausableListener(d.ln)
		ln := limitClients(d.pausable, maxClients)
		d.limited = ln
		d.server = &http.Server{
			ConnState:         ln.trackState,
			Handler:           s.authorize(d.ln.Addr().Network() != "unix"),
			ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			MaxHeaderBytes: maxHeader,
			BaseContext:    func(net.Listener) context.Context { return s.ctx },
			ErrorLog:       discardLog(),
		}
		s.work.Go(func() { d.server.Serve(ln) })
	}
}

// openListener opens an address, or takes the socket that another process had there.
func (s *Server) openListener(at conf.Address) (*apiListener, error) {
	if s.inherit != nil {
		if f := s.inherit(at.String()); f != nil {
			defer f.Close()
			ln, err := net.FileListener(f)
			if err != nil {
				return nil, err
			}
			return &apiListener{address: at.String(), ln: ln, remove: unlinkUnlessReplaced(at.Path), inherited: true}, nil
		}
	}
	if at.Path != "" {
		return listenUnix(at)
	}
	var how net.ListenConfig
	how.SetMultipathTCP(false) // which would be the default
	ln, err := how.Listen(context.Background(), "tcp", at.Addr.String())
	if err != nil {
		return nil, err
	}
	return &apiListener{address: at.String(), ln: ln, remove: func() {}}, nil
}

// close lets requests under way finish for a moment. Who is connected and has asked for nothing is not waited for.
func (d *apiListener) close() {
	d.limited.closeIdle()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		d.server.Close()
	}
	d.remove()
}
