package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/route"
	"weir/internal/state"
	"weir/l4"
)

// reload replaces the running configuration: by that of the file, or because the overlay or an address has changed.
// merge, resolve and prepare may fail and have no visible effect; commit and retire cannot fail.
type reload struct {
	e    *Engine
	old  *runningState
	next *runningState // set up step by step, immutable after commit

	changes   overlay.Overlay              // to apply on top of the file
	monitors  Monitors                     // those of Check; nil = none
	created   map[string]*balance.Cluster  // new clusters
	prepared  map[string]*balance.Prepared // updates of existing clusters
	jobs      []checks.Job
	budget    budget
	newRoutes []route.ReplyRoute
	settings  map[string]*l4.Settings // of all listeners, by identity
	opened    map[string]*l4.Listener // new listeners, bound and not started, by identity
	// replacements have the sockets of listeners whose socket file was removed, bound and not started, by identity.
	replacements    map[string]*l4.Listener
	fleet           fleetSpec
	sources         map[string]preparedTopology // that are used again, without reading their files; nil = none
	topologies      map[string]preparedTopology // by cluster
	startTopologies func()                      // set by commitTopologies
	keepProviders   bool                        // the running providers are used again, without reading their files
	startProviders  []*provider                 // new ones
	unasked         []*provider                 // of the first configuration, without an answer
	unstarted       []*l4.Listener              // of the first configuration, while there are unasked providers
	ownHosts        map[string]time.Duration    // host names of the configuration without providers; nil = all

	savedTopologies map[string]*state.Topology  // of an earlier process, by cluster
	admission       admissionStates             // of all listeners
	kept            map[*l4.AdmissionState]bool // existing ones in admission
}

// newReload begins a reload to the configuration of a file with runtime changes. mu is held until its end.
func (e *Engine) newReload(file *conf.Config, changes overlay.Overlay, monitors Monitors) *reload {
	old := e.running.Load()
	return &reload{
		e: e, old: old, next: &runningState{file: file, clusters: map[string]*balance.Cluster{}, quorum: map[string]bool{}, discovered: old.discovered, provided: old.provided, found: old.found}, changes: changes, monitors: monitors,
		created: map[string]*balance.Cluster{}, prepared: map[string]*balance.Prepared{},
		settings: map[string]*l4.Settings{}, opened: map[string]*l4.Listener{}, replacements: map[string]*l4.Listener{},
	}
}

// Reload replaces the configuration of the file atomically: on error nothing changes. monitors are those of Check, or
// nil.
func (e *Engine) Reload(file *conf.Config, monitors Monitors) error {
	return e.locked(func() error {
		r := e.newReload(file, e.running.Load().overlay, monitors)
		if err := r.merge(); err != nil {
			return err
		}
		plan := conf.Diff(r.old.cfg, r.next.cfg)
		if err := forbiddenChanges(file, plan); err != nil {
			return err
		}
		if err := r.install(); err != nil {
			return err
		}
		r.logReload(plan)
		return nil
	})
}

// install runs all steps after merge.
func (r *reload) install() error {
	if err := r.resolve(); err != nil {
		return err
	}
	if err := r.prepare(); err != nil {
		return err
	}
	if r.e.oldProcess != nil && r.old.cfg == nil {
		r.e.pending = r // TakeOver commits it
		return nil
	}
	r.restoreState()
	r.e.drains.start(r.commit())
	r.e.stateFile.Changed()
	return nil
}

// merge applies the overlay to the configuration of the file.
func (r *reload) merge() (err error) {
	if r.next.cfg, r.next.overlay, err = r.changes.Apply(r.next.file); err == nil {
		if r.old.cfg == nil {
			r.next.discovered = r.savedMembers()
		}
		r.next.cfg = r.next.discovered.apply(r.next.cfg)
		r.next.provided, r.next.found = nil, foundServers{}
		err = r.mergeProvided()
	}
	return err
}

// prepare builds and opens all that the configuration needs. On error it leaves nothing open.
func (r *reload) prepare() error {
	for _, step := range []func() error{r.buildMonitors, r.prepareTopologies, r.readFleet, r.prepareClusters, r.planDescriptors, r.addReplyRoutes} {
		if err := step(); err != nil {
			return err
		}
	}
	err := r.openListeners()
	if err == nil && r.old.cfg == nil {
		r.e.loadPromotion(r.next.cfg, r.budget.effective(r.next.cfg))
		err = r.e.dropPrivileges(r.next.cfg, r.opened)
	}
	if err != nil {
		r.closeOpened()
		r.e.routes.Remove(r.newRoutes)
	}
	return err
}

