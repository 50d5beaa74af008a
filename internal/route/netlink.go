package route

// Netlink requests for rules, routes and sockets.

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

func familyOf(r ReplyRoute) int {
	if r.Server.Addr().Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// rule returns the policy rule for packets of a server.
func (k *Routes) rule(reply ReplyRoute) *netlink.Rule {
	r := netlink.NewRule()
	ip := reply.Server.Addr()
	r.Family, r.Table, r.Priority, r.Protocol = familyOf(reply), firstTable+k.slot, firstTable+k.slot, protocol
	r.Src = &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
	r.Sport = netlink.NewRulePortRange(reply.Server.Port(), reply.Server.Port())
	if r.IPProto = protocolTCP; reply.UDP {
		r.IPProto = protocolUDP
	}
	return r
}

// replyRoute returns what a rule is for, or false if it is not in this process's slot.
func (k *Routes) replyRoute(r *netlink.Rule) (ReplyRoute, bool) {
	if r.Priority != firstTable+k.slot {
		return ReplyRoute{}, false
	}
	return replyOf(r)
}

// replyOf returns what a rule of any weir is for.
func replyOf(r *netlink.Rule) (ReplyRoute, bool) {
	slot := r.Priority - firstTable
	if r.Protocol != protocol || slot < 0 || slot >= slots || r.Table != r.Priority || r.Src == nil || r.Sport == nil {
		return ReplyRoute{}, false
	}
	ip, ok := netip.AddrFromSlice(r.Src.IP)
	return ReplyRoute{Server: netip.AddrPortFrom(ip, r.Sport.Start), UDP: r.IPProto == protocolUDP}, ok
}

// leadsToThisHost reports whether a rule, by any owner, leads packets of a server to a table in which every address is
// local.
func leadsToThisHost(r *netlink.Rule, reply ReplyRoute) bool {
	ip, proto := reply.Server.Addr(), protocolTCP
	if reply.UDP {
		proto = protocolUDP
	}
	switch {
	case r.Invert, r.Mark != 0, r.IifName != "", r.OifName != "", r.Dst != nil, r.Dport != nil, r.Tos != 0, r.UIDRange != nil:
		return false
	case r.Src != nil && !r.Src.Contains(ip.AsSlice()):
		return false
	case r.IPProto != 0 && r.IPProto != proto:
		return false
	case r.Sport != nil && (reply.Server.Port() < r.Sport.Start || reply.Server.Port() > r.Sport.End):
		return false
	}
	routes, err := listRoutes(familyOf(reply), r.Table)
	for _, route := range routes {
		if err == nil && isLocalDefault(route) {
			return true
		}
	}
	return false
}

// localRoute returns the route that makes every address local.
func localRoute(family, table int) (*netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	size := 4
	if family == netlink.FAMILY_V6 {
		size = 16
	}
	return &netlink.Route{
		Family: family, Table: table, LinkIndex: lo.Attrs().Index, Type: typeLocal, Scope: netlink.SCOPE_HOST, Protocol: protocol,
		Dst: &net.IPNet{IP: make(net.IP, size), Mask: net.CIDRMask(0, 8*size)},
	}, nil
}

func isLocalDefault(r netlink.Route) bool {
	if r.Type != typeLocal {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// emptySlot removes weir's rules and routes of a slot.
func emptySlot(slot int) error {
	var errs []error
	for _, family := range families {
		rules, err := listRules(family)
		errs = append(errs, err)
		for _, r := range rules {
			if r.Protocol == protocol && r.Priority == firstTable+slot && r.Table == firstTable+slot {
				errs = append(errs, netlink.RuleDel(&r))
			}
		}
		routes, err := listRoutes(family, firstTable+slot)
		errs = append(errs, err)
		for _, r := range routes {
			if r.Protocol == protocol {
				errs = append(errs, netlink.RouteDel(&r))
			}
		}
	}
	return errors.Join(errs...)
}

// dumpTries is how often a listing is repeated that was interrupted by a change.
const dumpTries = 5

func listRules(family int) (rules []netlink.Rule, err error) {
	for range dumpTries {
		if rules, err = netlink.RuleList(family); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return rules, err
}

func listRoutes(family, table int) (routes []netlink.Route, err error) {
	for range dumpTries {
		routes, err = netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return routes, err
}

// openStates and closingStates are the states of a TCP socket (include/net/tcp_states.h) that use a reply route: all but
// TIME_WAIT and CLOSE, or only those of an orphaned socket with unacknowledged bytes or an unacknowledged FIN.
const (
	openStates    = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12
	closingStates = 1<<4 | 1<<9 | 1<<11 // FIN_WAIT1, LAST_ACK, CLOSING
)

// remoteEnds returns the remote ends of this host's sockets in these states. A connected UDP socket counts as
// established. It returns an error if the kernel cannot list its sockets.
func remoteEnds(states uint32) (map[ReplyRoute]bool, error) {
	used := map[ReplyRoute]bool{}
	var errs []error
	note := func(sockets []*netlink.Socket, udp bool) {
		for _, s := range sockets {
			if states&(1<<s.State) == 0 {
				continue
			}
			if ip, ok := netip.AddrFromSlice(s.ID.Destination); ok {
				used[ReplyRoute{netip.AddrPortFrom(ip.Unmap(), s.ID.DestinationPort), udp}] = true
			}
		}
	}
	for _, family := range families {
		for _, kind := range []struct {
			list func(uint8) ([]*netlink.Socket, error)
			udp  bool
		}{{netlink.SocketDiagTCP, false}, {netlink.SocketDiagUDP, true}} {
			sockets, err := kind.list(uint8(family))
			if errors.Is(err, netlink.ErrDumpInterrupted) { // incomplete: retry once
				sockets, err = kind.list(uint8(family))
			}
			errs = append(errs, err)
			note(sockets, kind.udp)
		}
	}
	return used, errors.Join(errs...)
}
