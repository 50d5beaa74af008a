package vip

// Routes that deliver packets to an address of this host which no interface has.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// localRoute returns the route of an address. Its metric keeps it apart from the kernel's own route of an address.
func localRoute(ip netip.Addr, lo int) *netlink.Route {
	family := netlink.FAMILY_V4
	if ip.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Route{
		Family: family, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Protocol: proto, Priority: proto, LinkIndex: lo,
		Dst: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())},
	}
}

func addLocalRoute(ip netip.Addr, links map[string]link) error {
	return named(netlink.RouteReplace(localRoute(ip, links["lo"].index)))
}

func removeLocalRoute(ip netip.Addr, links map[string]link) error {
	err := netlink.RouteDel(localRoute(ip, links["lo"].index))
	if errors.Is(err, unix.ESRCH) { // it has gone meanwhile
		return nil
	}
	return named(err)
}

// listLocalRoutes returns the addresses with a route of weir.
func listLocalRoutes() (map[netip.Addr]bool, error) {
	found := map[netip.Addr]bool{}
	want := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Protocol: proto}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, want, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		for i := 1; i < dumpTries && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
			routes, err = netlink.RouteListFiltered(family, want, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		}
		if err != nil {
			return nil, fmt.Errorf("list local routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Priority != proto {
				continue
			}
			if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				found[ip.Unmap()] = true
			}
		}
	}
	return found, nil
}
