package engine

// Servers that providers have found, in the configuration.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"weir/conf"
)

// provided are the servers that providers have found, by level. It is immutable.
type provided map[levelID][]conf.Server

// providedNow returns the servers of the current answers.
func providedNow(providers map[levelID]*provider) provided {
	if len(providers) == 0 {
		return nil
	}
	found := make(provided, len(providers))
	for id, p := range providers {
		p.mu.Lock()
		found[id] = p.servers
		p.mu.Unlock()
	}
	return found
}

// same reports whether two sets have the same servers, by the identity of their lists.
func (p provided) same(o provided) bool {
	if len(p) != len(o) {
		return false
	}
	for id, list := range p {
		other, ok := o[id]
		if !ok || len(list) != len(other) || len(list) > 0 && &list[0] != &other[0] {
			return false
		}
	}
	return true
}

// names reports whether a provider of the cluster names a server.
func (p provided) names(cluster, server string) bool {
	for id, list := range p {
		if id.cluster == cluster && slices.ContainsFunc(list, func(s conf.Server) bool { return s.Name == server }) {
			return true
		}
	}
	return false
}

// foundServers describes what became of the servers that providers have found. It is immutable.
type foundServers struct {
	serving map[levelID]map[string]bool // servers of the configuration that come only from a provider, by name
	unused  map[levelID][]unusedServer  // servers that are listed and not used
}

type unusedServer struct {
	name, reason string
	removed      bool // by an operator
}

// withhold returns why a found server stays away, or "", and whether an operator has removed it.
type withhold func(cluster string, s *conf.Server) (reason string, removed bool)

// merge returns cfg with the found servers in their levels. A server that the configuration has stays as it is. withheld
// reports why a server stays away, or "". cfg is not modified.
func (p provided) merge(cfg *conf.Config, withheld withhold) (*conf.Config, foundServers) {
	found := foundServers{map[levelID]map[string]bool{}, map[levelID][]unusedServer{}}
	if len(p) == 0 {
		return cfg, found
	}
	result := *cfg
	result.Clusters = slices.Clone(cfg.Clusters)
	for i := range result.Clusters {
		c := &result.Clusters[i]
		if !c.Discovers() {
			continue
		}
		c.Levels = slices.Clone(c.Levels)
		byName, byAddress := map[string]*conf.Server{}, map[conf.Address]*conf.Server{}
		for s := range c.Servers() {
			if byName[s.Name] == nil {
				byName[s.Name] = s
			}
			if byAddress[s.Address] == nil {
				byAddress[s.Address] = s
			}
		}
		for j := range c.Levels {
			if l := &c.Levels[j]; l.Discover != nil {
				p.mergeLevel(c, j, byName, byAddress, withheld, &found)
			}
		}
	}
	return &result, found
}

// mergeLevel adds the found servers of one level.
func (p provided) mergeLevel(c *conf.Cluster, level int, byName map[string]*conf.Server, byAddress map[conf.Address]*conf.Server,
	withheld withhold, found *foundServers) {
	l, id := &c.Levels[level], levelID{c.Name, c.LevelName(level)}
	list := p[id]
	own := make([]conf.Server, len(l.Servers), len(l.Servers)+len(list))
	copy(own, l.Servers)
	here := make(map[string]bool, len(own)+len(list))
	for i := range own {
		here[own[i].Name] = true
	}
	serving := make(map[string]bool, len(list))
	for i := range list {
		s := list[i]
		if why, removed := withheld(c.Name, &s); why != "" {
			found.unused[id] = append(found.unused[id], unusedServer{s.Name, why, removed})
			continue
		}
		if same := byAddress[s.Address]; same != nil {
			weight := s.Weight
			s = *same
			s.Weight = weight
		} else if other := byName[s.Name]; other != nil {
			found.unused[id] = append(found.unused[id], unusedServer{name: s.Name, reason: "server " + other.Address.String() + " has the name already"})
			continue
		}
		if here[s.Name] {
			continue // as in the file
		}
		own = append(own, s)
		here[s.Name], serving[s.Name] = true, true
		if byName[s.Name] == nil {
			byName[s.Name], byAddress[s.Address] = &own[len(own)-1], &own[len(own)-1]
		}
	}
	l.Servers, found.serving[id] = own, serving
}

// mergeProvided sets the found servers of the next configuration.
func (r *reload) mergeProvided() error {
	base := r.next.cfg
	if err := r.prepareProviders(base); err != nil {
		return err
	}
	if len(r.next.providers) == 0 {
		return nil
	}
	r.ownHosts = resolvedHosts(base)
	r.next.provided = providedNow(r.next.providers)
	r.next.cfg, r.next.found = r.next.provided.merge(base, r.withheld(base))
	return nil
}

