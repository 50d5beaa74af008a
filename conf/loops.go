package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

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

// findLoops finds servers that lead back to a listener that uses them.
func findLoops(listeners []Listener, clusters []Cluster) (found []serverError) {
	for _, protocol := range []string{"tcp", "udp"} {
		sockets := listenSocketsOf(listeners, protocol)
		for i := range clusters {
			c := &clusters[i]
			for j, level := range c.Levels {
				for k, s := range level.Servers {
					to, ok := sockets.reachedBy(s.Address)
					if !ok {
						continue
					}
					if l := &listeners[to]; l.Cluster == c.Name && l.usesLevel(j) {
						found = append(found, serverError{
							listener: to, cluster: i, level: j, server: k, key: "address", listenerKey: "address",
							text: fmt.Sprintf("cluster %s: server %s points back to listener %s", c.Name, s.Name, l.Name),
						})
					}
				}
			}
		}
	}
	return found
}

// usesLevel reports whether the listener tries the level with index i of its cluster.
func (l *Listener) usesLevel(i int) bool { return l.Levels == nil || slices.Contains(l.Levels, i) }

// reachedBy returns the listener that a connection to an address certainly reaches: the one that has the address, or for
// a loopback address the one that has all addresses at that port.
func (sockets listenSockets) reachedBy(to Address) (listener int, found bool) {
	if to.IsZero() {
		return 0, false
	}
	if strings.EqualFold(to.Host, "localhost") {
		for _, ip := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
			if i, ok := sockets.reachedBy(Address{Addr: netip.AddrPortFrom(ip, to.Port), Port: to.Port}); ok {
				return i, true
			}
		}
		return 0, false
	}
	if i, ok := sockets[to]; ok {
		return i, true
	}
	if !to.Addr.IsValid() || !to.Addr.Addr().IsLoopback() {
		return 0, false
	}
	if to.Addr.Addr().Is4() {
		any4 := Address{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port), Port: to.Port}
		if i, ok := sockets[any4]; ok {
			return i, true
		}
	}
	i, ok := sockets[Address{Addr: allAddresses(to.Port), Port: to.Port}]
	return i, ok
}
