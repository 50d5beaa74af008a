package l4

// Routes: the settings of a session, and with them its cluster, chosen by the client's address and its TLS ClientHello.

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/internal/clienthello"
)

// Routes are the immutable routes of a listener.
type Routes struct {
	List    []Route       // in the order in which they are tried
	Default *Settings     // of clients that match no route
	Hello   bool          // TCP: sessions wait for the client's ClientHello
	Timeout time.Duration // > 0 with Hello; for the whole ClientHello
}

// Route is one of the routes. All of its conditions must hold.
type Route struct {
	Names     *NameSet    // of servers, in the ClientHello; nil = always holds
	Protocols []string    // in the ClientHello, at least one of them; nil = always holds
	Source    *AddressSet // of clients; nil = always holds
	Targets   []*Settings
	Split     *balance.Split // divides the clients among Targets; nil = there is one
}

// NameSet is an immutable set of server names.
type NameSet struct {
	names    map[string]struct{}
	suffixes map[string]struct{} // of names with further labels; begin with a dot
}

// NewNameSet returns the set of names that match one of the patterns: a name in lower case, or "*." and the last labels.
func NewNameSet(patterns []string) *NameSet {
	s := &NameSet{names: map[string]struct{}{}, suffixes: map[string]struct{}{}}
	for _, p := range patterns {
		if suffix, wild := strings.CutPrefix(p, "*"); wild {
			s.suffixes[suffix] = struct{}{}
		} else {
			s.names[p] = struct{}{}
		}
	}
	return s
}

// Contains reports whether a name in lower case is in the set.
func (s *NameSet) Contains(name []byte) bool {
	if _, ok := s.names[string(name)]; ok {
		return len(name) > 0
	}
	if len(s.suffixes) == 0 {
		return false
	}
	for i, c := range name {
		if c == '.' && i > 0 {
			if _, ok := s.suffixes[string(name[i:])]; ok {
				return true
			}
		}
	}
	return false
}

// choose returns the settings of a client's session. A client without an address is divided by its id. hello is its
// ClientHello; nil = it has none.
func (r *Routes) choose(client netip.Addr, id uint64, hello *clienthello.Hello) *Settings {
	client = client.Unmap()
	for i := range r.List {
		if x := &r.List[i]; x.matches(client, hello) {
			return x.target(client, id)
		}
	}
	return r.Default
}

func (x *Route) matches(client netip.Addr, hello *clienthello.Hello) bool {
	switch {
	case x.Source != nil && !x.Source.Contains(client):
		return false
	case x.Names == nil && x.Protocols == nil:
		return true
	case hello == nil, x.Names != nil && !x.Names.Contains(hello.ServerName):
		return false
	case x.Protocols == nil:
		return true
	}
	for _, p := range x.Protocols {
		if hello.Offers(p) {
			return true
		}
	}
	return false
}

func (x *Route) target(client netip.Addr, id uint64) *Settings {
	if x.Split == nil {
		return x.Targets[0]
	}
	var key [16]byte
	n := putIP(key[:], client)
	if !client.IsValid() {
		n = len(binary.BigEndian.AppendUint64(key[:0], id))
	}
	return x.Targets[x.Split.Pick(balance.HashKey(key[:n]))]
}

// Chosen returns the settings of sessions that a route has sent to a cluster, or else those of any route to that
// cluster; nil = none.
func (set *Settings) Chosen(route, cluster string) *Settings {
	if set.Routes == nil {
		if set.ClusterName == cluster {
			return set
		}
		return nil
	}
	var other *Settings
	for _, s := range set.Routes.settings() {
		switch {
		case s.ClusterName != cluster:
		case s.Route == route:
			return s
		case other == nil:
			other = s
		}
	}
	return other
}

// settings returns all settings that may be chosen.
func (r *Routes) settings() []*Settings {
	list := []*Settings{r.Default}
	for i := range r.List {
		list = append(list, r.List[i].Targets...)
	}
	return list
}

// RouteStats counts the sessions that a route has chosen.
type RouteStats struct {
	sessions atomic.Uint64
	baseline atomic.Uint64 // in another process
}

// Sessions returns the number of sessions that the route has chosen so far.
func (s *RouteStats) Sessions() uint64 { return s.sessions.Load() + s.baseline.Load() }

// SetBaseline sets the number of sessions that the route had chosen in another process.
func (s *RouteStats) SetBaseline(sessions uint64) { s.baseline.Store(sessions) }

// RouteCounts returns the counts of the routes of these settings, by name.
func (set *Settings) RouteCounts() map[string]*RouteStats {
	counts := map[string]*RouteStats{}
	if set != nil && set.Routes != nil {
		for _, s := range set.Routes.settings() {
			if s.RouteStats != nil {
				counts[s.Route] = s.RouteStats
			}
		}
	}
	return counts
}

// countRoute counts a session that a route has chosen.
func (set *Settings) countRoute() {
	if set.RouteStats != nil {
		set.RouteStats.sessions.Add(1)
	}
}
