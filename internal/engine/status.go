package engine

// What is observed of a running weir: copies, made without holding up what runs.

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/status"
	"weir/l4"
)

// published is what the engine keeps for those who look on.
type published struct {
	version   string // immutable
	startedAt time.Time

	listeners   atomic.Pointer[map[string]*l4.Listener] // by identity; immutable
	maxSessions atomic.Int64                            // of sessions
	stopping    atomic.Bool
	eventLog    eventLog
	checks      checkCounters
	earlier     atomic.Pointer[counts] // what another process has counted; nil = there was none

	overrides  sync.Mutex  // held while one is changed
	handedOver atomic.Bool // another process has taken over; set while overrides is held

	loops       sync.RWMutex // held for reading while somebody waits for the data plane's loops
	loopsClosed bool         // the loops are about to end; guarded by loops

	mu     sync.Mutex
	config status.Config // guarded by mu
}

// withLoops does something for which the loops have to run, unless they are about to end.
func (o *published) withLoops(do func()) {
	o.loops.RLock()
	defer o.loops.RUnlock()
	if !o.loopsClosed {
		do()
	}
}

// closeLoops waits for those who visit and lets in nobody else.
func (o *published) closeLoops() {
	o.loops.Lock()
	defer o.loops.Unlock()
	o.loopsClosed = true
}

// Status is everything there is to see. It is a copy.
func (e *Engine) Status() (doc status.Document) {
	running := e.running.Load()
	clock := e.clock()
	doc = status.Document{
		Version: e.published.version, PID: os.Getpid(), StartedAt: e.published.startedAt, UptimeSeconds: time.Since(e.published.startedAt).Seconds(),
		Stopping: e.published.stopping.Load(), Sessions: e.plane.Sessions(), MaxSessions: int(e.published.maxSessions.Load()),
		Listeners: []status.Listener{}, Clusters: []status.Cluster{}, Hooks: e.hooks.Status(), Config: e.configStatus(),
	}
	defer doc.FindProblems()
	if running.cfg == nil {
		return doc
	}
	doc.StateFile = e.stateFileStatus(running.cfg)
	if open := e.published.listeners.Load(); open != nil {
		for i := range running.cfg.Listeners {
			doc.Listeners = append(doc.Listeners, listenerStatus(&running.cfg.Listeners[i], *open)...)
		}
	}
	for i := range running.cfg.Clusters {
		doc.Clusters = append(doc.Clusters, e.clusterStatus(running, &running.cfg.Clusters[i], clock))
	}
	return doc
}

func (e *Engine) configStatus() status.Config {
	e.published.mu.Lock()
	defer e.published.mu.Unlock()
	return e.published.config
}

// stateFileStatus returns nil without a state file.
func (e *Engine) stateFileStatus(cfg *conf.Config) *status.StateFile {
	path := cfg.Runtime.StateFile
	if path == "" {
		return nil
	}
	f := status.StateFile(e.stateFile.Status(path))
	return &f
}

// Ready reports whether clients are served: not before the first configuration is in force, and not while weir stops.
func (e *Engine) Ready() bool { return e.running.Load().cfg != nil && !e.published.stopping.Load() }

// clock turns times of the data plane into those of the wall.
type clock struct{ origin time.Time }

func (e *Engine) clock() clock { return clock{time.Now().Add(-e.plane.Now())} }

// at is nil for a time that never was.
func (c clock) at(t time.Duration) *time.Time {
	if t == 0 {
		return nil
	}
	wall := c.origin.Add(t).Round(time.Millisecond)
	return &wall
}

// wall is like at, for a time that was. Only the plane's very first moment is 0: nobody spoke then.
func (c clock) wall(t time.Duration) time.Time { return c.origin.Add(t).Round(time.Millisecond).UTC() }

// plane is the inverse of wall, and never 0.
func (c clock) plane(t time.Time) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	d := max(-most, min(t.Sub(c.origin), most))
	if d == 0 {
		return -1
	}
	return d
}

