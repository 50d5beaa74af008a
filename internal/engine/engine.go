package engine

import (
	"cmp"
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
	"weir/internal/history"
	"weir/internal/hooks"
	"weir/internal/overlay"
	"weir/internal/route"
	"weir/internal/sessionlog"
	"weir/internal/state"
	"weir/internal/status"
	"weir/internal/topology"
	"weir/l4"
)

// Options are what an Engine needs from outside.
type Options struct {
	Log      *slog.Logger            // must not block
	Sessions func(lines []byte) bool // takes whole lines of session records, or returns false if there is no room; must not block; nil = no records
	Version  string                  // for the status document
	Loops    int                     // event loops unless the configuration has runtime.loops; 0 = one per CPU

	// Monitors are those that Check has built for the configuration; nil = Start tests and builds.
	Monitors Monitors

	// SavedState is the saved state of an earlier process; nil = that of runtime.state_file, if there is one.
	SavedState *state.Snapshot

	// Lookup resolves host names; nil = the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// SkipLookups ends the look-ups that starts and reloads wait for; nil = they always wait.
	SkipLookups context.Context

	// Chown gives the files that the caller has opened to runtime.user; nil = none.
	Chown func(uid, gid int) error

	// Activated are listening sockets from the service manager. Those that no listener uses are logged and closed.
	Activated []*l4.ActivatedSocket

	// Topology prepares the source of a topology; nil = topology.Prepare.
	Topology func(conf.Topology) (topology.Source, error)

	// RollOuts takes part in the roll-outs of a fleet until ctx ends; nil = no part. It is called by another goroutine, maybe
	// before Start returns.
	RollOuts func(ctx context.Context, node FleetNode)

	// OldProcess is the old process of an upgrade; nil = none. With one, Start only prepares, and TakeOver serves.
	OldProcess *OldProcess
}

// Engine is a running weir. Its methods may be called from any goroutine; changes are made one after the other.
type Engine struct {
	// Immutable after Start.
	log         *slog.Logger
	plane       *l4.Plane
	runner      *checks.Runner
	sessionLog  *sessionlog.Writer
	hooks       *hooks.Set
	routes      *route.Routes
	oldProcess  *oldProcess // nil = none
	chown       func(uid, gid int) error
	lookup      lookupFunc
	rollOuts    func(context.Context, FleetNode) // nil = none
	skipLookups context.Context                  // ends the look-ups that starts and reloads wait for
	ctx         context.Context                  // of the background goroutines
	cancel      context.CancelFunc
	work        sync.WaitGroup // background goroutines

	// Signals to background goroutines; each holds one.
	namesChanged   chan struct{} // the names to resolve, or their intervals
	routesChanged  chan struct{} // the reply routes
	pacingBegan    chan struct{} // a cluster has begun to release held sessions one after the other
	membersChanged chan struct{} // the servers that topologies list
	unproven       unprovenEvents
	noise          clusterNoise

	// Safe for concurrent use.
	running          atomic.Pointer[runningState]
	published        published
	history          *history.History
	origin           atomic.Pointer[time.Time] // of the clock; see clock
	stateFile        *state.File
	drains           drains
	closings         closings
	serversToCut     pendingSet[serverToCut]
	serversToRecheck pendingSet[checks.Key] // by all their checks
	topologies       topologies
	memberHosts      memberHosts
	clustersToCut    pendingSet[string] // whose servers have lost roles
	failovers        failovers
	vips             vips
	promotion        kernelPromotion
	fleet            fleetLink
	limits           fleetLimits

	resultsMu sync.RWMutex // held for reading while a check result is handled

	// Guarded by mu, which is held during a change.
	mu         sync.Mutex
	listeners  map[string]*l4.Listener // by identity
	admissions admissionStates

	// Objects that have left and may still have sessions, which they take back if they return.
	retiredClusters   map[string]*balance.Cluster // by name
	retiredListeners  map[string]*l4.Listener     // by identity
	retiredAdmissions admissionStates

	levels  levelKeys
	logged  loggedBudget
	stopped bool

	activated  map[string]*l4.ActivatedSocket // by identity; not claimed yet; nil after Start
	savedState *state.Snapshot                // state of an earlier process; nil once it is restored
	pending    *reload                        // prepared by Start, committed by TakeOver
	newProcess *newProcess                    // set by Upgrade

	heldListeners map[string]*l4.Listener // UDP listeners that drain, by identity; only during an upgrade
}

