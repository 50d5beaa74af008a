package promotion

// Routes and interfaces of this host, and their changes.

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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

// WatchNetwork calls changed after each change of interfaces, addresses, routes and rules of this host, until stop is called, which waits for
// its end. changed must not block.
func WatchNetwork(changed func()) (stop func(), err error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, _, err := s.Receive()
			if err != nil && !errors.Is(err, unix.ENOBUFS) { // changes were lost: it is enough to know that there were some
				return
			}
			changed()
		}
	}()
	return func() { s.Close(); <-done }, nil
}
