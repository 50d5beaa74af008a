package engine

import (
	"cmp"

	"weir/balance"
	"weir/conf"
	"weir/internal/status"
	"weir/l4"
)

// addRoutes adds the routes of a listener to its settings, which lack a cluster yet. The settings of each route are those of
// the listener with another cluster.
func (r *reload) addRoutes(s *l4.Settings, ln *conf.Listener) {
	hello := ln.Protocol == "tcp" && ln.NeedsHello()
	for _, name := range ln.Clusters() {
		hello = hello || ln.Protocol == "tcp" && r.next.cfg.Cluster(name).HashesSNI()
	}
	if len(ln.Routes) == 0 && !hello {
		return
	}
	var running map[string]*l4.RouteStats
	if old := r.e.listeners[listenerID(ln.Protocol, ln.Addresses[0])]; old != nil {
		running = old.Settings().RouteCounts()
	}
	stats := func(route string) *l4.RouteStats { return cmp.Or(running[route], &l4.RouteStats{}) }
	with := func(route, cluster string, stats *l4.RouteStats, levels []int) *l4.Settings {
		chosen := *s
		chosen.Route, chosen.RouteStats = route, stats
		r.setCluster(&chosen, cluster, levels)
		return &chosen
	}
	routes := &l4.Routes{Hello: hello, Timeout: ln.PrereadTimeout}
	if len(ln.Routes) == 0 {
		routes.Default = with("", ln.Cluster, nil, ln.Levels)
	} else {
		routes.Default = with(conf.DefaultRoute, ln.Cluster, stats(conf.DefaultRoute), ln.Levels)
	}
	for i := range ln.Routes {
		spec, label := &ln.Routes[i], ln.RouteLabel(i)
		route := l4.Route{Protocols: spec.ALPN, Source: l4.NewAddressSet(spec.Source.Networks, spec.Source.Unix)}
		if len(spec.SNI) > 0 {
			route.Names = l4.NewNameSet(spec.SNI)
		}
		counts := stats(label)
		for cluster := range spec.Clusters() {
			route.Targets = append(route.Targets, with(label, cluster, counts, nil))
		}
		route.Split = split(spec.Split)
		routes.List = append(routes.List, route)
	}
	s.Routes = routes
}

// split returns the division of clients among the clusters of a route, or nil if it has no split.
func split(shares []conf.Share) *balance.Split {
	if len(shares) == 0 {
		return nil
	}
	names, weights := make([]string, len(shares)), make([]int, len(shares))
	for i, s := range shares {
		names[i], weights[i] = s.Cluster, s.Weight
	}
	return balance.NewSplit(names, weights)
}

// routeStatus returns the entries of a listener's routes at one of its addresses.
func routeStatus(ln *conf.Listener, set *l4.Settings) []status.Route {
	if len(ln.Routes) == 0 || set.Routes == nil {
		return nil
	}
	var list []status.Route
	counts := set.RouteCounts()
	sessions := func(label string) uint64 { return cmp.Or(counts[label], &l4.RouteStats{}).Sessions() }
	for i := range ln.Routes {
		r, label := &ln.Routes[i], ln.RouteLabel(i)
		entry := status.Route{Name: label, Conditions: r.Conditions(), Clusters: map[string]int{}, SessionsTotal: sessions(label)}
		if r.Cluster != "" {
			entry.Clusters[r.Cluster] = 1
		}
		for _, s := range r.Split {
			entry.Clusters[s.Cluster] = s.Weight
		}
		list = append(list, entry)
	}
	return append(list, status.Route{
		Name: conf.DefaultRoute, Conditions: "no other route matches", Clusters: map[string]int{ln.Cluster: 1},
		SessionsTotal: sessions(conf.DefaultRoute),
	})
}
