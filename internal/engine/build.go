package engine

// From specifications to what the data plane and the balancing work with.

import (
	"fmt"
	"net/netip"
	"strconv"

	"weir/balance"
	"weir/conf"
	"weir/l4"
)

// balanceSpec is the balancing part of a cluster, with the dialling target of each server hung on.
func (e *Engine) balanceSpec(c *conf.Cluster, known addresses) (balance.Spec, error) {
	running := e.running.Load().clusters[c.Name]
	method, ok := balance.ParseMethod(c.Balance)
	if !ok {
		return balance.Spec{}, fmt.Errorf("cluster %s: balancing method %q is not available", c.Name, c.Balance)
	}
	spec := balance.Spec{
		Name: c.Name, Method: method, Try: c.Try, Protected: c.Protected, ManualFailback: c.Failback == "manual",
		SlowStart: c.SlowStart, Queue: c.QueueTimeout > 0,
	}
	for _, check := range c.Checks {
		spec.CheckRound = max(spec.CheckRound, 2*check.Interval+check.Timeout) // how far apart verdicts of one round may be
	}
	for i, level := range c.Levels {
		ls := balance.LevelSpec{Name: level.Name, Key: e.levels.key(c.Name, level.Name, i), MinUp: level.MinUp, Try: level.Try}
		for _, server := range level.Servers {
			target, err := newTarget(&server, known)
			if err != nil {
				return balance.Spec{}, fmt.Errorf("cluster %s: server %s: %w", c.Name, server.Name, err)
			}
			target.SetStats(e.statsOf(running, &server))
			target.SendProxy(proxyVersion(server.SendProxy))
			ls.Servers = append(ls.Servers, balance.ServerSpec{
				Name: server.Name, Address: server.Address.String(), Weight: server.Weight,
				MaxFails: server.MaxFails, FailTimeout: server.FailTimeout, State: adminState(server.State),
				MaxSessions: server.MaxSessions, Handle: target,
				Unresolved: server.Address.Host != "" && len(known[server.Address.Host]) == 0,
			})
		}
		spec.Levels = append(spec.Levels, ls)
	}
	return spec, nil
}

// levelKeys gives every level a number that stays, whatever its place in the file becomes: sessions and listeners go on
// to mean the same level while a reload moves it. A level without a name is known by its place.
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

// newTarget is where a server is dialled; one without a known address has a target with none.
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
		return l4.NewTarget(addrs, server.Source), nil
	}
	return l4.NewTarget([]netip.AddrPort{at.Addr}, server.Source), nil
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

// statsOf is what is counted of a server: what it had before, if it was there before.
func (e *Engine) statsOf(running *balance.Cluster, server *conf.Server) *l4.ServerStats {
	if running != nil {
		if s := running.Server(server.Name); s != nil {
			if t, ok := s.Handle().(*l4.Target); ok {
				return t.Stats()
			}
		}
	}
	return e.plane.NewServerStats()
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

// settings is what a listener's clients get.
func (e *Engine) settings(ln *conf.Listener, c *conf.Cluster, b *balance.Cluster, cfg *conf.Config) *l4.Settings {
	s := &l4.Settings{
		Name: ln.Name, Cluster: b, ClusterName: c.Name, LevelNames: map[int]string{}, Hash: hashKey(c),
		ConnectTimeout: c.ConnectTimeout, TryTimeout: c.TryTimeout, QueueTimeout: c.QueueTimeout,
		ClientIdle: ln.ClientIdleTimeout, ServerIdle: c.ServerIdleTimeout, HalfClose: ln.HalfCloseTimeout,
		Keepalive: ln.TCPKeepalive, UserTimeout: ln.TCPUserTimeout, Backlog: ln.Backlog,
		FlowTimeout: ln.FlowTimeout, Drain: cfg.Runtime.DrainTimeout, Responses: ln.Responses,
	}
	if ln.AcceptProxy {
		s.AcceptProxy, s.ProxyTimeout = true, ln.ProxyTimeout
		s.TrustedProxies = l4.NewAddressSet(ln.TrustedProxies.Networks, ln.TrustedProxies.Unix)
	}
	if typ, ok := c.ProxyTLV(); ok {
		s.HashTLV = typ
	}
	switch cfg.Log.Sessions {
	case "errors":
		s.Records = l4.RecordErrors
	case "all":
		s.Records = l4.RecordAll
	}
	for _, i := range ln.Levels {
		s.Levels = append(s.Levels, e.levels.key(c.Name, c.Levels[i].Name, i))
	}
	for i, level := range c.Levels {
		tag := level.Name
		if tag == "" {
			tag = strconv.Itoa(i + 1)
		}
		s.LevelNames[e.levels.key(c.Name, level.Name, i)] = tag
	}
	return s
}

func hashKey(c *conf.Cluster) l4.HashKey {
	if c.Balance != "hash" && c.Balance != "maglev" {
		return l4.NoHash
	}
	switch c.HashKey {
	case "client_ip_port":
		return l4.HashClientIPPort
	case "local_address":
		return l4.HashLocalAddress
	}
	if _, ok := c.ProxyTLV(); ok {
		return l4.HashProxyTLV
	}
	return l4.HashClientIP
}
