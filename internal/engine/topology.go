package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/state"
	"weir/internal/status"
	"weir/internal/topology"
)

// prepareTopology reads the files of a topology; topology.Prepare unless a test replaces it.
type prepareTopology func(conf.Topology) (topology.Source, error)

// topologies are the topologies of the running configuration, by cluster.
type topologies struct {
	prepare prepareTopology // immutable

	mu        sync.Mutex
	byCluster map[string]*clusterTopology
}

func (t *topologies) of(cluster string) *clusterTopology {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byCluster[cluster]
}

// all returns the topologies, by cluster.
func (t *topologies) all() map[string]*clusterTopology {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.byCluster)
}

// clusterTopology is the topology of one cluster: its watcher and its last view. It is replaced if the specification
// changes, and keeps its watcher otherwise.
type clusterTopology struct {
	// Immutable.
	cluster     string
	spec        conf.Topology
	fingerprint [sha256.Size]byte
	balance     *balance.Cluster
	hosts       *memberHosts

	watcher topology.Watcher // set by the commit that creates it, before anyone reads it

	// Guarded by mu, which is held while a view is applied: the cluster and the view match. Events of the cluster are handled
	// meanwhile, so nothing that handles them takes mu.
	mu        sync.Mutex
	servers   []topology.Server
	own       []topology.Server // servers without those that the topology has found: its view must not depend on itself
	view      topology.View
	announced announced
	closed    bool
}

// announced is what has been reported of the decisions of a source.
type announced struct {
	any     bool   // primary_change, since the start of this process or its predecessor in an upgrade
	name    string // of the last primary in events; "" = none
	address string // of the last primary; "" = none
	changes uint64 // decisions for another primary
}

// preparedTopology is the topology of a cluster of a configuration that is not in force yet.
type preparedTopology struct {
	source topology.Source
	spec   *conf.Topology
}

// checkTopologies returns what topologies need of this host and lack.
func checkTopologies(cfg *conf.Config) (errs conf.Errors) {
	_, errs = prepareTopologies(cfg, topology.Prepare)
	return errs
}

// prepareTopologies reads the files of all topologies.
func prepareTopologies(cfg *conf.Config, prepare prepareTopology) (all map[string]preparedTopology, errs conf.Errors) {
	all = map[string]preparedTopology{}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		if c.Topology == nil {
			continue
		}
		source, err := prepare(*c.Topology)
		if err != nil {
			option := checks.OptionError{Option: "type", Err: err}
			errors.As(err, &option)
			errs = append(errs, cfg.TopologyError(c.Name, option.Option, option.Err))
			continue
		}
		all[c.Name] = preparedTopology{source, c.Topology}
	}
	return all, errs
}

// prepareTopologies reads the files of the topologies of the next configuration.
func (r *reload) prepareTopologies() error {
	all, errs := prepareTopologies(r.next.cfg, func(spec conf.Topology) (topology.Source, error) {
		for _, p := range r.sources {
			if reflect.DeepEqual(*p.spec, spec) {
				return p.source, nil
			}
		}
		return r.e.topologies.prepare(spec)
	})
	if len(errs) > 0 {
		return r.next.cfg.SortErrors(errs)
	}
	r.topologies, r.next.sources = all, all
	return nil
}

// keeps reports whether a topology watches the same source as a prepared one.
func (t *clusterTopology) keeps(p *preparedTopology, b *balance.Cluster) bool {
	a, b2 := t.spec, *p.spec
	a.Server, b2.Server = conf.Server{}, conf.Server{} // options of the engine
	return t.balance == b && t.fingerprint == p.source.Fingerprint && reflect.DeepEqual(a, b2)
}

