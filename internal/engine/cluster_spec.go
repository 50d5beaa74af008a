package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/l4"
)

// balanceSpec returns the specification of a cluster for balance. The handle of each server is its dial target.
func (r *reload) balanceSpec(c *conf.Cluster) (balance.Spec, error) {
	known := r.next.addresses
	method, ok := balance.ParseMethod(c.Balance)
	if !ok {
		return balance.Spec{}, fmt.Errorf("cluster %s: balancing method %q is not available", c.Name, c.Balance)
	}
	spec := balance.Spec{
		Name: c.Name, Method: method, Try: c.Try, Protected: c.Protected, ManualFailback: c.Failback == "manual",
		SlowStart: c.SlowStart, Queue: c.QueueTimeout > 0, MaxHeld: c.MaxHeld, ReleaseRate: c.ReleaseRate,
		KeepAway: r.keepAway(c), AutoRebalance: c.Rebalance == "auto", Settle: c.CloseDeadline, Wanted: wantedRole(c),
	}
	for _, check := range c.Checks {
		spec.CheckRound = max(spec.CheckRound, 2*check.Interval+check.Timeout) // maximum time between the verdicts of one round
	}
	for i, level := range c.Levels {
		ls := balance.LevelSpec{Name: level.Name, Key: r.e.levels.key(c.Name, level.Name, i), MinUp: level.MinUp, Try: level.Try}
		for _, server := range level.Servers {
			state, version := adminState(server.State), proxyVersion(server.SendProxy)
			target, err := newTarget(&server, known)
			if err != nil && server.Address.Addr.Addr().Zone() != "" {
				return balance.Spec{}, conf.Errors{r.next.cfg.ZoneError(c.Name, &server, err)}
			}
			if err != nil {
				return balance.Spec{}, fmt.Errorf("cluster %s: server %s: %w", c.Name, server.Name, err)
			}
			target.SetStats(r.serverStats(r.runningCluster(c.Name), &server))
			target.SendProxy(version, server.ProxyTLVs)
			ls.Servers = append(ls.Servers, balance.ServerSpec{
				Name: server.Name, Address: server.Address.String(), Weight: server.Weight,
				MaxFails: server.MaxFails, FailTimeout: server.FailTimeout, State: state,
				MaxSessions: server.MaxSessions, Handle: target, Found: r.next.found.serving[levelID{c.Name, c.LevelName(i)}][server.Name],
				Unresolved: server.Address.Host != "" && len(known[server.Address.Host]) == 0,
				Monitors:   monitorsOf(c, server.Name),
			})
		}
		spec.Levels = append(spec.Levels, ls)
	}
	return spec, nil
}

// keepAway returns how long the state of servers that a provider no longer names is kept.
func (r *reload) keepAway(c *conf.Cluster) time.Duration {
	if !c.Discovers() {
		return 0
	}
	return max(r.next.cfg.Runtime.DrainTimeout, time.Nanosecond)
}

// wantedRole returns the role that the servers of a cluster need.
func wantedRole(c *conf.Cluster) balance.Wanted {
	switch {
	case c.Topology == nil:
		return balance.AnyRole
	case c.Topology.Role == "replica":
		return balance.WantReplica
	case c.Topology.Role == "replica_first":
		return balance.WantReplicaFirst
	}
	return balance.WantPrimary
}

// monitorsOf returns the monitors of a server. Agents give advice, not verdicts.
func monitorsOf(c *conf.Cluster, server string) (list []balance.MonitorSpec) {
	for i := range c.Checks {
		check := &c.Checks[i]
		if isAgent(check) || check.Servers == "list" && !slices.Contains(check.ServerNames, server) {
			continue
		}
		list = append(list, balance.MonitorSpec{ID: check.ID, InitialDown: check.Initial == "down", OnlyDown: check.Servers == "down"})
	}
	return list
}

// levelKeys gives every level a key that survives reloads, so that sessions and listeners refer to the same level after
// it has moved. The key of a level without a name is its index.
type levelKeys struct {
	keys map[[2]string]int // by cluster and level
}

func (k *levelKeys) key(cluster, name string, index int) int {
	if name == "" {
		return index
	}
	if k.keys == nil {
		k.keys = map[[2]string]int{}
	}
	id := [2]string{cluster, name}
	if _, known := k.keys[id]; !known {
		k.keys[id] = 1<<16 + len(k.keys)
	}
	return k.keys[id]
}

// checkZones returns an error for each server whose address names an interface that this host lacks.
func checkZones(cfg *conf.Config) (errs conf.Errors) {
	for c, s := range cfg.Servers() {
		if s.Address.Addr.Addr().Zone() == "" {
			continue
		}
		if _, err := newTarget(s, nil); err != nil {
			errs = append(errs, cfg.ZoneError(c.Name, s, err))
		}
	}
	return errs
}

// newTarget returns the dial target of a server. That of an unresolved name has no address.
func newTarget(server *conf.Server, known addresses) (*l4.Target, error) {
	at := server.Address
	switch {
	case at.Path != "":
		return l4.NewUnixTarget(at.Path)
	case at.Host != "":
		var addrs []netip.AddrPort
		for _, a := range known[at.Host] {
			addrs = append(addrs, netip.AddrPortFrom(a, at.Port))
		}
		return l4.NewTarget(addrs, server.Source)
	}
	return l4.NewTarget([]netip.AddrPort{at.Addr}, server.Source)
}

func proxyVersion(s string) uint8 {
	switch s {
	case "v1":
		return 1
	case "v2":
		return 2
	}
	return 0
}

// serverStats returns the counters of a server: those of the running server, or of one that has left and still has
// sessions, or new ones.
func (r *reload) serverStats(running *balance.Cluster, server *conf.Server) *l4.ServerStats {
	if running != nil {
		if s := running.Find(server.Name); s != nil {
			if t, ok := s.Handle().(*l4.Target); ok {
				return t.Stats()
			}
		}
	}
	return r.e.plane.NewServerStats()
}

func adminState(state string) balance.AdminState {
	switch state {
	case "drain":
		return balance.Drain
	case "maint":
		return balance.Maint
	}
	return balance.Ready
}
