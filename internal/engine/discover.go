package engine

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/conf"
	"weir/internal/topology"
)

// discovered are the addresses of the servers that topologies have found, by cluster, sorted. It is immutable.
type discovered map[string][]string

// apply returns cfg with the found servers in the first levels of their clusters. A server that cannot be used, or that has
// the name or the address of another one, is left out. cfg is not modified.
func (d discovered) apply(cfg *conf.Config) *conf.Config {
	result, changed := *cfg, false
	for i := range cfg.Clusters {
		found := d[cfg.Clusters[i].Name]
		if t := cfg.Clusters[i].Topology; t == nil || !t.Discover || len(found) == 0 {
			continue
		}
		if !changed {
			result.Clusters, changed = slices.Clone(cfg.Clusters), true
		}
		c := &result.Clusters[i]
		c.Levels = slices.Clone(c.Levels)
		first := &c.Levels[0]
		own := slices.Clone(first.Servers)
		for _, address := range found {
			s, err := c.Topology.Discovered(address)
			if err == nil && !hasServer(cfg.Clusters[i].Levels, &s) {
				own = append(own, s)
			}
		}
		first.Servers = own
	}
	if !changed {
		return cfg
	}
	return &result
}

// hasServer reports whether a level has a server with the same name or address.
func hasServer(levels []conf.Level, s *conf.Server) bool {
	for _, l := range levels {
		if slices.ContainsFunc(l.Servers, func(o conf.Server) bool { return o.Name == s.Name || o.Address == s.Address }) {
			return true
		}
	}
	return false
}

// isDiscovered reports whether a server was found by the topology of its cluster.
func (s *runningState) isDiscovered(cluster, server string) bool {
	return slices.Contains(s.discovered[cluster], server)
}

// memberInterval is how often the names that sources announce are resolved.
const memberInterval = 10 * time.Second

// discover keeps the servers of clusters with discover equal to the members that their sources list, and resolves the names
// of members, until the engine ends.
func (e *Engine) discover() {
	tick := time.NewTicker(memberInterval)
	defer tick.Stop()
	var applied time.Time
	for {
		again := false
		select {
		case <-e.ctx.Done():
			return
		case <-e.membersChanged:
		case <-tick.C:
			again = true
		}
		named := e.resolveMembers(again)
		if named {
			for _, t := range e.topologies.all() {
				t.mu.Lock()
				if !t.closed {
					t.balance.SetRoles(t.roles(), e.plane.Now())
				}
				t.mu.Unlock()
			}
		}
		if e.published.handedOver.Load() {
			continue // the new process does it
		}
		e.pauseBetween(applied)
		before := e.running.Load()
		e.logIfFailed("cannot apply the servers that a topology has found", e.applyMembers())
		if len(e.running.Load().providers) > 0 {
			e.logIfFailed("cannot apply the servers that providers have found", e.applyProvided(named))
		}
		if e.running.Load() != before {
			applied = time.Now()
		}
	}
}

// applyMembers reloads the running configuration if the members of a cluster have changed.
func (e *Engine) applyMembers() error {
	running := e.running.Load()
	if running.cfg == nil || maps.EqualFunc(e.wantedMembers(running), running.discovered, slices.Equal) {
		return nil
	}
	return e.locked(func() error {
		running := e.running.Load()
		wanted := e.wantedMembers(running)
		if maps.EqualFunc(wanted, running.discovered, slices.Equal) {
			return nil
		}
		r := e.newReload(running.file, running.overlay, running.monitors)
		r.next.discovered, r.sources = wanted, running.sources
		if err := r.merge(); err != nil {
			return err
		}
		if err := r.install(); err != nil {
			return err
		}
		e.logMembers(running.discovered, wanted)
		return nil
	})
}

// logMembers logs what has changed, in one line for each cluster.
func (e *Engine) logMembers(before, after discovered) {
	clusters := maps.Clone(before)
	maps.Copy(clusters, after)
	for _, cluster := range slices.Sorted(maps.Keys(clusters)) {
		added, removed := lacking(after[cluster], before[cluster]), lacking(before[cluster], after[cluster])
		if len(added)+len(removed) > 0 {
			e.log.Info("servers from topology", append([]any{"cluster", cluster, "servers", len(after[cluster])}, changeAttrs(added, len(added), removed, len(removed))...)...)
		}
	}
}

// lacking returns the texts of a list that another one lacks.
func lacking(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(a string) bool { _, found := slices.BinarySearch(other, a); return found })
}

// maxLoggedNames bounds the names in a line about found servers.
const maxLoggedNames = 10

