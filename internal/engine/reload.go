package engine

// Going over to another configuration: prepare, commit, retire.

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/l4"
)

// reload is a configuration made ready to be committed.
type reload struct {
	next       *runningState
	fresh      map[string]*balance.Cluster  // clusters that are new
	prepared   map[string]*balance.Prepared // those that are there already
	settings   map[string]*l4.Settings      // of every listener, by identity
	listeners  map[string]*l4.Listener      // those that are new: bound, not started
	budget     budget
	admissions admissionStates             // of every listener
	kept       map[*l4.AdmissionState]bool // the gates that are there already
	jobs       []checks.Job
}

func (e *Engine) apply(cfg *conf.Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return ErrStopped
	}
	before := e.running.Load().cfg
	if before == nil {
		return e.install(cfg, e.overlay)
	}
	if err := refusedSteps(cfg, conf.Diff(processPart(e.file), processPart(cfg))); err != nil {
		return err
	}
	if err := e.install(cfg, e.overlay); err != nil {
		return err
	}
	e.logSteps(conf.Diff(before, e.running.Load().cfg))
	return nil
}

// refusedSteps is why a plan that leads to a configuration cannot be carried out while weir runs; nil = it can.
func refusedSteps(cfg *conf.Config, p conf.Plan) error {
	var wrong conf.Errors
	for _, s := range p.Refused() {
		for _, d := range s.Details {
			wrong = append(wrong, cfg.KeyError(string(s.Object), d.Key, fmt.Errorf("cannot change from %s to %s while weir runs: %s", d.From, d.To, s.Refused)))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return cfg.SortErrors(wrong)
}

// processPart is the part of a configuration that may hold what cannot change.
func processPart(cfg *conf.Config) *conf.Config {
	part := *cfg
	part.Listeners, part.Clusters = nil, nil
	return &part
}

// maxLoggedSteps bounds what the log says of one reload.
const maxLoggedSteps = 20

// logSteps logs what a reload has done, in the words of the plan for it.
func (e *Engine) logSteps(p conf.Plan) {
	for i, s := range p.Steps {
		if i == maxLoggedSteps {
			e.log.Info("and so on", "more", len(p.Steps)-i)
			return
		}
		e.log.Info("reload: " + s.String())
	}
}

// reload goes over to a configuration whose names are resolved. mu is held.
func (e *Engine) change(cfg *conf.Config, known addresses) error {
	if e.stopped {
		return ErrStopped
	}
	ch, err := e.prepare(cfg, known)
	if err != nil {
		return err
	}
	if e.oldProcess != nil && e.running.Load().cfg == nil { // TakeOver will
		e.oldProcess.prepared = ch
		return nil
	}
	if e.restored != nil {
		e.restore(ch, e.restored)
		e.restored = nil
	}
	e.retire(e.commit(ch))
	e.changed()
	return nil
}

// prepare does everything that may fail, and changes nothing that a client could see.
func (e *Engine) prepare(cfg *conf.Config, known addresses) (*reload, error) {
	running := e.running.Load()
	next := &runningState{cfg: cfg, overlay: e.overlay, addresses: known, clusters: map[string]*balance.Cluster{}}
	ch := &reload{
		next: next, fresh: map[string]*balance.Cluster{}, prepared: map[string]*balance.Prepared{},
		settings: map[string]*l4.Settings{}, listeners: map[string]*l4.Listener{},
	}
	built, wrong := monitorsOf(cfg)
	if wrong = append(wrong, checkHooks(cfg)...); len(wrong) > 0 {
		return nil, cfg.SortErrors(wrong)
	}
	specs := map[string]*conf.Cluster{}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		specs[c.Name] = c
		spec, err := e.balanceSpec(c, known)
		if err != nil {
			return nil, err
		}
		if b := running.clusters[c.Name]; b != nil {
			next.clusters[c.Name], ch.prepared[c.Name] = b, b.Prepare(spec)
		} else {
			b = balance.New(spec, rand.Uint64(), e.handleEvent)
			next.clusters[c.Name], ch.fresh[c.Name] = b, b
		}
		ch.jobs = append(ch.jobs, checkJobs(c, known, built)...)
	}
	next.take(ch.jobs, running)
	var err error
	if ch.budget, err = computeBudget(l4.DescriptorLimit(), e.plane.Loops(), cfg, next.jobs); err != nil {
		return nil, err
	}
	next.replyRoutes = repliesOf(cfg, known)
	routed, err := e.prepareReplies(next.replyRoutes)
	if err != nil {
		return nil, err
	}
	err = e.bind(ch, specs)
	if err == nil && running.cfg == nil {
		err = e.dropPrivileges(cfg, ch.listeners)
	}
	if err != nil {
		for _, ln := range ch.listeners {
			ln.Discard()
		}
		e.routes.Remove(routed)
		return nil, err
	}
	return ch, nil
}

// bind opens the listeners that are not open yet. All that cannot be opened are told at once.
func (e *Engine) bind(ch *reload, specs map[string]*conf.Cluster) error {
	var failed []error
	cfg := ch.next.cfg
	ch.admissions, ch.kept = e.admissions.of(cfg, e.running.Load().cfg)
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		set := e.settings(ln, specs[ln.Cluster], ch.next.clusters[ln.Cluster], cfg)
		set.Admission = admission(ln, ch.admissions[listenerID(ln.Protocol, ln.Addresses[0])])
		listen, inherit := e.plane.Listen, e.plane.Inherit
		if ln.Protocol == "udp" {
			listen, inherit = e.plane.ListenUDP, e.plane.InheritUDP
			limitFlows(set, ln, cfg, ch.budget.effective(cfg))
		}
		for _, at := range ln.Addresses {
			id := listenerID(ln.Protocol, at)
			ch.settings[id] = set
			if e.listeners[id] != nil {
				continue
			}
			if e.oldProcess != nil {
				if fds, keepFile := e.oldProcess.Listener(id); len(fds) > 0 {
					ch.listeners[id] = inherit(at, set, fds)
					if keepFile {
						ch.listeners[id].KeepFile()
					}
					continue
				}
			}
			if a := e.activated[id]; a != nil {
				ch.listeners[id] = e.plane.ListenActivated(a, set)
				delete(e.activated, id)
				continue
			}
			opened, err := listen(at, set, e.besideOwn(ch, ln.Protocol, at))
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: listener %s: %w", cfg.ListenerPosition(ln.Name), ln.Name, err))
				continue
			}
			ch.listeners[id] = opened
		}
	}
	return errors.Join(failed...)
}