// readFleet reads what [fleet] names.
func (r *reload) readFleet() error {
	var errs conf.Errors
	if r.fleet, errs = prepareFleet(r.next.cfg); len(errs) > 0 {
		return r.next.cfg.SortErrors(errs)
	}
	return nil
}

// buildMonitors builds the monitors that Check has not built. The hooks were tested there too.
func (r *reload) buildMonitors() error {
	monitors, errs := buildMonitors(r.next.cfg, r.monitors)
	if r.monitors == nil {
		errs = append(errs, checkHooks(r.next.cfg)...)
	}
	if len(errs) > 0 {
		return r.next.cfg.SortErrors(errs)
	}
	r.next.monitors = monitors
	return nil
}

// prepareClusters creates the new clusters, prepares the updates of existing ones, and lists the jobs of the checks.
func (r *reload) prepareClusters() error {
	for i := range r.next.cfg.Clusters {
		c := &r.next.cfg.Clusters[i]
		spec, err := r.balanceSpec(c)
		if err != nil {
			return err
		}
		b := r.runningCluster(c.Name)
		if b != nil {
			r.prepared[c.Name] = b.Prepare(spec)
		} else {
			b = balance.New(spec, rand.Uint64(), r.e.handleEvent)
			b.OnPace(func() { notify(r.e.pacingBegan) })
			r.created[c.Name] = b
		}
		r.next.clusters[c.Name] = b
		if c.Fleet.Verdict == conf.VerdictQuorum {
			r.next.quorum[c.Name] = true
		}
		running := r.old.clusters[c.Name]
		firstJob := len(r.jobs)
		r.jobs = append(r.jobs, checkJobs(c, r.next.addresses, r.next.monitors, func(server *conf.Server) bool {
			if running == nil {
				return true
			}
			s := running.Server(server.Name)
			return s == nil || s.Address() != server.Address.String()
		})...)
		if running != nil && c.Discovers() {
			r.continueChecks(b, r.jobs[firstJob:])
		}
	}
	r.next.addJobs(r.jobs, r.old)
	return nil
}

// continueChecks lets the checks of found servers that come back continue with the verdicts that they had.
func (r *reload) continueChecks(b *balance.Cluster, jobs []checks.Job) {
	for i := range jobs {
		key := jobKey(&jobs[i])
		if b.Server(key.Server) != nil || jobs[i].Advisory {
			continue
		}
		s := r.next.cfg.Cluster(key.Cluster).Server(key.Server)
		saved, ok := b.Away(key.Server, s.Address.String(), r.e.plane.Now())
		if !ok {
			continue
		}
		for _, v := range saved.Checks {
			if v.ID == key.Check && !v.Initial {
				jobs[i].InitialVerdict = checks.Verdict{State: outcomeOf(v.State)}
			}
		}
	}
}

// outcomeOf is the inverse of stateOf.
func outcomeOf(s balance.State) checks.Outcome {
	switch s {
	case balance.Down:
		return checks.Failed
	case balance.Standby:
		return checks.Standby
	case balance.Full:
		return checks.Full
	}
	return checks.Passed
}

// runningCluster returns the cluster with that name: one of the running configuration, else one that has left and still has
// sessions, else nil.
func (r *reload) runningCluster(name string) *balance.Cluster {
	if b := r.old.clusters[name]; b != nil {
		return b
	}
	if b := r.e.retiredClusters[name]; b != nil && b.Leases() > 0 {
		return b
	}
	return nil
}

// commit puts the prepared configuration in force and returns what has left it.
func (r *reload) commit() retired {
	now := r.e.plane.Now()
	r.commitProviders()
	r.e.resultsMu.Lock()      // results for the old configuration arrive before anything of it is dropped
	r.e.running.Store(r.next) // before the clusters change: events are handled by the new configuration
	r.e.resultsMu.Unlock()
	r.e.closings.configure(r.next.cfg)
	left := retired{servers: r.commitClusters(now), timeout: r.next.cfg.Runtime.DrainTimeout}
	r.dropChecks(now)
	r.e.published.checks.prune(r.next.jobs)
	r.lowerLimit()
	r.divideAdmission()
	r.publishLimits()
	r.commitPromotion()
	left.listeners = r.commitListeners()
	r.wakeHeld(now)
	r.e.runner.Update(r.jobs)
	r.e.hooks.Update(r.next.cfg.Hooks)
	r.commitLimits()
	notify(r.e.routesChanged)
	notify(r.e.namesChanged)
	notify(r.e.vips.changed)
	r.startTopologies()
	r.e.commitFleet(r.fleet, r.old)
	r.e.applyVotes(nil)
	r.divideAdmission() // a keeper that has ended may have set parts
	return left
}

