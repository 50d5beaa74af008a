package soak

// The routes of listeners, and whether each session went to the cluster of its route.

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// route is a route of a listener. All of its conditions must hold.
type route struct {
	name    string
	sources []netip.Prefix // empty = any client
	names   []string       // empty = any client
	shares  []share        // more than one = split
}

// share is a cluster's share of the clients of a route.
type share struct{ cluster, weight int }

// The name of the route of clients that match no other.
const defaultRoute = "default"

// routedClusters are the clusters of routes: their servers expect a ClientHello, and never refuse.
var routedClusters = []int{0, 1, fileCluster, httpCluster}

// sourceRoutes returns routes by the networks of clients.
func sourceRoutes() []route {
	network := func(host, bits int) []netip.Prefix {
		return []netip.Prefix{netip.PrefixFrom(netip.MustParseAddrPort(address(host, 1)).Addr(), bits)}
	}
	return []route{
		{name: "one", sources: network(1, 32), shares: []share{{fileCluster, 1}}},
		{name: "two", sources: network(2, 31), shares: []share{{httpCluster, 3}, {1, 1}}},
	}
}

// nameRoutes returns routes by the names that clients ask for.
func nameRoutes() []route {
	return []route{
		{name: "exact", names: []string{"a.soak.test"}, shares: []share{{fileCluster, 1}}},
		{name: "below", names: []string{"*.b.soak.test"}, shares: []share{{httpCluster, 1}, {0, 1}}},
		{name: "both", names: []string{"c.soak.test"}, sources: sourceRoutes()[1].sources, shares: []share{{0, 1}}},
	}
}

// mutateRoutes changes the clusters of a route, or the order of routes.
func (l *listener) mutateRoutes(r *rand.Rand) {
	to := &l.routes[r.IntN(len(l.routes))]
	switch a, b := routedClusters[r.IntN(len(routedClusters))], routedClusters[r.IntN(len(routedClusters))]; {
	case r.IntN(4) == 0:
		slices.Reverse(l.routes)
	case a == b:
		to.shares = []share{{a, 1}}
	default:
		to.shares = []share{{a, 1 + r.IntN(9)}, {b, r.IntN(10)}}
	}
}

func (w *randomConfig) writeRoute(b *strings.Builder, to *route) {
	fmt.Fprintf(b, "[[listener.route]]\nname = %q\n", to.name)
	if len(to.names) > 0 {
		fmt.Fprintf(b, "sni = [\"%s\"]\n", strings.Join(to.names, `", "`))
	}
	for _, from := range to.sources { // one at most
		fmt.Fprintf(b, "source = [%q]\n", from)
	}
	if len(to.shares) == 1 {
		fmt.Fprintf(b, "cluster = %q\n", w.clusters[to.shares[0].cluster].name)
		return
	}
	b.WriteString("split = { ")
	for i, s := range to.shares {
		fmt.Fprintf(b, "%s%s = %d", strings.Repeat(", ", min(i, 1)), w.clusters[s.cluster].name, s.weight)
	}
	b.WriteString(" }\n")
}

// applies reports whether a route takes a client that asks for a name; "" = it asks for none.
func (to *route) applies(client netip.Addr, name string) bool {
	below := func(pattern string) bool {
		suffix, wild := strings.CutPrefix(pattern, "*")
		return name == pattern || wild && strings.HasSuffix(name, suffix) && len(name) > len(suffix)
	}
	return (len(to.sources) == 0 || slices.ContainsFunc(to.sources, func(p netip.Prefix) bool { return p.Contains(client) })) &&
		(len(to.names) == 0 || slices.ContainsFunc(to.names, below))
}

// choose returns the name of the route of a client, and the clusters that may serve it.
func (l *listener) choose(client netip.Addr, name string) (route string, clusters []int) {
	if len(l.routes) == 0 {
		return "", []int{l.cluster}
	}
	for i := range l.routes {
		if to := &l.routes[i]; to.applies(client, name) {
			for _, s := range to.shares {
				if s.weight > 0 {
					clusters = append(clusters, s.cluster)
				}
			}
			return to.name, clusters
		}
	}
	return defaultRoute, []int{l.cluster}
}

// routeLog holds the routes of all configurations, with the times in which they were in force.
type routeLog struct {
	mu      sync.Mutex
	periods []*routePeriod
}

type routePeriod struct {
	listeners []listener
	from, to  time.Time // to zero = it lasts

	// chosen are the clusters of clients by route and address: a client stays with its cluster.
	chosen map[string]string
}

// begin adds a configuration that may be in force from now on.
func (l *routeLog) begin(w *randomConfig) *routePeriod {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &routePeriod{listeners: w.listeners, from: time.Now(), chosen: map[string]string{}}
	l.periods = append(l.periods, p)
	return p
}

// endOthers ends all configurations but one.
func (l *routeLog) endOthers(p *routePeriod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.periods {
		if o != p && o.to.IsZero() {
			o.to = time.Now()
		}
	}
}

// unrouted are the phases before a route is chosen.
var unrouted = []string{"accept", "proxy_header", "admit", "client_hello"}

// maxChoice is how long after its begin a route may be chosen for a session: it may wait for its ClientHello or for a server.
const maxChoice = maxHelloPause*time.Millisecond + 5*time.Second

// verifyRoute returns what is wrong with the route or the cluster of a session, or "".
func (j *verifier) verifyRoute(p *clientResult, r *record) string {
	if slices.Contains(unrouted, r.Phase) {
		return ""
	}
	from, to := j.faultLog.before(r.begun(), tolerance), j.faultLog.after(r.begun(), maxChoice)
	var wants []string
	var match *routePeriod
	j.routes.mu.Lock()
	defer j.routes.mu.Unlock()
	n := 0
	for _, period := range slices.Backward(j.routes.periods) {
		if period.from.After(to) {
			continue
		}
		if !period.to.IsZero() && period.to.Before(from) {
			break
		}
		i := slices.IndexFunc(period.listeners, func(l listener) bool { return l.name == p.listener })
		route, clusters := period.listeners[i].choose(p.client.Addr(), p.script.hello.name)
		n++
		wants = append(wants, fmt.Sprintf("%q to %v", route, clusters))
		if route == r.Route && slices.ContainsFunc(clusters, func(c int) bool { return clusterName(c) == r.Cluster }) {
			match = period
		}
	}
	switch {
	case match == nil:
		return fmt.Sprintf("want route %s; got %q to %s", strings.Join(slices.Compact(wants), " or "), r.Route, r.Cluster)
	case r.SNI != p.script.hello.name:
		return fmt.Sprintf("want server name %q; got %q", p.script.hello.name, r.SNI)
	case n > 1 || r.Route == "":
		return ""
	}
	key := r.Route + " " + p.listener + " " + p.client.Addr().String()
	if was := match.chosen[key]; was != "" && was != r.Cluster {
		return fmt.Sprintf("clients of route %s from %s went to %s before, and now to %s", r.Route, p.client.Addr(), was, r.Cluster)
	}
	match.chosen[key] = r.Cluster
	return ""
}

// clusterName returns the name of a cluster.
func clusterName(i int) string { return fmt.Sprintf("c%d", i) }
