package promotion

// Routes and interfaces of this host.

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// findRoutes returns the interfaces through which the packets of a session leave, by direction: those from the client leave on
// the server's leg. mu is held.
func (k *Kernel) findRoutes(legs [2]Leg) (leaves [2]uint32, err error) {
	if k.closed {
		return leaves, ErrFull
	}
	for i := range 2 {
		if leaves[i], err = k.findRoute(&legs[1-i]); err != nil {
			return leaves, err
		}
		if !k.ports[leaves[i]] {
			return leaves, ErrInterfaces
		}
	}
	if (leaves[0] == loopback) != (leaves[1] == loopback) {
		return leaves, ErrInterfaces
	}
	return leaves, nil
}

func (k *Kernel) findRoute(leg *Leg) (uint32, error) {
	remote, local := leg.Remote.Addr(), leg.Local.Addr()
	routes, err := k.routes.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), OifIndex: leg.Interface})
	if err != nil || len(routes) == 0 || routes[0].LinkIndex <= 0 || !isForwardable(routes[0].Type) {
		return 0, ErrNoRoute
	}
	return uint32(routes[0].LinkIndex), nil
}

func isForwardable(routeType int) bool {
	return routeType == unix.RTN_UNICAST || routeType == unix.RTN_LOCAL
}

// HasScope reports whether an address is valid on one interface only, or names no host.
func HasScope(at netip.Addr) bool {
	return !at.IsValid() || at.IsUnspecified() || at.IsLinkLocalUnicast() || at.IsMulticast() || at.Zone() != ""
}
