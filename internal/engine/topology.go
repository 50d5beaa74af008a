package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
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
		if !reflect.DeepEqual(servers, t.servers) && t.watcher != nil {
			changed = append(changed, t)
		}
		t.servers = servers
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
				Cluster: t.cluster, Spec: t.spec, Servers: t.servers, Saved: t.view.Save(), Publish: func(v topology.View) { e.applyView(t, v) },
			})
		}
		for _, t := range changed {
			t.watcher.SetServers(t.servers)
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

// topologyServers returns the servers of a cluster for its watcher.
func topologyServers(c *conf.Cluster, known addresses) (list []topology.Server) {
	seen := map[string]bool{}
	for s := range c.Servers() {
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		one := topology.Server{Name: s.Name, Address: s.Address.String(), SendProxy: s.SendProxy, Addresses: addressesOf(s, known)}
		if len(one.Addresses) > 0 {
			one.Source = s.Source.AddrFor(one.Addresses[0].Addr())
		}
		list = append(list, one)
	}
	return list
}

// addressesOf returns the addresses of a server; none for a unix socket and a name that is not resolved.
func addressesOf(s *conf.Server, known addresses) (list []netip.AddrPort) {
	switch {
	case s.Address.Addr.IsValid():
		return []netip.AddrPort{s.Address.Addr}
	case s.Address.Host != "":
		for _, a := range known[s.Address.Host] {
			list = append(list, netip.AddrPortFrom(a, s.Address.Port))
		}
	}
	return list
}

// matcher finds the servers of a cluster that are members of a view.
type matcher struct {
	names     map[string]bool
	byAddress map[netip.AddrPort][]string // names of servers
	byText    map[string][]string         // by the address as configured
	hosts     *memberHosts
}

func newMatcher(servers []topology.Server, hosts *memberHosts) *matcher {
	m := &matcher{names: map[string]bool{}, byAddress: map[netip.AddrPort][]string{}, byText: map[string][]string{}, hosts: hosts}
	for _, s := range servers {
		m.names[s.Name] = true
		text := strings.ToLower(s.Address)
		m.byText[text] = append(m.byText[text], s.Name)
		for _, a := range s.Addresses {
			a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
			m.byAddress[a] = append(m.byAddress[a], s.Name)
		}
	}
	return m
}

// find returns the names of the servers that a member is: by its name, else by its address. Several servers may have one
// address.
func (m *matcher) find(name, address string) []string {
	if m.names[name] {
		return []string{name}
	}
	if list := m.byText[strings.ToLower(address)]; list != nil {
		return list
	}
	if at, err := netip.ParseAddrPort(address); err == nil {
		return m.byAddress[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())]
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	for _, ip := range m.hosts.lookup(host) {
		if list := m.byAddress[netip.AddrPortFrom(ip, uint16(n))]; list != nil {
			return list
		}
	}
	return nil
}

// roles returns the roles of the servers according to the view. mu is held.
func (t *clusterTopology) roles() *balance.Roles {
	v := &t.view
	roles := &balance.Roles{Servers: map[string]balance.ServerRole{}, Decided: v.Primary != "", Unnamed: v.Source}
	m := newMatcher(t.servers, t.hosts)
	for i := range v.Members {
		member := &v.Members[i]
		role := roleOf(member.Role)
		if role == balance.RoleUnknown {
			continue
		}
		reason := v.Source
		if role == balance.RoleOther && member.Reason != "" {
			reason = t.spec.Type + ": " + member.Reason
		}
		for _, name := range m.find(member.Name, member.Address) {
			if old, known := roles.Servers[name]; !known || rank(role) > rank(old.Role) { // a name with several addresses
				roles.Servers[name] = balance.ServerRole{Role: role, Reason: reason}
			}
		}
	}
	if roles.Unnamed == "" {
		roles.Unnamed = t.spec.Type + ": no decision yet"
		if v.Problem != "" {
			roles.Unnamed = t.spec.Type + ": " + v.Problem
		}
	}
	return roles
}

// rank orders the roles that the addresses of one server have: a server that is anywhere the primary is the primary.
func rank(r balance.Role) int {
	return map[balance.Role]int{balance.RolePrimary: 3, balance.RoleReplica: 2, balance.RoleOther: 1}[r]
}

func roleOf(r topology.Role) balance.Role {
	switch r {
	case topology.Primary:
		return balance.RolePrimary
	case topology.Replica:
		return balance.RoleReplica
	case topology.Other:
		return balance.RoleOther
	}
	return balance.RoleUnknown
}

// primaryName returns the name of the primary of the view for events: that of its server, else its address. mu is held.
func (t *clusterTopology) primaryName() string {
	v := &t.view
	if v.Primary == "" {
		return ""
	}
	name := ""
	for i := range v.Members {
		if v.Members[i].Address == v.Primary {
			name = v.Members[i].Name
		}
	}
	if list := newMatcher(t.servers, t.hosts).find(name, v.Primary); len(list) > 0 {
		return list[0]
	}
	return v.Primary
}

// applyView puts a view of a watcher in force. It is called by the watcher.
func (e *Engine) applyView(t *clusterTopology, v topology.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old := t.view
	t.view = v
	decided := !v.DecidedAt.IsZero() && v.Stale.IsZero()
	roles := t.roles()
	roles.New = decided && v.Primary != "" && (v.Primary != old.Primary || v.Epoch > old.Epoch)
	if from, changed := t.announce(decided); changed {
		e.reportPrimary(t, from)
	}
	t.balance.SetRoles(roles, e.plane.Now())
	e.clustersToCut.add(t.cluster)
	notify(e.membersChanged)
	if v.Primary != old.Primary || v.Epoch != old.Epoch || !slices.Equal(v.Members, old.Members) {
		e.stateFile.Changed()
	}
	e.logView(t, &old, &v)
}

// announce records the primary of the view as reported, and returns the one before. It returns false if there is nothing to
// report: no decision, or the same as before. After a start, the first decision is reported even if it is the saved one,
// with an empty predecessor. mu is held.
func (t *clusterTopology) announce(decided bool) (from string, changed bool) {
	a, primary := &t.announced, t.view.Primary
	moved := primary != a.address
	if !decided || !moved && (a.any || primary == "") {
		return "", false
	}
	if moved {
		from = a.name
		if a.address != "" || a.any {
			a.changes++
		}
	}
	a.any, a.name, a.address = true, t.primaryName(), primary
	return from, true
}

// logView logs what changes in the quality of a decision.
func (e *Engine) logView(t *clusterTopology, old, v *topology.View) {
	if e.published.handedOver.Load() {
		return
	}
	switch {
	case old.Stale.IsZero() && !v.Stale.IsZero():
		e.log.Warn("topology stale: the last decision stays in force", "cluster", t.cluster, "source", v.Source, "problem", v.Problem)
	case !old.Stale.IsZero() && v.Stale.IsZero() && !v.DecidedAt.IsZero():
		e.log.Info("topology confirmed", "cluster", t.cluster, "source", v.Source)
	case v.Problem != "" && v.Problem != old.Problem:
		e.log.Warn("topology problem", "cluster", t.cluster, "problem", v.Problem)
	}
}

// cutRoleLost cuts the sessions of servers that have lost the role that their cluster wants, where on_down = "close". Elsewhere
// only those that are still dialling there leave.
func (e *Engine) cutRoleLost(clusters map[string]bool) {
	running := e.running.Load()
	for name := range clusters {
		c, b := running.cfg.Cluster(name), running.clusters[name]
		n := 0
		if c != nil && b.SessionsWithoutRole() > 0 {
			n = e.cutDemoted(b, c.OnDown == "close")
		}
		if n > 0 {
			e.log.Info("sessions cut", "cluster", name, "sessions", n, "reason", "server lost its role")
		}
		e.failovers.closed(name, n)
	}
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
