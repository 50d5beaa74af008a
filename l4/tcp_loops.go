package l4

// TCP sessions through several listeners of this process. One listener may lead to another, but not back to itself. Only
// sessions that dial the port of a listener are registered, so others pay for one look-up in a map.

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// hop is a listener that a session came through, and those before it.
type hop struct {
	ln     *Listener
	before *hop
	local  ownAddress // of the socket that dials; none = it has not dialed a listener's port
	to     ownAddress // the address that it dials
}

// passes reports whether a listener is among the hops.
func (h *hop) passes(ln *Listener) bool {
	for ; h != nil; h = h.before {
		if h.ln == ln {
			return true
		}
	}
	return false
}

// hopTable holds the hops of sessions by id, and by the address of the socket that dials. Several sockets may have one address: the
// kernel gives a port to connections with different destinations, also to those of other programs of the host.
type hopTable struct {
	dialed atomic.Int32 // entries of byAddress

	mu        sync.Mutex // held for one access
	byID      map[uint64]*hop
	byAddress map[ownAddress][]*hop
}

// set replaces the hop of a session; nil = none.
func (t *hopTable) set(id uint64, h *hop) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID, t.byAddress = map[uint64]*hop{}, map[ownAddress][]*hop{}
	}
	if old := t.byID[id]; old != nil {
		delete(t.byID, id)
		if left := slices.DeleteFunc(t.byAddress[old.local], func(o *hop) bool { return o == old }); len(left) > 0 {
			t.byAddress[old.local] = left
		} else {
			delete(t.byAddress, old.local)
		}
	}
	if h != nil {
		t.byID[id] = h
		if h.local != (ownAddress{}) {
			t.byAddress[h.local] = append(t.byAddress[h.local], h)
		}
	}
	t.dialed.Store(int32(len(t.byAddress)))
}

// get returns the hop of a session, or nil.
func (t *hopTable) get(id uint64) *hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// find returns the hop of the session of this process that an accepted connection comes from, or nil. A connection has the source
// and the destination of the socket that dials, or had it before the host has redirected it.
func (t *hopTable) find(c *acceptedClient) *hop {
	if t.dialed.Load() == 0 || !c.addr.IsValid() {
		return nil
	}
	ip := c.addr.Addr().As16()
	from := makeOwnAddress(&ip, c.addr.Port())
	t.mu.Lock()
	any := len(t.byAddress[from]) > 0
	t.mu.Unlock()
	if !any {
		return nil
	}
	at, redirected := ownAddressOf(c.fd), originalDestination(c.fd)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.byAddress[from] {
		if h.to == at || h.to == redirected && redirected != (ownAddress{}) {
			return h
		}
	}
	return nil
}

// setHop registers the listener of a session that comes from another session of this process, or dials the port of a
// listener with the socket fd; fd < 0 = it does not dial.
func (s *session) setHop(l *loop, before *hop, fd int32, to netip.AddrPort) {
	h := &hop{ln: s.listener, before: before}
	if fd >= 0 {
		h.local = ownAddressOf(fd)
		ip := to.Addr().As16()
		h.to = makeOwnAddress(&ip, to.Port())
	}
	l.plane.hops.set(s.id, h)
	s.hasHop = true
}

// dialHop registers the socket that dials, if its destination has the port of a listener.
func (s *session) dialHop(l *loop, to *rawAddr) {
	at := to.ip()
	if !at.IsValid() || len(l.plane.tcpPorts.at(at.Port())) == 0 {
		return
	}
	var before *hop
	if s.hasHop {
		before = l.plane.hops.get(s.id).before
	}
	s.setHop(l, before, s.server.fd, at)
}

func (s *session) removeHop(l *loop) {
	if s.hasHop {
		s.hasHop = false
		l.plane.hops.set(s.id, nil)
	}
}
