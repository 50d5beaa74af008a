package admin

// The addresses of the API. Prepare opens them and may fail; Commit puts them in use and cannot fail.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"weir/conf"
)

// apiListener is one address of the API.
type apiListener struct {
	address   string
	tcp       bool
	guard     atomic.Pointer[Guard] // in force until the address is closed; set by Commit
	grants    grants                // under guard
	ln        net.Listener
	server    *http.Server      // nil until Commit
	pausable  *pausableListener // nil until Commit
	limited   *limitedListener  // nil until Commit
	path      string            // of a unix socket; "" = TCP
	remove    func()            // removes the file of a unix socket
	inherited bool              // from the old process and not yet in use: the old process owns its file
}

// Limits of a client.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	closePatience = time.Second
)

// Change is a prepared set of addresses. The new ones are open and not yet served.
type Change struct {
	server *Server
	guard  *Guard
	opened map[string]*apiListener
	wanted map[string]bool
}

// Prepare opens the addresses that are not open yet, without visible effect. guard is for clients on TCP addresses. The
// error joins all addresses that cannot be opened. The default socket is not required: if it cannot be opened, Prepare logs a
// warning.
func (s *Server) Prepare(spec conf.Admin, guard *Guard) (*Change, error) {
	c := &Change{server: s, guard: guard, opened: map[string]*apiListener{}, wanted: map[string]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	for _, at := range spec.Listen {
		name := at.String()
		c.wanted[name] = true
		if l := s.listeners[name]; l != nil && !l.fileLost() {
			continue
		}
		l, err := s.openListener(at)
		switch {
		case err == nil:
			c.opened[name] = l
		case spec.Explicit:
			failed = append(failed, err)
		default:
			s.log.Warn("default admin socket not available", "error", err)
		}
	}
	if len(failed) > 0 {
		c.Discard()
		return nil, errors.Join(failed...)
	}
	return c, nil
}

// Discard closes the new addresses.
func (c *Change) Discard() {
	for _, l := range c.opened {
		l.ln.Close()
		if !l.inherited {
			l.remove()
		}
	}
}

// Commit closes the addresses that are not in the set and serves the new ones. When it returns, a closed address can be opened
// again; its current requests are still served, under its guard.
func (c *Change) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil { // closed
		c.Discard()
		return
	}
	for name, l := range s.listeners {
		if !c.wanted[name] {
			delete(s.listeners, name)
			l.stopListening()
			s.work.Go(l.close)
			continue
		}
		old := l.guard.Swap(c.guard)
		l.grants.revoke(c.guard)
		if old.tls != c.guard.tls && l.tcp {
			l.limited.closeIdle() // they would be refused
		}
	}
	for name, l := range c.opened {
		if lost := s.listeners[name]; lost != nil { // its file was removed
			lost.remove = func() {}
			s.work.Go(lost.close)
		}
		s.listeners[name] = l
		l.inherited, l.pausable = false, newPausableListener(l.ln)
		l.guard.Store(c.guard)
		ln := limitClients(l.pausable, s.weir.APIClients, l.tls)
		l.limited = ln
		l.server = &http.Server{
			ConnContext:       withConn,
			ConnState:         connState,
			Handler:           s.authorize(l),
			ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			MaxHeaderBytes: maxHeader,
			BaseContext:    func(net.Listener) context.Context { return s.ctx },
			ErrorLog:       discardLog(),
		}
		s.work.Go(func() { l.server.Serve(ln) })
	}
}

// tls returns the TLS settings of new connections, or nil.
func (l *apiListener) tls() *tls.Config {
	if !l.tcp {
		return nil
	}
	return l.guard.Load().tls
}

// openListener opens an address, or takes over the socket of the old process.
func (s *Server) openListener(at conf.Address) (*apiListener, error) {
	lost := at.Path != "" && (&apiListener{path: at.Path}).fileLost()
	if s.inherit != nil && !lost {
		if f := s.inherit(at.String()); f != nil {
			defer f.Close()
			ln, err := net.FileListener(f)
			if err != nil {
				return nil, err
			}
			setOptions(ln)
			return &apiListener{address: at.String(), tcp: at.Path == "", path: at.Path, ln: ln, remove: unlinkUnlessReplaced(at.Path), inherited: true}, nil
		}
	}
	if at.Path != "" {
		return s.listenUnix(at)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the default is true
	ln, err := lc.Listen(context.Background(), "tcp", at.Addr.String())
	if errors.Is(err, syscall.EACCES) && at.Addr.Port() < 1024 {
		return nil, fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE", err)
	}
	if err != nil {
		return nil, err
	}
	setOptions(ln)
	if bound, ok := ln.Addr().(*net.TCPAddr); ok && bound.IP.To4() != nil && at.Addr.Addr().Is6() {
		s.log.Warn("IPv6 is not available: listening at all IPv4 addresses", "address", at.String()) // package net does so
	}
	return &apiListener{address: at.String(), tcp: true, ln: ln, remove: func() {}}, nil
}

const (
	// deferSeconds is how long the kernel waits for the first bytes of a client.
	deferSeconds = 3
	// unsentLimit is how many bytes the kernel holds of a response beside those that are on their way to the client.
	unsentLimit = 64 << 10
	// tcpNotSentLowat is TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall lacks.
	tcpNotSentLowat = 25
)

// setOptions makes the kernel keep a client of a TCP address until its first bytes have arrived (TCP_DEFER_ACCEPT): a client
// that connects and sends nothing takes no place, and one that is slow to send loses none. And it bounds what the kernel holds for a
// client that does not read (TCP_NOTSENT_LOWAT): writes show whether a client reads, and memory is held where it is counted.
func setOptions(ln net.Listener) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return
	}
	if socket, err := tcp.SyscallConn(); err == nil {
		socket.Control(func(fd uintptr) { // without them, clients only take places earlier and longer
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, deferSeconds)
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentLimit)
		})
	}
}

// stopListening frees the address. Requests on its connections continue.
func (l *apiListener) stopListening() {
	l.limited.Close()
	l.remove()
	l.remove = func() {} // another process may have the file by the time of close
}

// close stops accepting and waits up to closePatience for current requests, and for the first ones of new clients.
func (l *apiListener) close() {
	l.limited.Close()
	l.limited.drain()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		l.server.Close()
	}
	l.remove()
}
