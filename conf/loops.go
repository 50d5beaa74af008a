package conf

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A loop is a server that leads back to a listener that uses it: directly, or through other listeners and their clusters.
// A UDP server must not be a listener at all, because weir drops datagrams of its own sockets.

// listenSockets maps the address of every listen socket of one protocol to the index of its listener.
type listenSockets map[Address]int

func listenSocketsOf(listeners []Listener, protocol string) listenSockets {
	owner := make(listenSockets)
	for i, l := range listeners {
		for _, a := range l.Addresses {
			if l.Protocol == protocol {
				owner[a] = i
			}
		}
	}
	return owner
}

// loopFinder finds loops among the listeners of one protocol.
type loopFinder struct {
	listeners []Listener
	clusters  []Cluster
	users     map[string][]int // of a cluster: listeners of the protocol
	sockets   listenSockets
	hosts     map[netip.Addr]bool            // of sockets
	addresses func(Address) []netip.AddrPort // of a server without a unix socket
	own       func(netip.Addr) bool          // whether the host has an address
	pairs     *pairBudget
}

// findLoops finds the servers that certainly lead back to a listener that uses them, on any host.
func findLoops(listeners []Listener, clusters []Cluster, pairs *pairBudget) []serverError {
	return findLoopsOn(listeners, clusters, staticAddresses, netip.Addr.IsLoopback, pairs)
}

// staticAddresses returns the addresses of a server that are the same on every host.
func staticAddresses(to Address) []netip.AddrPort {
	switch {
	case to.Addr.IsValid():
		return []netip.AddrPort{to.Addr}
	case strings.EqualFold(to.Host, "localhost"):
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port), netip.AddrPortFrom(netip.IPv6Loopback(), to.Port),
		}
	}
	return nil
}

func findLoopsOn(listeners []Listener, clusters []Cluster, addresses func(Address) []netip.AddrPort, own func(netip.Addr) bool, pairs *pairBudget) (found []serverError) {
	for _, protocol := range []string{"tcp", "udp"} {
		f := &loopFinder{
			listeners: listeners, clusters: clusters, users: map[string][]int{},
			sockets: listenSocketsOf(listeners, protocol), addresses: addresses, own: own, pairs: pairs,
		}
		f.hosts = make(map[netip.Addr]bool)
		for at := range f.sockets {
			f.hosts[at.Addr.Addr()] = true
		}
		for i, l := range listeners {
			if l.Protocol == protocol {
				for _, name := range l.Clusters() {
					f.users[name] = append(f.users[name], i)
				}
			}
		}
		if len(f.sockets) > 0 {
			found = append(found, f.find(protocol == "udp")...)
		}
	}
	return found
}

// find returns the servers that lead back to a listener; with udp, also those that are a listener.
func (f *loopFinder) find(udp bool) (found []serverError) {
	next := make([][]int, len(f.listeners)) // the listeners that the servers of each listener reach
	type reachedListener struct {
		serverError
		users []int // listeners that use the level of the server
	}
	var reached []reachedListener
	for i := range f.clusters {
		c := &f.clusters[i]
		for j, level := range c.Levels {
			users := f.usersOf(c.Name, j)
			if len(users) == 0 {
				continue
			}
			for k, s := range level.Servers {
				list := f.reachedBy(s.Address)
				at := map[int]bool{} // the listeners that the server is
				for _, user := range users {
					if s.Address.SamePort {
						list = f.reachedAtPorts(s.Address, user)
					} else if len(list) == 0 {
						break
					}
					if !f.pairs.take(1 + len(list)) {
						return nil
					}
					for _, to := range list {
						next[user], at[to] = append(next[user], to), true
					}
				}
				for _, to := range slices.Sorted(maps.Keys(at)) {
					reached = append(reached, reachedListener{serverError{listener: to, cluster: i, level: j, server: k, key: "address", listenerKey: "address"}, users})
				}
			}
		}
	}
	group := cycles(next)
	for _, e := range reached {
		c, l := &f.clusters[e.cluster], &f.listeners[e.listener]
		server := fmt.Sprintf("cluster %s: server %s", c.Name, c.Levels[e.level].Servers[e.server].Name)
		if !f.pairs.take(len(e.users)) || len(found) > maxErrors {
			return found
		}
		back := slices.IndexFunc(e.users, func(u int) bool { return group[u] == group[e.listener] })
		switch {
		case slices.Contains(e.users, e.listener):
			e.text = fmt.Sprintf("%s points back to listener %s", server, l.Name)
		case back >= 0:
			e.text = fmt.Sprintf("%s points to listener %s", server, l.Name)
			e.rest = fmt.Sprintf(", whose servers lead back to listener %s", f.listeners[e.users[back]].Name)
		case udp:
			e.text = fmt.Sprintf("%s is the udp listener %s", server, l.Name)
			e.rest = ": weir drops datagrams of its own sockets"
		default:
			continue
		}
		found = append(found, e.serverError)
	}
	return found
}

// usersOf returns the listeners that use the level with index i of a cluster.
func (f *loopFinder) usersOf(cluster string, i int) (users []int) {
	for _, u := range f.users[cluster] {
		if !f.pairs.take(f.listeners[u].references()) {
			return nil
		}
		if f.listeners[u].usesLevel(cluster, i) {
			users = append(users, u)
		}
	}
	return users
}