// withheld returns a function that returns why a found server stays away: an operator has removed it, or it cannot be used here.
func (r *reload) withheld(base *conf.Config) withhold {
	removed := map[levelID]string{} // by cluster and address; the name of the removed server
	faults := map[levelID]string{}
	for i := range base.Clusters {
		c := &base.Clusters[i]
		for _, name := range r.next.overlay.Removed(c.Name) {
			removed[levelID{c.Name, name}] = name
			if own := r.next.file.Cluster(c.Name); own != nil {
				if s := own.Server(name); s != nil {
					removed[levelID{c.Name, s.Address.String()}] = name
				}
			}
		}
	}
	trial, _ := r.next.provided.merge(base, func(string, *conf.Server) (string, bool) { return "", false })
	sockets := ownSocketsOf(base)
	known := r.next.addresses
	if known == nil {
		known = r.old.addresses
	}
	at := func(to conf.Address) []netip.AddrPort { return r.e.foundAddresses(known, to) }
	for c, err := range trial.FaultyServers(at, func(ip netip.Addr) bool { return sockets.own(ip.WithZone("")) }) {
		faults[levelID{c.Cluster, c.Server.Name}] = err.Error()
	}
	return func(cluster string, s *conf.Server) (string, bool) {
		for _, key := range []string{s.Name, s.Address.String()} {
			if name, ok := removed[levelID{cluster, key}]; ok {
				return fmt.Sprintf("removed by an operator (weir server %s/%s restore)", cluster, name), true
			}
		}
		if fault, bad := faults[levelID{cluster, s.Name}]; bad {
			return fault, false
		}
		if err := sockets.refuseAny(at(s.Address)); err != nil {
			return err.Error(), false
		}
		if s.Address.Addr.Addr().Zone() != "" {
			if _, err := newTarget(s, nil); err != nil {
				return err.Error(), false
			}
		}
		return "", false
	}
}

// foundAddresses returns the addresses of a found server, as known or else as last looked up.
func (e *Engine) foundAddresses(known addresses, to conf.Address) []netip.AddrPort {
	if list := known.of(to); len(list) > 0 {
		return list
	}
	return addresses{to.Host: e.memberHosts.lookup(to.Host)}.of(to)
}

// minApplyPause is the time between two reloads because of providers: changes are applied together.
const minApplyPause = 200 * time.Millisecond

// applyProvided reloads the running configuration if the servers that providers list have changed; with names, also if the
// addresses of their names have.
func (e *Engine) applyProvided(names bool) error {
	running := e.running.Load()
	if running.cfg == nil || len(running.providers) == 0 || !names && providedNow(running.providers).same(running.provided) {
		return nil
	}
	return e.locked(func() error {
		running := e.running.Load()
		if !names && providedNow(running.providers).same(running.provided) {
			return nil
		}
		r := e.newReload(running.file, running.overlay, running.monitors)
		r.sources, r.keepProviders = running.sources, true
		if err := r.merge(); err != nil {
			return err
		}
		if err := r.install(); err != nil {
			return err
		}
		e.logProvided(running, r.next)
		return nil
	})
}

// logProvided logs what has changed, in few lines.
func (e *Engine) logProvided(before, after *runningState) {
	for id, list := range after.provided {
		old := before.provided[id]
		if len(list) == len(old) && (len(list) == 0 || &list[0] == &old[0]) {
			continue
		}
		c := changeOf(old, list, time.Time{})
		attrs := []any{"cluster", id.cluster, "level", id.level, "servers", len(list), "changed", c.editedN}
		e.log.Info("servers from provider", append(attrs, changeAttrs(c.added, c.addedN, c.removed, c.removedN)...)...)
	}
}

// pauseBetween waits until a time has passed since the last apply, or until the engine ends.
func (e *Engine) pauseBetween(last time.Time) {
	ctx, cancel := context.WithDeadline(e.ctx, last.Add(minApplyPause))
	defer cancel()
	<-ctx.Done()
}

// contextUntil returns a context that ends with either of two.
func contextUntil(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(a)
	stop := context.AfterFunc(b, cancel)
	return ctx, func() { stop(); cancel() }
}

// logIfFailed logs the error of a background change, except that of an engine that stops.
func (e *Engine) logIfFailed(text string, err error) {
	if err != nil && !errors.Is(err, ErrStopped) {
		e.log.Error(text, "error", err)
	}
}

// equalServers compares two servers.
func equalServers(a, b conf.Server) bool { return reflect.DeepEqual(a, b) }

// withProvided returns a configuration with the servers that are found now, for a plan: no provider is asked.
func (s *runningState) withProvided(cfg *conf.Config) *conf.Config {
	result, _ := s.provided.merge(cfg, func(cluster string, server *conf.Server) (string, bool) {
		for id, list := range s.found.unused {
			for _, u := range list {
				if id.cluster == cluster && u.name == server.Name {
					return u.reason, u.removed
				}
			}
		}
		return "", false
	})
	return result
}

// providesServer reports whether a provider names a server of a cluster, by its name or its address.
func (s *runningState) providesServer(cluster, server string) bool {
	if s.provided.names(cluster, server) {
		return true
	}
	c := s.cfg.Cluster(cluster)
	if c == nil {
		return false
	}
	own := c.Server(server)
	for id, list := range s.provided {
		if own != nil && id.cluster == cluster && slices.ContainsFunc(list, func(f conf.Server) bool { return f.Address == own.Address }) {
			return true
		}
	}
	return false
}