// changeAttrs returns the attributes of a line about found servers: how many came and left, and the first names.
func changeAttrs(added []string, addedN int, removed []string, removedN int) []any {
	attrs := []any{"added", addedN, "removed", removedN}
	if addedN > 0 {
		attrs = append(attrs, "added_names", strings.Join(added[:min(len(added), maxLoggedNames)], " "))
	}
	if removedN > 0 {
		attrs = append(attrs, "removed_names", strings.Join(removed[:min(len(removed), maxLoggedNames)], " "))
	}
	return attrs
}

// wantedMembers returns the members to serve, by cluster. A cluster whose source cannot confirm its decision, or has none,
// keeps the servers that it has.
func (e *Engine) wantedMembers(running *runningState) discovered {
	wanted := discovered{}
	for name, t := range e.topologies.all() {
		c := running.cfg.Cluster(name)
		if c == nil || c.Topology == nil || !c.Topology.Discover {
			continue
		}
		t.mu.Lock()
		view, servers := t.view, t.servers
		t.mu.Unlock()
		list := running.discovered[name]
		if view.Primary != "" && view.Stale.IsZero() {
			list = e.usableMembers(running, c, &view, servers)
		}
		if len(list) > 0 {
			wanted[name] = list
		}
	}
	return wanted
}

// usableMembers returns the addresses of the members that are not servers of the configuration and can be used, sorted. Of
// members with an address in common, the first one counts. It does not depend on the servers that the topology found before:
// the same view with the same names always has the same servers.
func (e *Engine) usableMembers(running *runningState, c *conf.Cluster, view *topology.View, servers []topology.Server) (list []string) {
	own := newMatcher(slices.DeleteFunc(slices.Clone(servers), func(s topology.Server) bool { return running.isDiscovered(c.Name, s.Name) }), &e.memberHosts)
	usable := e.memberCheck(running, c)
	members := make([]string, 0, len(view.Members))
	for i := range view.Members {
		if m := &view.Members[i]; len(own.find(m.Name, m.Address)) == 0 {
			members = append(members, m.Address)
		}
	}
	slices.Sort(members)
	taken := map[netip.AddrPort]bool{}
	for _, address := range slices.Compact(members) {
		if usable(address) != nil {
			continue
		}
		at := e.memberAddresses(address)
		if !slices.ContainsFunc(at, func(a netip.AddrPort) bool { return taken[a] }) {
			list = append(list, address)
		}
		for _, a := range at {
			taken[a] = true
		}
	}
	return list
}

// memberAddresses returns the known addresses of a member.
func (e *Engine) memberAddresses(address string) []netip.AddrPort {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return []netip.AddrPort{withoutZone(at)}
	}
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return addresses{host: e.memberHosts.lookup(host)}.of(conf.Address{Host: host, Port: uint16(n)})
}

// savedMembers returns the servers that topologies had found in an earlier process, by cluster: its sessions use them.
func (r *reload) savedMembers() discovered {
	found := discovered{}
	if r.e.savedState == nil {
		return found
	}
	trial := &runningState{file: r.next.file, cfg: r.next.cfg}
	for i := range r.e.savedState.Clusters {
		saved := &r.e.savedState.Clusters[i]
		c := r.next.cfg.Cluster(saved.Name)
		if c == nil || c.Topology == nil || !c.Topology.Discover || saved.Topology == nil || saved.Topology.Of != sourceOf(c.Topology) {
			continue
		}
		usable := r.e.memberCheck(trial, c)
		for _, m := range saved.Topology.Members {
			if usable(m.Address) == nil {
				found[c.Name] = append(found[c.Name], m.Address)
			}
		}
		slices.Sort(found[c.Name])
	}
	return found
}

var errNotResolved = errors.New("its name has no address")

// memberCheck returns a function that returns why a member cannot become a server of a cluster: a malformed address, a name
// that does not resolve, an address that is not one host's, or one at which weir itself listens.
func (e *Engine) memberCheck(running *runningState, c *conf.Cluster) func(address string) error {
	sockets := ownSocketsOf(running.cfg)
	trial := *running.file
	trial.Listeners = slices.Clone(running.cfg.Listeners)
	for i := range trial.Listeners {
		trial.Listeners[i].Levels = nil
	}
	return func(address string) error {
		s, err := c.Topology.Discovered(address)
		if err != nil {
			return err
		}
		known := addresses{s.Address.Host: e.memberHosts.lookup(s.Address.Host)}.of(s.Address)
		if len(known) == 0 {
			return errNotResolved
		}
		one := *c
		one.Levels = []conf.Level{{MinUp: 1, Servers: []conf.Server{s}}}
		trial.Clusters = []conf.Cluster{one}
		if err := trial.ValidateServers(); err != nil {
			return err
		}
		own := func(ip netip.Addr) bool { return sockets.own(ip.WithZone("")) }
		if err := trial.ValidateLoops(func(conf.Address) []netip.AddrPort { return known }, own); err != nil {
			return err
		}
		return sockets.refuseAny(known)
	}
}