// runningState is the configuration in force and its objects. It is immutable.
type runningState struct {
	file        *conf.Config    // as read
	overlay     overlay.Overlay // runtime changes on top of it
	cfg         *conf.Config    // the result; nil before the first commit
	monitors    Monitors
	addresses   addresses
	replyRoutes map[route.ReplyRoute]bool // needed
	discovered  discovered                // servers of cfg that topologies have found
	sources     map[string]preparedTopology
	providers   map[levelID]*provider
	provided    provided     // answers of providers that cfg contains
	found       foundServers // what became of them
	clusters    map[string]*balance.Cluster
	jobs        map[checks.Key]*job
	expiring    []checks.Key    // agent checks whose advice has a ttl
	quorum      map[string]bool // clusters whose verdict the fleet decides
}

// Start runs a configuration. On error nothing is left running.
func Start(cfg *conf.Config, o Options) (*Engine, error) {
	e, err := newEngine(cfg, o)
	if err != nil {
		return nil, err
	}
	var first *reload
	err = e.locked(func() error {
		first = e.newReload(cfg, e.running.Load().overlay, o.Monitors)
		if err := first.merge(); err != nil {
			return err
		}
		return first.install()
	})
	for id, a := range e.activated {
		if err == nil {
			e.log.Warn("socket of the service manager closed: no listener uses it", "socket", id)
		}
		a.Close()
	}
	e.activated = nil
	if err != nil {
		e.close()
		return nil, err
	}
	if e.oldProcess == nil {
		first.firstAnswers()
		e.stateFile.Save() // before anything changes, so that a state file that cannot be written is logged early
		e.startBackground()
	}
	return e, nil
}

// newEngine returns an engine without a configuration.
func newEngine(cfg *conf.Config, o Options) (*Engine, error) {
	old, err := decodeOldProcess(o.OldProcess)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		log: o.Log, lookup: o.Lookup, rollOuts: o.RollOuts, skipLookups: o.SkipLookups, oldProcess: old, chown: o.Chown, hooks: hooks.New(o.Log), routes: route.Open(),
		history: newHistory(), namesChanged: make(chan struct{}, 1), routesChanged: make(chan struct{}, 1), pacingBegan: make(chan struct{}, 1), membersChanged: make(chan struct{}, 1),
		clustersToCut: newPendingSet[string](), fleet: fleetLink{clusters: newPendingSet[string]()}, topologies: topologies{prepare: o.Topology},
		serversToCut: newPendingSet[serverToCut](), serversToRecheck: newPendingSet[checks.Key](),
		listeners: map[string]*l4.Listener{}, retiredClusters: map[string]*balance.Cluster{}, retiredListeners: map[string]*l4.Listener{},
		closings: newClosings(o.Log), levels: levelKeys{}, vips: newVIPs(), promotion: kernelPromotion{changed: make(chan struct{}, 1)}, retiredAdmissions: admissionStates{}, activated: map[string]*l4.ActivatedSocket{}, savedState: o.SavedState,
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.topologies.prepare == nil {
		e.topologies.prepare = topology.Prepare
	}
	if e.lookup == nil {
		e.lookup = systemLookup
	}
	if e.skipLookups == nil {
		e.skipLookups = context.Background()
	}
	e.published.version, e.published.startedAt = o.Version, time.Now()
	e.published.config = status.Config{File: cfg.File, LoadedAt: e.published.startedAt}
	e.published.eventLog.hooks = e.hooks
	e.stateFile = state.NewFile(state.FileOptions{Path: e.stateFilePath, Snapshot: e.SavedState, Log: o.Log})
	e.sessionLog = sessionlog.NewWriter(o.Sessions, e.sessionLogSettings)

	first := &runningState{}
	e.running.Store(first)
	planeOptions := l4.Options{Loops: cmp.Or(cfg.Runtime.Loops, o.Loops), Record: e.sessionLog.Write, Log: o.Log}
	if old != nil && old.state != nil {
		first.addresses = old.state.Addresses // valid until a look-up succeeds
		e.memberHosts.known = old.state.Addresses
		planeOptions.Origin, planeOptions.LastID = l4.Origin(old.state.ClockOrigin), old.state.LastSessionID
		e.savedState = &old.saved
	}
	if e.plane, err = l4.Open(planeOptions); err != nil {
		e.cancel()
		e.hooks.Close()
		e.routes.Close()
		e.sessionLog.Close()
		return nil, err
	}
	e.drains.plane, e.drains.log, e.drains.closings = e.plane, e.log, &e.closings
	e.closings.plane, e.closings.running = e.plane, e.running.Load
	e.runner = checks.NewRunner(checks.Options{Result: e.handleResult, Skipped: e.handleSkip, State: e.checkState, Parallel: parallelChecks(l4.DescriptorLimit())})
	if e.savedState == nil {
		e.savedState = e.stateFile.Load(cfg.Runtime.StateFile)
	}
	if e.savedState != nil {
		e.fleet.saved, e.limits.saved = e.savedState.Fleet, e.savedState.FleetLimits
		var lost error
		if first.overlay, lost = overlay.Restore(e.savedState, cfg); lost != nil {
			e.log.Warn("state: runtime changes lost", "error", lost)
		}
	}
	for _, a := range o.Activated {
		id := listenerID(a.Protocol, a.At)
		if e.activated[id] != nil {
			a.Close() // one socket of a SO_REUSEPORT group is enough
			continue
		}
		e.activated[id] = a
	}
	return e, nil
}

