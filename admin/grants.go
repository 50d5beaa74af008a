package admin

// Requests that are being served end when a new configuration no longer permits them: an event stream lasts as long as its
// client wants.

import (
	"context"
	"net/http"
	"sync"
)

// grants are the reading requests that an address serves.
type grants struct {
	mu  sync.Mutex
	all map[*grant]struct{}
}

// grant is the permission of one request.
type grant struct {
	request *http.Request
	conn    *limitedConn
	may     access // noAccess until the request is authorized
	end     context.CancelFunc
}

// add adds a request that reads, before it is authorized, so that no change of the guard is missed. It returns the request with
// a context that revoke ends, and the function that removes it.
func (g *grants) add(r *http.Request, conn *limitedConn) (*http.Request, *grant, func()) {
	ctx, end := context.WithCancel(r.Context())
	r = r.WithContext(ctx)
	one := &grant{request: r, conn: conn, end: end}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[*grant]struct{}{}
	}
	g.all[one] = struct{}{}
	return r, one, func() {
		g.mu.Lock()
		delete(g.all, one)
		g.mu.Unlock()
		end()
	}
}

// permit records what a request may do.
func (g *grants) permit(one *grant, may access) {
	g.mu.Lock()
	one.may = may
	g.mu.Unlock()
}

// revoke ends the requests that a guard refuses or permits something else.
func (g *grants) revoke(guard *Guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for one := range g.all {
		if may, no := guard.check(one.request); no != nil || one.may != noAccess && may != one.may || !guard.sameClients(one.conn.tls) {
			one.end()
		}
	}
}
