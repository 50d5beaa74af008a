package admin

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/status"
)

// Server serves the API on the addresses that Prepare opens and Commit puts in use.
type Server struct {
	log                *slog.Logger                  // immutable
	sockets            UnixSockets                   // immutable
	weir               Weir                          // immutable after Start
	inherit            func(address string) *os.File // immutable after Inherit; nil = no old process
	routes             http.Handler                  // immutable after Start
	page               *dashboardPage                // immutable
	streamWriteTimeout time.Duration                 // of the event stream; immutable after Prepare
	ctx                context.Context
	cancel             context.CancelFunc
	work               sync.WaitGroup // one per address

	streams  atomic.Int64  // open event streams
	plans    chan struct{} // one element per running plan
	missed   atomic.Uint64 // events that stream clients have missed
	refusals refusals

	readResponses *responsePool // of clients that may only read; immutable
	fullResponses *responsePool // of the others; immutable

	mu        sync.Mutex
	listeners map[string]*apiListener // guarded by mu; by address
}

// New returns a server without addresses. log must not block.
func New(log *slog.Logger, sockets UnixSockets) *Server {
	s := &Server{log: log, sockets: sockets, listeners: map[string]*apiListener{}, plans: make(chan struct{}, maxPlans),
		page: newDashboard(), streamWriteTimeout: writeTimeout, readResponses: newResponsePool(), fullResponses: newResponsePool()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Start sets the Weir that the API serves. It must be called once, before the first Commit.
func (s *Server) Start(w Weir) {
	s.weir = w
	s.routes = router(s.endpoints())
}

// Close ends event streams, waits up to closePatience for other requests, closes the addresses and waits for all goroutines.
func (s *Server) Close() {
	s.cancel()
	s.mu.Lock()
	for _, d := range s.listeners {
		s.work.Go(d.close)
	}
	s.listeners = nil
	s.mu.Unlock()
	s.work.Wait()
}

// Short names of the HTTP methods, for the table of endpoints.
const (
	get, put, post, patch, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete
)

// endpoints returns the handlers by path and method.
func (s *Server) endpoints() map[string]methods {
	return map[string]methods{
		"/":                {get: s.getDashboard},
		"/healthz":         {get: s.healthy},
		"/readyz":          {get: s.ready},
		"/metrics":         {get: s.whole(s.metrics)},
		"/v1/openapi.yaml": {get: s.getOpenAPI},
		"/v1/status":       {get: s.whole(s.status)},
		"/v1/history":      {get: s.whole(s.history)},
		"/v1/events":       {get: s.events},
		"/v1/reload":       {post: withoutBody(s.reload)},
		"/v1/plan":         {post: s.plan},
		"/v1/stop":         {post: s.stop},
		"/v1/upgrade":      {post: withoutBody(s.upgrade)},
		"/v1/node/drain":   {post: s.drainNode},
		"/v1/node/ready":   {post: s.readyNode},

		"/v1/fleet":                 {get: s.whole(s.fleet)},
		"/v1/fleet/reset":           {post: withoutBody(s.resetFleet)},
		"/v1/fleet/config":          {get: s.whole(s.sharedConfig), post: s.applyShared},
		"/v1/fleet/config/rollback": {post: withoutBody(s.rollbackShared)},
		"/v1/fleet/config/reset":    {post: withoutBody(s.resetShared)},

		"/v1/fleet/clusters/{cluster}/follow": {post: withoutBody(s.followFleet)},

		"/v1/fleet/nodes/{node}/drain": {post: s.setFleetNode(status.NodeDrain)},
		"/v1/fleet/nodes/{node}/ready": {post: s.setFleetNode(status.NodeReady)},
		"/v1/fleet/nodes/{node}":       {del: withoutBody(s.forgetNode)},

		"/v1/sessions":      {get: s.whole(s.sessions)},
		"/v1/sessions/{id}": {del: withoutBody(s.cutSession)},

		"/v1/clusters":                     {get: s.whole(s.clusters)},
		"/v1/clusters/{cluster}":           {get: s.whole(s.cluster), put: s.putCluster, del: withoutBody(s.deleteCluster)},
		"/v1/clusters/{cluster}/discover":  {get: s.whole(s.discoveries)},
		"/v1/clusters/{cluster}/failback":  {post: withoutBody(s.failback)},
		"/v1/clusters/{cluster}/rebalance": {post: s.rebalance},
		"/v1/clusters/{cluster}/servers":   {post: s.postServer},

		"/v1/clusters/{cluster}/topology/reset": {post: withoutBody(s.resetTopology)},

		"/v1/clusters/{cluster}/servers/{server}":          {get: s.explain, patch: s.patchServer, del: withoutBody(s.deleteServer)},
		"/v1/clusters/{cluster}/servers/{server}/explain":  {get: s.explain},
		"/v1/clusters/{cluster}/servers/{server}/feedback": {post: s.feedback},
		"/v1/clusters/{cluster}/servers/{server}/restore":  {post: withoutBody(s.restoreServer)},
		"/v1/clusters/{cluster}/servers/{server}/sessions": {del: withoutBody(s.cutServer)},
	}
}

// router returns the endpoints as a handler. A path that is not clean (path.Clean) is not found, instead of redirected.
func router(table map[string]methods) http.Handler {
	mux := http.NewServeMux()
	for at, m := range table {
		if at == "/" {
			at = "/{$}" // this path only
		}
		mux.Handle(at, m)
	}
	notFound := func(w http.ResponseWriter) {
		writeError(w, http.StatusNotFound, "", "no such path; the API is under /v1")
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { notFound(w) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); path.Clean("/"+p) != p && p != "*" {
			notFound(w)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methods are the handlers of one path, by HTTP method.
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
	writeError(w, http.StatusMethodNotAllowed, "", "want "+m.allowed()+", got "+r.Method)
}