// startBackground starts the background goroutines.
func (e *Engine) startBackground() {
	e.stepVIPs() // before clients come: what a killed process has left behind
	e.work.Go(e.maintainVIPs)
	e.work.Go(e.followNetwork)
	e.work.Go(e.watchLoops)
	e.work.Go(e.tickClusters)
	e.work.Go(func() { e.stateFile.Run(e.ctx) })
	e.work.Go(e.resolvePeriodically)
	e.work.Go(e.maintainRoutes)
	e.work.Go(func() { e.closings.run(e.ctx) })
	e.work.Go(func() { e.serversToCut.run(e.ctx, e.cutServersDown) })
	e.work.Go(func() { e.serversToRecheck.run(e.ctx, e.recheck) })
	e.work.Go(func() { e.clustersToCut.run(e.ctx, e.cutRoleLost) })
	e.work.Go(e.discover)
	e.work.Go(e.keepHistory)
	e.runFleet()
}

// ErrStopped is returned by changes after Stop.
var ErrStopped = errors.New("weir is stopping")

// locked calls do while mu is held, unless the engine has stopped.
func (e *Engine) locked(do func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return ErrStopped
	}
	return do()
}

// notify wakes the goroutine that waits for a signal.
func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// Sessions returns the number of sessions.
func (e *Engine) Sessions() int { return e.plane.Sessions() }

// Stop ends readiness, removes the vips, waits for stop_delay, closes the listeners, drains the sessions for at most drain_timeout, cuts the
// others, and closes everything. The end of ctx ends the delay and the drain. It returns the number of cut sessions.
func (e *Engine) Stop(ctx context.Context) int {
	defer context.AfterFunc(ctx, func() { e.hooks.ShortenDrain(cutTimeout) })()
	runtime := &e.running.Load().cfg.Runtime
	e.published.stopsAt.Store(new(time.Now().Add(runtime.StopDelay + runtime.DrainTimeout).Round(time.Millisecond).UTC()))
	e.published.stopping.Store(true)
	e.settleVIPs()
	delayed, cancel := context.WithTimeout(ctx, runtime.StopDelay)
	<-delayed.Done()
	cancel()
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

// drain waits for the sessions until ctx ends, for at most drain_timeout, cuts the others, and closes everything.
func (e *Engine) drain(stop context.Context) int {
	ctx, cancel := context.WithTimeout(stop, e.running.Load().cfg.Runtime.DrainTimeout)
	defer cancel()
	for e.plane.Sessions() > 0 && ctx.Err() == nil {
		select {
		case <-e.plane.Idle():
		case <-ctx.Done():
		}
	}
	cut := e.cutAll(stop)
	e.close()
	return cut
}

// cutAll cuts all sessions and returns their number. It waits until they have sent their last bytes, but only for a short
// time if stop has ended, and not longer when it ends.
func (e *Engine) cutAll(stop context.Context) int {
	if e.plane.Sessions() == 0 {
		return 0
	}
	flush, ended := l4.CutFlush, stop.Done()
	if stop.Err() != nil {
		flush, ended = l4.StopFlush, nil
	}
	cut := e.plane.CutAll(flush)
	limit := time.NewTimer(flush + cutMargin)
	defer limit.Stop()
	for e.plane.Sessions() > 0 {
		select {
		case <-e.plane.Idle():
		case <-ended:
			return cut
		case <-limit.C:
			return cut
		}
	}
	return cut
}

const (
	// cutMargin is what cut sessions need beyond the time in which the data plane waits for their last bytes.
	cutMargin = 25 * time.Millisecond
	// cutTimeout is the time of an immediate stop, for sessions and for hooks.
	cutTimeout = l4.StopFlush + cutMargin
)

// close stops all goroutines and waits for them.
func (e *Engine) close() {
	e.cancel()
	e.closeTopologies()
	e.closeProviders()
	e.runner.Close()
	e.drains.stop()
	e.noise.close()
	e.work.Wait()
	e.published.closeLoops()
	e.plane.Close()
	e.promotion.close()
	e.hooks.Close() // after the last event
	e.routes.Close()
	e.sessionLog.Close()
}