func listenerID(protocol string, at conf.Address) string { return protocol + " " + at.String() }

// besideOwn reports whether a listener of this process has the same port, one that is open now or one that is about to
// be: an address may stand beside a wildcard, and either may take over from the other before that is closed.
func (e *Engine) besideOwn(ch *reload, protocol string, at conf.Address) bool {
	if e.oldProcess != nil && at.Path == "" && e.oldProcess.HasPort(at.Addr.Port()) {
		return true
	}
	for _, set := range []map[string]*l4.Listener{e.listeners, ch.listeners} {
		for id, ln := range set {
			if own := ln.Endpoint(); strings.HasPrefix(id, protocol+" ") && at.Path == "" && own.Path == "" && own.Addr.Port() == at.Addr.Port() {
				return true
			}
		}
	}
	return false
}

// commit goes over to what was prepared. It cannot fail.
func (e *Engine) commit(ch *reload) retired {
	now := e.plane.Now()
	before := e.running.Load()
	e.resultsMu.Lock()       // what was found out for the old configuration is in before anything of it is dropped
	e.running.Store(ch.next) // before the clusters change: their events are judged by what the new configuration says
	e.resultsMu.Unlock()
	gone := retired{servers: map[*balance.Server]bool{}, after: ch.next.cfg.Runtime.DrainTimeout}
	for name, b := range before.clusters {
		servers := serversOf(before.cfg, name, b)
		kept := ch.next.clusters[name] == b
		if kept {
			b.Commit(ch.prepared[name], now)
		}
		for _, s := range servers {
			if !kept || b.Server(s.Name()) != s {
				gone.servers[s] = true
			}
		}
	}
	for _, c := range ch.next.cfg.Clusters {
		for _, level := range c.Levels {
			for _, s := range level.Servers {
				if s.Address.Host != "" {
					ch.next.clusters[c.Name].SetResolved(s.Name, len(ch.next.addresses[s.Address.Host]) > 0, now)
				}
			}
		}
	}
	e.dropChecks(before, ch.next, now)
	e.countSources(ch)
	e.admissions = ch.admissions
	for id, ln := range e.listeners {
		if set := ch.settings[id]; set != nil {
			ln.Update(set)
		} else {
			gone.listeners = append(gone.listeners, ln)
			delete(e.listeners, id)
		}
	}
	maps.Copy(e.listeners, ch.listeners)
	for _, ln := range ch.listeners {
		ln.Start()
	}
	select {
	case e.routesChanged <- struct{}{}:
	default:
	}
	e.runner.Update(ch.jobs)
	e.hooks.Update(ch.next.cfg.Hooks)
	open := maps.Clone(e.listeners)
	e.published.listeners.Store(&open)
	limit := ch.budget.effective(ch.next.cfg)
	e.plane.SetLimits(limit, ch.budget.each, ch.budget.limit-ch.budget.reserved())
	e.published.maxSessions.Store(int64(limit))
	e.logBudget(ch.budget, ch.next.cfg)
	return gone
}

// serversOf are the servers that a configuration gives a cluster.
func serversOf(cfg *conf.Config, cluster string, b *balance.Cluster) []*balance.Server {
	var servers []*balance.Server
	for _, c := range cfg.Clusters {
		if c.Name != cluster {
			continue
		}
		for _, level := range c.Levels {
			for _, s := range level.Servers {
				if found := b.Server(s.Name); found != nil {
					servers = append(servers, found)
				}
			}
		}
	}
	return servers
}
