package engine

import (
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/status"
	"weir/l4"
)

// published is what other goroutines read of the engine without holding its mutex.
type published struct {
	version   string    // immutable
	startedAt time.Time // immutable

	listeners   atomic.Pointer[map[string]*l4.Listener] // by identity; immutable
	maxSessions atomic.Int64
	apiClients  atomic.Int64 // per address of the API
	stopping    atomic.Bool
	stopsAt     atomic.Pointer[time.Time]   // immutable; nil = no stop has begun
	node        atomic.Pointer[status.Node] // immutable; nil = never changed
	eventLog    eventLog
	checks      checkCounters

	failedLookups atomic.Pointer[[]status.FailedLookup] // immutable; nil = none

	baseline atomic.Pointer[counts] // what the old process of an upgrade has counted; nil = none

	overrides  sync.Mutex  // held while an override is changed
	handedOver atomic.Bool // the new process serves; set while overrides is held
	overrideBy sync.Map    // who changed the override of a server last: [2]string{cluster, server} → string

	loops       sync.RWMutex // held for reading while a call needs the event loops
	loopsClosed bool         // the event loops end; guarded by loops

	mu     sync.Mutex
	config status.Config // guarded by mu
}

// withLoops calls do while the event loops run, or not at all.
func (p *published) withLoops(do func()) {
	p.loops.RLock()
	defer p.loops.RUnlock()
	if !p.loopsClosed {
		do()
	}
}

// closeLoops waits for calls of withLoops, and makes later ones do nothing.
func (p *published) closeLoops() {
	p.loops.Lock()
	defer p.loops.Unlock()
	p.loopsClosed = true
}

// lastReload returns the configuration's entry in the status document.
func (p *published) lastReload() status.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config
}

// stateFileStatus returns the entry of the state file, or nil if none is configured.
func (e *Engine) stateFileStatus(path string) *status.StateFile {
	if path == "" {
		return nil
	}
	return new(status.StateFile(e.stateFile.Status(path)))
}

// snapshot is what Status and Metrics read. It shares immutable values and counters with running state.
type snapshot struct {
	*runningState
	*published
	topologies map[string]*clusterTopology                      // by cluster
	members    func(c *conf.Cluster) func(address string) error // memberCheck
	listeners  map[string]*l4.Listener                          // by identity
	now        time.Duration                                    // on the clock of the data plane
	clock      clock
	closings   *closings
}

func (e *Engine) snapshot() *snapshot {
	s := &snapshot{runningState: e.running.Load(), published: &e.published, now: e.plane.Now(), clock: e.clock(), topologies: e.topologies.all(), closings: &e.closings}
	s.members = func(c *conf.Cluster) func(string) error { return e.memberCheck(s.runningState, c) }
	if open := e.published.listeners.Load(); open != nil {
		s.listeners = *open
	}
	return s
}

// Status returns the status document. It shares nothing with running state.
func (e *Engine) Status() status.Document {
	s := e.snapshot()
	doc := status.Document{
		Version: s.version, PID: os.Getpid(), StartedAt: s.startedAt, UptimeSeconds: time.Since(s.startedAt).Seconds(),
		Config: s.lastReload(), Stopping: s.stopping.Load(), Sessions: e.plane.Sessions(), MaxSessions: int(s.maxSessions.Load()),
		StopsAt: s.stopsAt.Load(), Node: e.nodeState(), VIPs: e.vipStates(), Listeners: []status.Listener{}, Clusters: []status.Cluster{}, Hooks: e.hooks.Status(),
	}
	if list := s.failedLookups.Load(); list != nil {
		for _, l := range *list {
			if len(s.addresses[l.Name]) > 0 { // the running configuration has the name
				doc.FailedLookups = append(doc.FailedLookups, l)
			}
		}
	}
	if s.cfg != nil {
		doc.StateFile = e.stateFileStatus(s.cfg.Runtime.StateFile)
		doc.Fleet, doc.Promotion = e.fleetLinkStatus(), e.promotionStatus()
		for i := range s.cfg.Listeners {
			doc.Listeners = append(doc.Listeners, s.listener(&s.cfg.Listeners[i])...)
		}
		for i := range s.cfg.Clusters {
			doc.Clusters = append(doc.Clusters, s.cluster(&s.cfg.Clusters[i]))
		}
	}
	doc.FindProblems()
	return doc
}

