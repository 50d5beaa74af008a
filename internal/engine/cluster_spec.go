package engine

import (
	"cmp"
	"fmt"
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
		Divided: sharesLimits(r.next.cfg.Fleet), SlowStart: c.SlowStart, Queue: c.QueueTimeout > 0, MaxHeld: c.MaxHeld, ReleaseRate: c.ReleaseRate,
		KeepAway: r.keepAway(c), AutoRebalance: c.Rebalance == "auto", Settle: c.CloseDeadline, Wanted: wantedRole(c),
	}
	for _, check := range c.Checks {
		spec.CheckRound = max(spec.CheckRound, 2*check.Interval+check.Timeout) // maximum time between the verdicts of one round
	}
	for i, level := range c.Levels {
		ls := balance.LevelSpec{Name: level.Name, Key: r.e.levels.key(c.Name, level.Name, i), MinUp: level.MinUp, Try: level.Try}
		for _, server := range level.Servers {
			state, _ := balance.ParseAdminState(server.State)
			target, err := newTarget(&server, known)
			if err != nil && server.Address.Addr.Addr().Zone() != "" {
				return balance.Spec{}, conf.Errors{r.next.cfg.ZoneError(c.Name, &server, err)}
			}
			if err != nil {
				return balance.Spec{}, fmt.Errorf("cluster %s: server %s: %w", c.Name, server.Name, err)
			}
			target.SetStats(r.serverStats(r.runningCluster(c.Name), &server))
			target.LeaveThrough(server.Interface)
			target.SendProxy(map[string]uint8{"v1": 1, "v2": 2}[server.SendProxy], server.ProxyTLVs)
			found := r.next.found.serving[levelID{c.Name, c.LevelName(i)}][server.Name]
			ls.Servers = append(ls.Servers, balance.ServerSpec{
				Name: server.Name, Address: server.Address.String(), Weight: server.Weight,
				MaxFails: server.MaxFails, FailTimeout: server.FailTimeout, State: state,
				MaxSessions: server.MaxSessions, Handle: target, Found: found, External: found || r.next.isDiscovered(c.Name, server.Name),
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
	if c.Topology == nil {
		return balance.AnyRole
	}
	return cmp.Or(map[string]balance.Wanted{"replica": balance.WantReplica, "replica_first": balance.WantReplicaFirst}[c.Topology.Role], balance.WantPrimary)
}

// monitorsOf returns the monitors of a server. Agents give advice, not verdicts.
func monitorsOf(c *conf.Cluster, server string) (list []balance.MonitorSpec) {
	for i := range c.Checks {
		check := &c.Checks[i]
		if isAgent(check) || !check.Tests(server) {
			continue
		}
		list = append(list, balance.MonitorSpec{ID: check.ID, InitialDown: check.Initial == "down", OnlyDown: check.Servers == "down"})
	}
	return list
}

// levelKeys gives every level a key that survives reloads, so that sessions and listeners refer to the same level after
// it has moved. The key of a level without a name is its index.
type levelKeys map[[2]string]int // by cluster and level

func (k levelKeys) key(cluster, name string, index int) int {
	if name == "" {
		return index
	}
	id := [2]string{cluster, name}
	if _, known := k[id]; !known {
		k[id] = 1<<16 + len(k)
	}
	return k[id]
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
	if path := server.Address.Path; path != "" {
		return l4.NewUnixTarget(path)
	}
	target, err := l4.NewTarget(known.of(server.Address), server.Source)
	if err == nil && server.Address.SamePort {
		target.UseClientPort()
	}
	return target, err
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
