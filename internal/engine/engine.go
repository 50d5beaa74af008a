package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/hooks"
	"weir/internal/overlay"
	"weir/internal/route"
	"weir/internal/sessionlog"
	"weir/internal/state"
	"weir/internal/status"
	"weir/l4"
)

// Options are what an Engine is made with.
type Options struct {
	Log      *slog.Logger            // must not block
	Sessions func(lines []byte) bool // takes session records, whole lines, unless there is no room for them; must not block. nil = nowhere
	Version  string                  // for those who look on

	// Memory is what an earlier process knew, for this one to go on with; nil = what runtime.state_file holds, if there
	// is such a file.
	Memory *state.Snapshot

	// Lookup resolves host names; nil = the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// Hurry, once it ends, has starts and reloads wait for no name any more; nil = they always do.
	SkipLookups context.Context

	// Activated are listening sockets that the process was started with. Those that the configuration has no use for are
	// told of and closed.
	Activated []*l4.ActivatedSocket

	// OldProcess is the process of an upgrade that this one takes over from; nil = none. With one, Start only prepares, and
	// TakeOver starts to serve.
	OldProcess *OldProcess
}

// Engine is a running weir. Its methods may be called from any goroutine; changes are made one after the other.
type Engine struct {
	// Immutable after Start.
	log           *slog.Logger
	plane         *l4.Plane
	runner        *checks.Runner
	sessionLog    *sessionlog.Writer
	hooks         *hooks.Set
	lookup        lookupFunc
	skipLookups   context.Context // once it ends, no start and no reload waits for names
	namesChanged  chan struct{}   // holds one: the names to resolve, or when, may have changed
	routesChanged chan struct{}   // holds one: the ways back that are needed may have changed
	ctx           context.Context
	cancel        context.CancelFunc
	work          sync.WaitGroup // goroutines of the engine

	running          atomic.Pointer[runningState] // what runs; read by anyone
	serversToCut     pendingSet[*balance.Server]  // whose sessions are to be cut
	serversToRecheck pendingSet[checks.Key]       // servers to be checked at once, by all their checks

	resultsMu sync.RWMutex // held for reading while a check's result is taken

	drains    drainTimers
	published published
	journal   stateFile

	oldProcess *oldProcess // what this process takes over from; immutable; nil = none
	newProcess *newProcess // what takes over from this process; set by Upgrade

	// Guarded by mu, which is held for the length of a change.
	mu         sync.Mutex
	listeners  map[string]*l4.Listener // by identity: protocol and address
	admissions admissionStates
	logged     loggedBudget
	activated  map[string]*l4.ActivatedSocket // by identity; those that no listener has claimed; empty after Start
	levels     levelKeys
	routes     *route.Routes
	stopped    bool
	file       *conf.Config    // what the file says, without what was changed at run time
	overlay    overlay.Overlay // what was changed at run time
	restored   *state.Snapshot // until the first configuration is in force: what an earlier process knew
}

// runningState is what runs at a moment. It is immutable; a change puts another in its place.
type runningState struct {
	cfg         *conf.Config    // the file's, with what was changed at run time laid over it
	overlay     overlay.Overlay // what was
	addresses   addresses
	replyRoutes map[route.ReplyRoute]bool // the ways back that servers need which are dialled from their clients' addresses
	clusters    map[string]*balance.Cluster
	jobs        map[checks.Key]*job
	expiring    []checks.Key // of agents whose words have a ttl
}