func listenerStatus(ln *conf.Listener, open map[string]*l4.Listener) []status.Listener {
	var list []status.Listener
	for _, at := range ln.Addresses {
		s := status.Listener{Name: ln.Name, Address: at.String(), Protocol: ln.Protocol, Cluster: ln.Cluster}
		if opened := open[listenerID(ln.Protocol, at)]; opened != nil {
			c := opened.Counters()
			s.Sessions, s.SessionsTotal, s.BytesUp, s.BytesDown = max(0, c.Live), c.Sessions, c.BytesUp, c.BytesDown
		}
		list = append(list, s)
	}
	return list
}

func (e *Engine) clusterStatus(running *runningState, spec *conf.Cluster, clock clock) status.Cluster {
	b := running.clusters[spec.Name]
	seen := b.Snapshot(e.plane.Now())
	c := status.Cluster{
		Name: spec.Name, Balance: spec.Balance, Origin: running.overlay.Origin(spec.Name, "", ""), Level: seen.Level, Held: seen.Held, Empty: seen.Empty,
		Sessions: seen.Leases, Queue: seen.Waiting, Levels: make([]status.Level, 0, len(seen.Levels)),
	}
	c.Removed = running.overlay.Removed(spec.Name)
	specs := map[string]*conf.Server{}
	for i := range spec.Levels {
		for j := range spec.Levels[i].Servers {
			s := &spec.Levels[i].Servers[j]
			if specs[s.Name] == nil {
				specs[s.Name] = s
			}
		}
	}
	for _, l := range seen.Levels {
		level := status.Level{Name: l.Name, InUse: l.InUse, MinUp: l.MinUp, Eligible: l.Eligible, Servers: make([]status.Server, 0, len(l.Servers))}
		for i := range l.Servers {
			s := e.serverStatus(b, &l.Servers[i], specs[l.Servers[i].Name], agentOf(running, spec, l.Servers[i].Name), clock)
			s.Origin = running.overlay.Origin(spec.Name, l.Name, s.Name)
			for j := range s.Layers {
				if s.Layers[j].Layer == string(balance.ByConfiguration) && s.Origin == status.OriginAPI {
					s.Layers[j].By = "operator"
				}
			}
			level.Servers = append(level.Servers, s)
		}
		c.Levels = append(c.Levels, level)
	}
	return c
}

// serverStatus describes a server as seen in one level. spec is nil if the cluster is changed at this very moment.
func (e *Engine) serverStatus(b *balance.Cluster, seen *balance.ServerState, spec *conf.Server, agent *job, clock clock) status.Server {
	s := status.Server{
		Name: seen.Name, Address: seen.Address, State: seen.State.String(),
		Weight: seen.Weight, EffectiveWeight: seen.EffectiveWeight, MaxSessions: seen.MaxSessions, Sessions: seen.Sessions,
		ConnectMS: ms(seen.ConnectTime), Since: e.published.startedAt,
	}
	if at := clock.at(seen.Since); at != nil {
		s.Since = *at
	}
	c := serverCounters(b, seen.Name)
	s.SessionsTotal, s.BytesUp, s.BytesDown = c.Sessions, c.BytesUp, c.BytesDown
	s.Dials, s.DialFailures, s.Retries = c.Dials, c.DialFails, c.Retries
	s.Layers = e.layers(seen, spec, agent, clock)
	for _, l := range s.Layers {
		if l.Decides && s.State != "up" {
			s.Reason = l.Reason
		}
	}
	return s
}

// agentOf is the check by which a server's agent speaks; nil = it has none.
func agentOf(running *runningState, c *conf.Cluster, server string) *job {
	for i := range c.Checks {
		if j := running.jobs[checks.Key{Cluster: c.Name, Server: server, Check: c.Checks[i].ID}]; j != nil && j.agent != nil {
			return j
		}
	}
	return nil
}

// ms returns a duration in milliseconds, truncated to microseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
