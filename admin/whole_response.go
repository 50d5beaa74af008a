package admin

// Responses that are built in memory, such as the status of thousands of servers. Their memory is bounded in total, whether their
// clients read them or not.

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// maxUnread limits the bytes of the responses of one pool that are not written yet. One larger response is written alone.
	maxUnread = 16 << 20
	// smallResponse is the size up to which a response needs no room: those of all clients together have less than maxUnread.
	smallResponse = 32 << 10
	// roomTimeout is how long a request waits until its response can be built and has room.
	roomTimeout = 5 * time.Second
	// slowResponse is the time after which a response gives way to others although its client reads it.
	slowResponse = 5 * time.Second
	chunkSize    = 64 << 10
)

// wholeResponse is a response in memory.
type wholeResponse struct {
	header http.Header // of the response that it becomes
	code   int
	chunks [][]byte // of at most chunkSize
	size   int
}

func (b *wholeResponse) Header() http.Header { return b.header }

func (b *wholeResponse) WriteHeader(code int) { b.code = code }

// Write appends p to the response.
func (b *wholeResponse) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		last := len(b.chunks) - 1
		if last < 0 || len(b.chunks[last]) == cap(b.chunks[last]) {
			b.chunks = append(b.chunks, make([]byte, 0, min(len(rest), chunkSize)))
			last++
		}
		n := min(len(rest), cap(b.chunks[last])-len(b.chunks[last]))
		b.chunks[last] = append(b.chunks[last], rest[:n]...)
		rest = rest[n:]
	}
	b.size += len(p)
	return len(p), nil
}

// responsePool bounds the memory of the responses of some clients.
type responsePool struct {
	building chan struct{} // has an element while a response is built, and waits for room
	freed    chan struct{} // signals room

	mu      sync.Mutex
	unread  int               // bytes of writing
	writing []*unreadResponse // guarded by mu, like unread; in the order in which they began
}

// unreadResponse is a response that is being written.
type unreadResponse struct {
	conn  *limitedConn
	began time.Time
	bytes int  // not written yet
	cut   bool // it gives way
}

func newResponsePool() *responsePool {
	return &responsePool{building: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

// whole returns a handler that builds the response of do in memory, once there is room, and then writes it. Clients that may only
// read share one pool, so that they keep no room from the others.
func (s *Server) whole(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, pool := connOf(r), s.fullResponses
		if conn.reader.Load() {
			pool = s.readResponses
		}
		b := &wholeResponse{header: w.Header(), code: http.StatusOK}
		u, ok := pool.build(conn, b, r, do)
		if !ok {
			if r.Context().Err() == nil {
				s.refusals.add(s.log, "busy", conn.LocalAddr().String(), conn.peer())
			}
			w.Header().Set("Retry-After", retryAfter)
			writeError(w, http.StatusServiceUnavailable, "", "too many responses wait for their clients")
			return
		}
		defer pool.done(u)
		w.Header().Set("Content-Length", strconv.Itoa(b.size))
		w.WriteHeader(b.code)
		if r.Method == http.MethodHead {
			return
		}
		for i, chunk := range b.chunks {
			b.chunks[i] = nil
			if _, err := w.Write(chunk); err != nil { // the client has gone
				return
			}
			pool.wrote(u, len(chunk))
		}
	}
}

// retryAfter is the Retry-After of responses that find no room, in seconds.
const retryAfter = "1"

// build builds a response when no other one is built, and waits until it has room. It reports false if that takes too long.
func (p *responsePool) build(conn *limitedConn, b *wholeResponse, r *http.Request, do http.HandlerFunc) (*unreadResponse, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), roomTimeout)
	defer cancel()
	select {
	case p.building <- struct{}{}:
		defer func() { <-p.building }()
	case <-ctx.Done():
		return nil, false
	}
	do(b, r)
	u := &unreadResponse{conn: conn}
	if b.size <= smallResponse || r.Method == http.MethodHead {
		return u, true
	}
	u.bytes = b.size
	tick := time.NewTicker(writeSlice)
	defer tick.Stop()
	for !p.add(u) {
		select {
		case <-p.freed:
		case <-tick.C:
		case <-ctx.Done():
			return nil, false
		}
	}
	return u, true
}

// add adds a response if it has room. Otherwise another one gives way, if it has stalled or takes long.
func (p *responsePool) add(u *unreadResponse) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unread == 0 || p.unread+u.bytes <= maxUnread {
		u.began = time.Now()
		p.unread += u.bytes
		p.writing = append(p.writing, u)
		return true
	}
	if slow := p.slowest(); slow != nil && !slow.cut {
		slow.cut = true
		slow.conn.cut()
	}
	return false
}

// slowest returns the response that gives way, or nil. mu must be held.
func (p *responsePool) slowest() (slow *unreadResponse) {
	most := int32(memoryGrace - 1)
	for _, u := range p.writing {
		if u.cut {
			return u
		}
		if n := u.conn.stalled.Load(); n > most {
			slow, most = u, n
		}
	}
	if slow == nil && len(p.writing) > 0 && time.Since(p.writing[0].began) > slowResponse {
		slow = p.writing[0]
	}
	return slow
}

// wrote frees the room of the next n bytes of a response.
func (p *responsePool) wrote(u *unreadResponse, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.began.IsZero() { // it needed no room
		return
	}
	u.bytes -= n
	p.unread -= n
	p.signal()
}

// done frees the room of a response that is written, or whose client has gone.
func (p *responsePool) done(u *unreadResponse) {
	p.wrote(u, u.bytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = slices.DeleteFunc(p.writing, func(other *unreadResponse) bool { return other == u })
}

// signal wakes the response that waits for room.
func (p *responsePool) signal() {
	select {
	case p.freed <- struct{}{}:
	default:
	}
}