// commitTopologies puts the topologies of the next configuration in force, and updates the clusters that have one: while no
// view is applied, and in one step with the roles of the current view. It sets startTopologies, which starts the watchers,
// and returns the servers that have left.
func (r *reload) commitTopologies(now time.Duration) (left []balance.Departure) {
	e := r.e
	running := e.topologies.all()
	next := make(map[string]*clusterTopology, len(r.topologies))
	var started, changed []*clusterTopology
	for name, p := range r.topologies {
		b := r.next.clusters[name]
		t := running[name]
		if t != nil && t.keeps(&p, b) {
			delete(running, name)
			next[name] = t
			continue
		}
		t = &clusterTopology{cluster: name, spec: *p.spec, fingerprint: p.source.Fingerprint, balance: b, hosts: &e.memberHosts}
		if old := running[name]; old != nil {
			t.view, t.announced = old.end(sourceOf(p.spec))
		} else if saved := r.savedTopologies[name]; saved != nil && saved.Of == sourceOf(p.spec) {
			t.restore(saved, e.oldProcess != nil)
		}
		next[name] = t
		started = append(started, t)
	}
	e.topologies.mu.Lock()
	e.topologies.byCluster = next
	e.topologies.mu.Unlock()
	for name, t := range next {
		t.mu.Lock()
		servers := topologyServers(r.next.cfg.Cluster(name), r.next.addresses)
		own := slices.DeleteFunc(slices.Clone(servers), func(s topology.Server) bool { return r.next.isDiscovered(name, s.Name) })
		if !reflect.DeepEqual(own, t.own) && t.watcher != nil {
			changed = append(changed, t)
		}
		t.servers, t.own = servers, own
		roles := t.roles()
		if p := r.prepared[name]; p != nil {
			p.SetRoles(roles)
			left = append(left, t.balance.Commit(p, now)...)
		} else {
			t.balance.RestoreRoles(roles, now)
		}
		t.mu.Unlock()
	}
	r.startTopologies = func() {
		for _, t := range running {
			t.end("")
			e.work.Go(t.watcher.Close)
		}
		for _, t := range started {
			t.watcher = r.topologies[t.cluster].source.Start(topology.Options{
				Cluster: t.cluster, Spec: t.spec, Servers: t.own, Saved: t.view.Save(), Publish: func(v topology.View) { e.applyView(t, v) },
			})
		}
		for _, t := range changed {
			t.watcher.SetServers(t.own)
		}
		for name := range next {
			e.clustersToCut.add(name)
		}
		notify(e.membersChanged)
	}
	return left
}

// sourceOf identifies the data store that a topology asks: decisions of another one do not apply.
func sourceOf(spec *conf.Topology) string { return strings.TrimSpace(spec.Type + " " + spec.Master) }

// end makes a topology ignore later views, and returns what one that replaces it continues with. Its decision is stale if
// that asks the same data store, and void otherwise.
func (t *clusterTopology) end(replacedBy string) (view topology.View, said announced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if replacedBy != sourceOf(&t.spec) {
		return topology.View{}, t.announced
	}
	view = t.view
	if !view.DecidedAt.IsZero() && view.Stale.IsZero() {
		view.Stale = time.Now()
	}
	return view, t.announced
}

// save returns the decision for a later process, or nil if there is none.
func (t *clusterTopology) save() *state.Topology {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.view.DecidedAt.IsZero() && t.view.Fence == 0 {
		return nil
	}
	s := t.view.Save()
	saved := &state.Topology{
		Of: sourceOf(&t.spec), Primary: s.Primary, Epoch: s.Epoch, GTID: s.GTID, At: s.At.UTC(),
		LastName: t.announced.name, LastAddress: t.announced.address, Changes: t.announced.changes,
	}
	for _, m := range s.Members {
		saved.Members = append(saved.Members, state.Member(m))
	}
	return saved
}

// restore sets the decision of an earlier process. upgrade is set if that one has reported it.
func (t *clusterTopology) restore(saved *state.Topology, upgrade bool) {
	s := topology.Saved{Primary: saved.Primary, Epoch: saved.Epoch, GTID: saved.GTID, At: saved.At}
	for _, m := range saved.Members {
		s.Members = append(s.Members, topology.SavedMember(m))
	}
	t.view = s.View(t.spec.Type, time.Now())
	t.announced = announced{upgrade, saved.LastName, saved.LastAddress, saved.Changes}
}

// closeTopologies ends all watchers and waits for them.
func (e *Engine) closeTopologies() {
	for _, t := range e.topologies.all() {
		t.end("")
		if t.watcher != nil {
			t.watcher.Close()
		}
	}
}

// ResetTopology drops the epoch fence of a cluster, and asks the source again.
func (e *Engine) ResetTopology(by, cluster string) error {
	if e.running.Load().clusters[cluster] == nil {
		return overlay.NoCluster(cluster)
	}
	return e.locked(func() error {
		t := e.topologies.of(cluster)
		if t == nil {
			return &status.RequestError{Kind: status.Conflict, Field: "cluster", Text: fmt.Sprintf("cluster %s has no topology", cluster)}
		}
		t.watcher.Reset()
		e.log.Info("topology reset", "cluster", cluster, "by", by)
		return nil
	})
}