// Explain returns the layers of a server's state.
func (e *Engine) Explain(cluster, server string) (status.Explanation, error) {
	s := e.snapshot()
	if s.cfg == nil || s.cfg.Cluster(cluster) == nil {
		return status.Explanation{}, overlay.NoCluster(cluster)
	}
	x := status.Explanation{Cluster: cluster}
	for _, l := range s.cluster(s.cfg.Cluster(cluster)).Levels {
		i := slices.IndexFunc(l.Servers, func(s status.Server) bool { return s.Name == server })
		if i < 0 {
			continue
		}
		if x.Levels == nil {
			x.Server = l.Servers[i]
		}
		x.Levels = append(x.Levels, l.Name)
	}
	if x.Levels == nil {
		return x, overlay.NoServer(cluster, server)
	}
	return x, nil
}

// listener returns the entries of a listener, one for each address.
func (s *snapshot) listener(ln *conf.Listener) []status.Listener {
	var list []status.Listener
	for _, at := range ln.Addresses {
		entry := status.Listener{Name: ln.Name, Address: at.String(), Protocol: ln.Protocol, Cluster: ln.Cluster, MaxRateUp: ln.MaxRateUp, MaxRateDown: ln.MaxRateDown}
		if opened := s.listeners[listenerID(ln.Protocol, at)]; opened != nil {
			entry.Routes = routeStatus(ln, opened.Settings())
			if set := opened.Settings(); len(ln.Levels) > 0 {
				entry.Level = s.clusters[ln.Cluster].LevelFor(set.Levels)
			}
			c := opened.Counters()
			s.withLoops(func() { entry.Waiting = opened.Waiting() })
			entry.Sessions, entry.SessionsTotal, entry.BytesUp, entry.BytesDown = max(0, c.Live), c.Sessions, c.BytesUp, c.BytesDown
		}
		list = append(list, entry)
	}
	return list
}

// cluster returns the entry of a cluster.
func (s *snapshot) cluster(spec *conf.Cluster) status.Cluster {
	b := s.clusters[spec.Name]
	state := b.Snapshot(s.now)
	c := status.Cluster{
		Name: spec.Name, Balance: spec.Balance, Origin: s.overlay.Origin(spec.Name, "", ""), Removed: s.overlay.Removed(spec.Name),
		Level: state.Level, Held: state.Held, Empty: state.Empty, OnDown: spec.OnDown, Sessions: state.Leases, Queue: state.Waiting,
		HeldSessions: state.Hold.Now, HeldTotal: state.Hold.Total, ReleasedTotal: state.Hold.Ended[balance.HoldConnected],
		Closing: s.closings.status(spec.Name, s.clock), Levels: make([]status.Level, 0, len(state.Levels)), Topology: s.topology(spec, &state),
	}
	specs := make(map[string]*conf.Server) // a search for each server would take seconds with many
	for server := range spec.Servers() {
		if specs[server.Name] == nil {
			specs[server.Name] = server
		}
	}
	for _, l := range state.Levels {
		level := status.Level{Name: l.Name, InUse: l.InUse, MinUp: l.MinUp, Eligible: l.Eligible, Impaired: l.Impaired, Servers: make([]status.Server, 0, len(l.Servers)), Discovery: s.discovery(levelID{spec.Name, l.Name})}
		for i := range l.Servers {
			level.Servers = append(level.Servers, s.server(b, spec, l.Name, &l.Servers[i], specs[l.Servers[i].Name]))
		}
		c.Levels = append(c.Levels, level)
	}
	addTotals(&c)
	return c
}

// addTotals adds up the counters of the servers of a cluster, each once.
func addTotals(c *status.Cluster) {
	seen := map[string]bool{}
	for i := range c.Levels {
		for j := range c.Levels[i].Servers {
			s := &c.Levels[i].Servers[j]
			if len(c.Levels) > 1 {
				if seen[s.Name] {
					continue
				}
				seen[s.Name] = true
			}
			c.SessionsTotal += s.SessionsTotal
			c.BytesUp += s.BytesUp
			c.BytesDown += s.BytesDown
			c.DialFailures += s.DialFailures
			c.Retries += s.Retries
		}
	}
}