// commitClusters updates the clusters and returns the servers that have left.
func (r *reload) commitClusters(now time.Duration) (left []balance.Departure) {
	maps.DeleteFunc(r.e.retiredClusters, func(name string, b *balance.Cluster) bool {
		return r.prepared[name] != nil || b.Leases() == 0
	})
	for name, b := range r.old.clusters {
		if r.next.clusters[name] == nil {
			left = append(left, b.Retire(now)...)
			r.e.retiredClusters[name] = b
		}
	}
	for name, p := range r.prepared {
		if _, ok := r.topologies[name]; ok {
			continue // commitTopologies does it
		}
		left = append(left, r.next.clusters[name].Commit(p, now)...)
	}
	left = append(left, r.commitTopologies(now)...)
	r.next.skipAllAddresses()
	for c, s := range r.next.cfg.Servers() {
		if s.Address.Host != "" {
			r.next.clusters[c.Name].SetResolved(s.Name, len(r.next.addresses[s.Address.Host]) > 0, now)
		}
	}
	return left
}

// wakeHeld ends the holds of sessions whose cluster has left, after the listeners have moved theirs to another cluster.
func (r *reload) wakeHeld(now time.Duration) {
	for name, b := range r.old.clusters {
		if r.next.clusters[name] == nil {
			b.WakeHeld(now)
		}
	}
}

// lowerLimit puts a lower limit of the process in force. It comes before the listeners: one that loses its own limit admits
// the clients that wait at once.
func (r *reload) lowerLimit() {
	if limit := r.budget.effective(r.next.cfg); int64(limit) < r.e.published.maxSessions.Load() {
		r.e.plane.SetLimits(limit, r.budget.each, r.budget.limit-r.budget.reserved())
	}
}

// commitLimits applies the limits on sessions.
func (r *reload) commitLimits() {
	limit := r.budget.effective(r.next.cfg)
	r.e.plane.SetLimits(limit, r.budget.each, r.budget.limit-r.budget.reserved())
	r.e.published.maxSessions.Store(int64(limit))
	r.e.published.apiClients.Store(int64(r.budget.apiClients(r.next.cfg)))
	r.e.logged.update(r.e.log, r.budget, r.next.cfg)
}

// serversOf returns the servers that a configuration gives a cluster.
func serversOf(cfg *conf.Config, cluster string, b *balance.Cluster) []*balance.Server {
	c := cfg.Cluster(cluster)
	if c == nil {
		return nil
	}
	var servers []*balance.Server
	for s := range c.Servers() {
		if found := b.Server(s.Name); found != nil {
			servers = append(servers, found)
		}
	}
	return servers
}

// forbiddenChanges returns an error if a plan changes what cannot change while weir runs.
func forbiddenChanges(cfg *conf.Config, p conf.Plan) error {
	var errs conf.Errors
	for _, s := range p.Refused() {
		for _, d := range s.Details {
			errs = append(errs, cfg.KeyError(string(s.Object), d.Key, fmt.Errorf("cannot change from %s to %s while weir runs: %s", d.From, d.To, s.Refused)))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return cfg.SortErrors(errs)
}

// maxLoggedSteps bounds the log lines of one reload.
const maxLoggedSteps = 20

// logReload logs the steps of a reload and the runtime changes that it has dropped.
func (r *reload) logReload(p conf.Plan) {
	for _, name := range r.changes.Dropped(r.next.overlay) {
		r.e.log.Info("runtime change dropped: superseded by the file", "object", name)
	}
	for i, s := range p.Steps {
		if i == maxLoggedSteps {
			r.e.log.Info("reload: more changes not logged", "omitted", len(p.Steps)-i)
			return
		}
		r.e.log.Info("reload step", "step", s.String())
	}
}
