package admin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
)

// Server serves the API at the addresses that Prepare opens and Commit puts in use.
type Server struct {
	log    *slog.Logger // immutable
	weir   Weir         // immutable after Start
	routes http.Handler // immutable after Start
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // one for each address

	token atomic.Pointer[token]

	mu    sync.Mutex
	doors map[string]*door // guarded by mu; by address
}

// New returns a server without addresses. log must not block.
func New(log *slog.Logger) *Server {
	s := &Server{log: log, doors: map[string]*door{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.token.Store(&token{})
	return s
}

// Start says whom the API is about. It comes before the first Commit, and once.
func (s *Server) Start(w Weir) {
	s.weir = w
	s.routes = s.table()
}

// Close ends streams, lets other requests finish for a moment, closes the addresses and returns when all has ended.
func (s *Server) Close() {
	s.cancel()
	s.mu.Lock()
	for _, d := range s.doors {
		s.work.Go(d.close)
	}
	s.doors = nil
	s.mu.Unlock()
	s.work.Wait()
}

// table is what answers at which path.
func (s *Server) table() http.Handler {
	mux := http.NewServeMux()
	for path, m := range map[string]methods{
		"/healthz":               {http.MethodGet: s.healthy},
		"/readyz":                {http.MethodGet: s.ready},
		"/v1/status":             {http.MethodGet: s.status},
		"/v1/clusters":           {http.MethodGet: s.clusters},
		"/v1/clusters/{cluster}": {http.MethodGet: s.cluster},
	} {
		mux.Handle(path, m)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "", "nothing here; the API is under /v1")
	})
	return mux
}

// methods are what may be done at one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if do := m[method]; do != nil {
		do(w, r)
		return
	}
	w.Header().Set("Allow", m.allowed())
	fail(w, http.StatusMethodNotAllowed, "", "want "+m.allowed()+", got "+r.Method)
}