// Start makes a configuration run. When it returns an error nothing is left running.
func Start(cfg *conf.Config, o Options) (*Engine, error) {
	e := &Engine{log: o.Log, lookup: o.Lookup, listeners: map[string]*l4.Listener{}}
	begin := &runningState{}
	var transferred *transferredState
	if o.OldProcess != nil {
		e.oldProcess = &oldProcess{OldProcess: o.OldProcess}
		if err := e.oldProcess.decodeState(); err != nil {
			return nil, err
		}
		transferred = e.oldProcess.state
	}
	if transferred != nil {
		begin.addresses = transferred.Addresses // valid until the names are resolved again
	}
	e.running.Store(begin)
	e.published.version, e.published.startedAt = o.Version, time.Now()
	e.published.config = status.Config{File: cfg.File, LoadedAt: e.published.startedAt}
	e.serversToCut, e.serversToRecheck = newPendingSet[*balance.Server](), newPendingSet[checks.Key]()
	e.namesChanged, e.routesChanged = make(chan struct{}, 1), make(chan struct{}, 1)
	e.journal.wake, e.journal.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	if e.lookup == nil {
		e.lookup = systemLookup
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.skipLookups = o.SkipLookups; e.skipLookups == nil {
		e.skipLookups = context.Background()
	}
	e.sessionLog = sessionlog.NewWriter(o.Sessions, func() bool { cfg := e.running.Load().cfg; return cfg != nil && cfg.Log.Format == "json" })
	e.hooks = hooks.New(o.Log)
	e.published.eventLog.hooks = e.hooks
	var err error
	how := l4.Options{Loops: cfg.Runtime.Loops, Record: e.sessionLog.Write, Log: o.Log}
	if transferred != nil {
		how.Origin, how.LastID = l4.Origin(transferred.ClockOrigin), transferred.LastSessionID
	}
	e.plane, err = l4.Open(how)
	if err != nil {
		e.cancel()
		e.hooks.Close()
		e.sessionLog.Close()
		return nil, err
	}
	e.routes = route.Open()
	e.runner = checks.NewRunner(checks.Options{Result: e.handleResult, State: e.checkState, Parallel: parallelChecks(l4.DescriptorLimit())})
	switch e.restored = o.Memory; {
	case transferred != nil:
		e.restored = &e.oldProcess.saved
	case e.restored == nil:
		e.restored = e.readState(cfg.Runtime.StateFile)
	}
	if e.restored != nil {
		var lost error
		if e.overlay, lost = overlay.Restore(e.restored, cfg); lost != nil {
			e.log.Warn("state: some changes of run time are lost", "error", lost)
		}
	}
	e.activated = map[string]*l4.ActivatedSocket{}
	for _, a := range o.Activated {
		id := listenerID(a.Protocol, a.At)
		if e.activated[id] != nil {
			a.Close() // another socket of a group: one serves all
			continue
		}
		e.activated[id] = a
	}
	err = e.apply(cfg)
	for id, a := range e.activated {
		if err == nil {
			e.log.Warn("a socket of the service manager is used by no listener: closed", "socket", id)
		}
		a.Close()
	}
	e.activated = nil
	if err != nil {
		e.close()
		return nil, err
	}
	if e.oldProcess == nil {
		e.saveState() // here, so that a file that cannot be written is told before anything else is
		e.startBackground()
	}
	return e, nil
}

// startBackground starts what goes on by itself.
func (e *Engine) startBackground() {
	e.work.Go(e.tickClusters)
	e.work.Go(e.keepState)
	e.work.Go(e.resolvePeriodically)
	e.work.Go(e.maintainRoutes)
	e.work.Go(e.cutPending)
	e.work.Go(e.recheckPending)
}

// ErrStopped is returned by changes after Stop.
var ErrStopped = errors.New("weir is stopping")

// Reload goes over to another configuration, wholly or not at all.
func (e *Engine) Reload(cfg *conf.Config) error { return e.apply(cfg) }

// Sessions is how many there are.
func (e *Engine) Sessions() int { return e.plane.Sessions() }

// Stop accepts no more clients, lets the sessions finish until ctx ends or drain_timeout is over, cuts those that are
// left, and ends everything. It returns how many were cut.
func (e *Engine) Stop(ctx context.Context) int {
	defer context.AfterFunc(ctx, func() { e.hooks.ShortenDrain(cutTimeout) })()
	e.published.stopping.Store(true)
	e.mu.Lock()
	e.stopped = true
	listeners := e.listeners
	e.listeners = nil
	e.mu.Unlock()
	for _, ln := range listeners {
		ln.Stop()
	}
	return e.drain(ctx)
}

// drain lets the sessions finish until ctx ends or drain_timeout is over, cuts those that are left, and ends everything.
func (e *Engine) drain(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, e.running.Load().cfg.Runtime.DrainTimeout)
	defer cancel()
	for e.plane.Sessions() > 0 && ctx.Err() == nil {
		select {
		case <-e.plane.Idle():
		case <-ctx.Done():
		}
	}
	cut := e.cutAll()
	e.close()
	return cut
}

// cutAll cuts the sessions that are left, and returns how many there were.
func (e *Engine) cutAll() int {
	if e.plane.Sessions() == 0 {
		return 0
	}
	cut := e.plane.Cut(func(l4.SessionIdentity) bool { return true }, l4.ReasonCutShutdown)
	e.awaitCut()
	return cut
}

// awaitCut gives sessions that were cut the moment that their last bytes may take.
func (e *Engine) awaitCut() {
	limit := time.NewTimer(cutTimeout)
	defer limit.Stop()
	for e.plane.Sessions() > 0 {
		select {
		case <-e.plane.Idle():
		case <-limit.C:
			return
		}
	}
}

// cutTimeout is longer than the data plane waits for the bytes of a session that was cut, and what hooks get of a stop that
// is to be at once.
const cutTimeout = 75 * time.Millisecond

func (e *Engine) close() {
	e.cancel()
	e.runner.Close()
	e.drains.stop()
	e.work.Wait()
	e.published.closeLoops()
	e.plane.Close()
	e.hooks.Close() // after the last event
	e.routes.Close()
	e.sessionLog.Close()
}