// cycles numbers the strongly connected components of a graph: two nodes reach each other if they have the same number. It takes
// linear time (Tarjan 1972, without recursion).
func cycles(next [][]int) (component []int) {
	component = make([]int, len(next))
	order, low := make([]int, len(next)), make([]int, len(next)) // order 0 = not visited
	edge := make([]int, len(next))                               // of a node on the path: its next edge
	var path, open []int
	visited, found := 0, 0
	for root := range next {
		if order[root] > 0 {
			continue
		}
		path = append(path[:0], root)
		for len(path) > 0 {
			at := path[len(path)-1]
			if order[at] == 0 {
				visited++
				order[at], low[at] = visited, visited
				open = append(open, at)
			}
			if edge[at] < len(next[at]) {
				to := next[at][edge[at]]
				edge[at]++
				switch {
				case order[to] == 0:
					path = append(path, to)
				case component[to] == 0: // still open
					low[at] = min(low[at], order[to])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1]
				low[up] = min(low[up], low[at])
			}
			if low[at] == order[at] {
				found++
				for closed := -1; closed != at; {
					closed = open[len(open)-1]
					open = open[:len(open)-1]
					component[closed] = found
				}
			}
		}
	}
	return component
}

// usesLevel reports whether the listener tries the level with index i of one of its clusters. Routes try all levels.
func (l *Listener) usesLevel(cluster string, i int) bool {
	if cluster == l.Cluster && (l.Levels == nil || slices.Contains(l.Levels, i)) {
		return true
	}
	return slices.ContainsFunc(l.Routes, func(r Route) bool {
		for name := range r.Clusters() {
			if name == cluster {
				return true
			}
		}
		return false
	})
}

// references returns how many references to levels and clusters usesLevel may look at.
func (l *Listener) references() int { return 1 + len(l.Levels) + len(l.Routes) }

// reachedBy returns the listener that a connection to a server certainly reaches, if its address has a port or a path.
func (f *loopFinder) reachedBy(to Address) []int {
	if to.Path != "" {
		if i, found := f.sockets[Address{Path: to.Path}]; found {
			return []int{i}
		}
		return nil
	}
	for _, at := range f.addresses(to) {
		if i, found := f.listenerAt(at); found {
			return []int{i}
		}
	}
	return nil
}

// reachedAtPorts returns the listeners that sessions of a listener certainly reach through a server with port = "same".
func (f *loopFinder) reachedAtPorts(to Address, user int) (list []int) {
	for _, at := range f.addresses(to) {
		ip := at.Addr().Unmap()
		if !f.own(ip) && !f.hosts[ip] {
			continue
		}
		for _, own := range f.listeners[user].Addresses {
			if !f.pairs.take(1 + len(list)) {
				return list
			}
			if i, found := f.listenerAt(netip.AddrPortFrom(ip, own.Port)); found && !slices.Contains(list, i) {
				list = append(list, i)
			}
		}
	}
	return list
}

// listenerAt returns the listener that a connection to an address certainly reaches: the one that has the address, or for
// an address of the host the one that has all addresses at that port.
func (f *loopFinder) listenerAt(at netip.AddrPort) (listener int, found bool) {
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	all := []netip.AddrPort{at}
	if f.own(at.Addr()) {
		if at.Addr().Is4() {
			all = append(all, netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port()))
		}
		all = append(all, allAddresses(at.Port()))
	}
	for _, a := range all {
		if i, ok := f.sockets[Address{Addr: a, Port: a.Port()}]; ok {
			return i, true
		}
	}
	return 0, false
}

// ValidateLoops returns an error for each server that leads back to a listener that uses it. addresses returns the
// addresses of a server, and own reports whether the host has an address.
func (c *Config) ValidateLoops(addresses func(Address) []netip.AddrPort, own func(netip.Addr) bool) error {
	var errs []error
	pairs := newPairBudget()
	for _, e := range findLoopsOn(c.Listeners, c.Clusters, addresses, own, pairs) {
		errs = append(errs, fmt.Errorf("%s: %s%s", c.ListenerPosition(c.Listeners[e.listener].Name), e.text, e.rest))
	}
	if pairs.left < 0 {
		errs = append(errs, errTooManyPairs)
	}
	return errors.Join(errs...)
}

// FaultyServer is a server that the configuration cannot have.
type FaultyServer struct {
	Cluster string
	Server  *Server
}

// FaultyServers iterates over the servers that lead back to a listener that uses them, and those that a listener cannot
// use, with the reasons. addresses and own are as of ValidateLoops.
func (c *Config) FaultyServers(addresses func(Address) []netip.AddrPort, own func(netip.Addr) bool) func(yield func(FaultyServer, error) bool) {
	return func(yield func(FaultyServer, error) bool) {
		pairs := newPairBudget()
		for _, e := range slices.Concat(findLoopsOn(c.Listeners, c.Clusters, addresses, own, pairs), findUnusable(c.Listeners, c.Clusters, pairs)) {
			k := &c.Clusters[e.cluster]
			if !yield(FaultyServer{k.Name, &k.Levels[e.level].Servers[e.server]}, errors.New(e.text+e.rest)) {
				return
			}
		}
	}
}
