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
	Hurry context.Context

	// Activated are listening sockets that the process was started with. Those that the configuration has no use for are
	// told of and closed.
	Activated []*l4.ActivatedSocket

	// Predecessor is the process that hands over to this one; nil = there is none. With one, Start gets everything ready,
	// and TakeOver begins.
	Predecessor *Predecessor
}

// Engine is a running weir. Its methods may be called from any goroutine; changes are made one after the other.
type Engine struct {
	// Immutable after Start.
	log        *slog.Logger
	plane      *l4.Plane
	runner     *checks.Runner
	sessionLog *recorder
	hooks      *hooks.Set
	ask        lookup
	hurry      context.Context // once it ends, no start and no reload waits for names
	renamed    chan struct{}   // holds one: the names to resolve, or when, may have changed
	rerouted   chan struct{}   // holds one: the ways back that are needed may have changed
	ctx        context.Context
	cancel     context.CancelFunc
	work       sync.WaitGroup // goroutines of the engine

	running atomic.Pointer[runningState] // what runs; read by anyone
	cuts    orders[*balance.Server]      // whose sessions are to be cut
	doubts  orders[checks.Key]           // servers to be checked at once, by all their checks

	results sync.RWMutex // held for reading while a check's result is taken

	farewells farewells
	seen      observed
	journal   stateFile

	oldProcess *Predecessor // immutable; nil = none
	waiting    *change      // what TakeOver will commit
	newProcess *successor   // who has taken over; set before Leave

	// Guarded by mu, which is held for the length of a change.
	mu        sync.Mutex
	listeners map[string]*l4.Listener // by identity: protocol and address
	gates     gates
	announced announced
	activated map[string]*l4.ActivatedSocket // by identity; those that no listener has claimed; empty after Start
	levels    levelKeys
	routes    *route.Routes
	stopped   bool
	file      *conf.Config    // what the file says, without what was changed at run time
	members   overlay.Overlay // what was changed at run time
	earlier   *state.Snapshot // until the first configuration is in force: what an earlier process knew
}

// runningState is what runs at a moment. It is immutable; a change puts another in its place.
type runningState struct {
	cfg      *conf.Config    // the file's, with what was changed at run time laid over it
	members  overlay.Overlay // what was
	known    addresses
	replies  map[route.ReplyRoute]bool // the ways back that servers need which are dialled from their clients' addresses
	clusters map[string]*balance.Cluster
	jobs     map[checks.Key]*job
	mortal   []checks.Key // of agents whose words have a ttl
}

// Start makes a configuration run. When it returns an error nothing is left running.
func Start(cfg *conf.Config, o Options) (*Engine, error) {
	e := &Engine{log: o.Log, ask: o.Lookup, listeners: map[string]*l4.Listener{}, oldProcess: o.Predecessor}
	begin := &runningState{}
	if e.oldProcess != nil && e.oldProcess.state != nil {
		begin.known = e.oldProcess.state.Known // what a name stood for goes on to hold while nobody can resolve it
	}
	e.running.Store(begin)
	e.seen.version, e.seen.began = o.Version, time.Now()
	e.seen.config = status.Config{File: cfg.File, LoadedAt: e.seen.began}
	e.cuts, e.doubts = newOrders[*balance.Server](), newOrders[checks.Key]()
	e.renamed, e.rerouted = make(chan struct{}, 1), make(chan struct{}, 1)
	e.journal.wake, e.journal.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	if e.ask == nil {
		e.ask = systemLookup
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.hurry = o.Hurry; e.hurry == nil {
		e.hurry = context.Background()
	}
	e.sessionLog = newRecorder(o.Sessions, func() bool { cfg := e.running.Load().cfg; return cfg != nil && cfg.Log.Format == "json" })
	e.hooks = hooks.New(o.Log)
	e.seen.eventLog.hooks = e.hooks
	var err error
	how := l4.Options{Loops: cfg.Runtime.Loops, Record: e.sessionLog.put, Log: o.Log}
	if e.oldProcess != nil && e.oldProcess.state != nil {
		how.Origin, how.LastID = l4.Origin(e.oldProcess.state.Anchor), e.oldProcess.state.LastID
	}
	e.plane, err = l4.Open(how)
	if err != nil {
		e.cancel()
		e.hooks.Close()
		e.sessionLog.close()
		return nil, err
	}
	e.routes = route.Open()
	e.runner = checks.NewRunner(checks.Options{Result: e.checked, State: e.checkState, Parallel: parallelChecks(l4.DescriptorLimit())})
	switch e.earlier = o.Memory; {
	case e.oldProcess != nil && e.oldProcess.state != nil:
		e.earlier = &e.oldProcess.memory
	case e.earlier == nil:
		e.earlier = e.readState(cfg.Runtime.StateFile)
	}
	if e.earlier != nil {
		var lost error
		if e.members, lost = overlay.Restore(e.earlier, cfg); lost != nil {
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
		e.begin()
	}
	return e, nil
}

// begin starts what goes on by itself.
func (e *Engine) begin() {
	e.work.Go(e.keepTime)
	e.work.Go(e.keepState)
	e.work.Go(e.resolveAgain)
	e.work.Go(e.keepRoutes)
	e.work.Go(e.cutDown)
	e.work.Go(e.recheck)
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
	defer context.AfterFunc(ctx, func() { e.hooks.ShortenDrain(cutPatience) })()
	e.seen.stopping.Store(true)
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
	cut := e.cutRest()
	e.close()
	return cut
}

// cutRest cuts the sessions that are left, and returns how many there were.
func (e *Engine) cutRest() int {
	if e.plane.Sessions() == 0 {
		return 0
	}
	cut := e.plane.Cut(func(l4.SessionIdentity) bool { return true }, l4.CutShutdown)
	e.flush()
	return cut
}

// flush gives sessions that were cut the moment that their last bytes may take.
func (e *Engine) flush() {
	limit := time.NewTimer(cutPatience)
	defer limit.Stop()
	for e.plane.Sessions() > 0 {
		select {
		case <-e.plane.Idle():
		case <-limit.C:
			return
		}
	}
}

// cutPatience is longer than the data plane waits for the bytes of a session that was cut, and what hooks get of a stop that
// is to be at once.
const cutPatience = 75 * time.Millisecond

func (e *Engine) close() {
	e.cancel()
	e.runner.Close()
	e.farewells.stop()
	e.work.Wait()
	e.seen.leave()
	e.plane.Close()
	e.hooks.Close() // after the last event
	e.routes.Close()
	e.sessionLog.close()
}