// server returns the entry of a server in one level. of is its specification; it may be nil.
func (s *snapshot) server(b *balance.Cluster, spec *conf.Cluster, level string, state *balance.ServerState, of *conf.Server) status.Server {
	entry := status.Server{
		Name: state.Name, Address: state.Address, State: state.State.String(), Origin: s.overlay.Origin(spec.Name, level, state.Name),
		Weight: state.Weight, EffectiveWeight: state.EffectiveWeight, MaxSessions: state.MaxSessions, Sessions: state.Sessions,
		SessionsPeak: state.MostSessions, ConnectMS: ms(state.ConnectTime), Since: s.startedAt,
	}
	if state.Part >= 0 {
		entry.Part = new(state.Part)
	}
	if s.isDiscovered(spec.Name, state.Name) {
		entry.Origin = status.OriginTopology
	}
	if s.found.serving[levelID{spec.Name, level}][state.Name] {
		entry.Origin = status.OriginDiscovery
	}
	if spec.Topology != nil {
		entry.Role = state.Layers.Role.String()
	}
	if at := s.clock.at(state.Since); at != nil {
		entry.Since = *at
	}
	if state.State == balance.Draining {
		entry.Deadline = s.clock.at(state.Layers.Override.Deadline)
	}
	c := serverCounters(b, state.Name)
	entry.SessionsTotal, entry.BytesUp, entry.BytesDown = c.Sessions, c.BytesUp, c.BytesDown
	entry.Dials, entry.DialFailures, entry.Retries = c.Dials, c.DialFails, c.Retries
	entry.CheckFailures, entry.LastCheck = s.published.checks.ofServer(spec, state.Name)
	by := s.cfg.File
	switch entry.Origin {
	case status.OriginAPI:
		by = "operator"
	case status.OriginTopology:
		by = "topology"
	case status.OriginDiscovery:
		by = "provider"
	}
	skipped := s.skippedChecks(spec, state.Name)
	entry.Layers = layers(state, by, of, s.agentCheck(spec, state.Name), skipped, s.clock)
	entry.NotChecked = notChecked(skipped)
	for _, l := range entry.Layers {
		if l.Decides && entry.State != "up" {
			entry.Reason = l.Reason
		}
	}
	return entry
}

// agentCheck returns the agent check of a server, or nil.
func (s *runningState) agentCheck(c *conf.Cluster, server string) *job {
	for i := range c.Checks {
		if j := s.jobs[checks.Key{Cluster: c.Name, Server: server, Check: c.Checks[i].ID}]; j != nil && j.agent != nil {
			return j
		}
	}
	return nil
}

// skippedChecks returns the checks of a server that cannot run, by ID.
func (s *runningState) skippedChecks(c *conf.Cluster, server string) (list map[string]*skippedRuns) {
	for i := range c.Checks {
		if j := s.jobs[checks.Key{Cluster: c.Name, Server: server, Check: c.Checks[i].ID}]; j != nil {
			if skipped := j.skipped.Load(); skipped != nil {
				if list == nil {
					list = map[string]*skippedRuns{}
				}
				list[c.Checks[i].ID] = skipped
			}
		}
	}
	return list
}

// notChecked returns the reason of the first check of a server that has not run for skipProblem rounds, or "".
func notChecked(skipped map[string]*skippedRuns) string {
	for _, id := range slices.Sorted(maps.Keys(skipped)) {
		if skipped[id].count >= skipProblem {
			return id + ": " + skipped[id].text()
		}
	}
	return ""
}

// clock converts between times of the data plane and wall-clock times.
type clock struct{ origin time.Time }

// clock returns the current relation of the two times.
func (e *Engine) clock() clock {
	var read clock
	pause := time.Duration(math.MaxInt64)
	for range 5 { // the process may pause between the readings
		before := e.plane.Now()
		wall := time.Now().Round(0) // without the monotonic time, which does not change when the clock is set
		if p := e.plane.Now() - before; p < pause {
			read, pause = clock{wall.Add(-before)}, p
		}
		if pause < time.Millisecond {
			break
		}
	}
	now := read.settled(e.origin.Load(), pause)
	e.origin.Store(&now.origin)
	return now
}

// settled returns the clock of the last origin, unless the wall clock was set meanwhile. A pause of the process between the
// readings of the two times must not change the times that are shown and saved.
func (c clock) settled(last *time.Time, pause time.Duration) clock {
	if last != nil && c.origin.Sub(*last).Abs() <= pause+10*time.Millisecond {
		return clock{*last}
	}
	return c
}

// at returns a wall-clock time, or nil for 0, which means never.
func (c clock) at(t time.Duration) *time.Time {
	if t == 0 {
		return nil
	}
	return new(c.origin.Add(t).Round(time.Millisecond))
}

// wall is like at for a time that is not 0. Nothing happens at time 0.
func (c clock) wall(t time.Duration) time.Time { return c.origin.Add(t).Round(time.Millisecond).UTC() }

// plane is the inverse of wall. It never returns 0.
func (c clock) plane(t time.Time) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	d := max(-most, min(t.Sub(c.origin), most))
	if d == 0 {
		return -1
	}
	return d
}

// ms returns a duration in milliseconds, truncated to microseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
