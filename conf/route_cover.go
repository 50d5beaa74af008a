package conf

// Routes that no client can match because earlier ones take all of theirs.

import (
	"net/netip"
	"slices"
	"strings"
)

// maxCovered limits the comparisons of one listener's routes, whose number grows with the square of the routes and their conditions.
const maxCovered = 1 << 22

// warnCoveredRoutes warns about routes that can never match.
func (d *decoder) warnCoveredRoutes(l *listenerDraft) {
	budget := maxCovered
	for i := range l.routes {
		by, covered := l.coveredBy(i, &budget)
		if budget < 0 {
			return
		}
		if !covered {
			continue
		}
		labels := make([]string, len(by))
		for n, j := range by {
			labels[n] = l.RouteLabel(j)
		}
		d.warn(l.routes[i].node, "%s of listener %s can never match: %s %s its clients", l.RouteLabel(i), l.Name, joinWords(labels, "and"), verb(len(by)))
	}
}

func verb(n int) string {
	if n == 1 {
		return "takes"
	}
	return "take"
}

// coveredBy returns the earlier routes that take every client of route i. It divides the clients by name, protocol and network.
func (l *listenerDraft) coveredBy(i int, budget *int) (by []int, covered bool) {
	r := &l.routes[i].Route
	for _, name := range orAny(r.SNI) {
		for _, protocol := range orAny(r.ALPN) {
			for _, source := range sourcesOf(&r.Source) {
				taker := slices.IndexFunc(l.routes[:i], func(e routeDraft) bool {
					if *budget -= 1 + len(e.SNI) + len(e.ALPN) + len(e.Source.Networks); *budget < 0 {
						return false
					}
					return e.coversName(name) && e.coversProtocol(protocol) && e.coversSource(source)
				})
				if taker < 0 || *budget < 0 {
					return nil, false
				}
				if !slices.Contains(by, taker) {
					by = append(by, taker)
				}
			}
		}
	}
	slices.Sort(by)
	return by, true
}

// orAny returns the values of a condition; one that always holds has the value "".
func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

func (r *Route) coversName(pattern string) bool {
	return len(r.SNI) == 0 || slices.ContainsFunc(r.SNI, func(own string) bool {
		suffix, wild := strings.CutPrefix(own, "*")
		return own == pattern || wild && strings.HasSuffix(pattern, suffix)
	})
}

func (r *Route) coversProtocol(name string) bool {
	return len(r.ALPN) == 0 || slices.Contains(r.ALPN, name)
}

// routeSource is a part of the clients that the source of a route gives: a network, the clients of unix sockets, or any.
type routeSource struct {
	network   netip.Prefix
	unix, any bool
}

func sourcesOf(c *Clients) (list []routeSource) {
	if c.IsEmpty() {
		return []routeSource{{any: true}}
	}
	for _, n := range c.Networks {
		list = append(list, routeSource{network: n})
	}
	if c.Unix {
		list = append(list, routeSource{unix: true})
	}
	return list
}

func (r *Route) coversSource(s routeSource) bool {
	switch {
	case r.Source.IsEmpty():
		return true
	case s.any:
		v4, v6 := everyone()
		return r.Source.Unix && slices.Contains(r.Source.Networks, v4) && slices.Contains(r.Source.Networks, v6)
	case s.unix:
		return r.Source.Unix
	}
	return slices.ContainsFunc(r.Source.Networks, func(n netip.Prefix) bool {
		return n.Bits() <= s.network.Bits() && n.Contains(s.network.Addr())
	})
}
