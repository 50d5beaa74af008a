package route

// What the kernel is asked and told.

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

// rule is the policy rule for what a server sends.
func (k *Routes) rule(reply ReplyRoute) *netlink.Rule {
	r := netlink.NewRule()
	ip := reply.Server.Addr()
	r.Family, r.Table, r.Priority, r.Protocol = familyOf(reply), base+k.slot, base+k.slot, protocol
	r.Src = &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
	r.Sport = netlink.NewRulePortRange(reply.Server.Port(), reply.Server.Port())
	if r.IPProto = protocolTCP; reply.UDP {
		r.IPProto = protocolUDP
	}
	return r
}

// own tells what a rule is for, if it is one of this keeper's slot.
func (k *Routes) own(r *netlink.Rule) (ReplyRoute, bool) {
	if r.Priority != base+k.slot {
		return ReplyRoute{}, false
	}
	return replyOf(r)
}

// replyOf tells what a rule of any weir is for.
func replyOf(r *netlink.Rule) (ReplyRoute, bool) {
	slot := r.Priority - base
	if r.Protocol != protocol || slot < 0 || slot >= slots || r.Table != r.Priority || r.Src == nil || r.Sport == nil {
		return ReplyRoute{}, false
	}
	ip, ok := netip.AddrFromSlice(r.Src.IP)
	return ReplyRoute{Server: netip.AddrPortFrom(ip, r.Sport.Start), UDP: r.IPProto == protocolUDP}, ok
}

// covers reports whether somebody's rule leads what a server sends to a table in which every address is this host's.
func covers(r *netlink.Rule, reply ReplyRoute) bool {
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
		if err == nil && leadsHere(route) {
			return true
		}
	}
	return false
}

// localRoute makes every address this host's.
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

func leadsHere(r netlink.Route) bool {
	if r.Type != typeLocal {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// empty takes away what is weir's in a slot.
func empty(slot int) error {
	var errs []error
	for _, family := range families {
		rules, err := listRules(family)
		errs = append(errs, err)
		for _, r := range rules {
			if r.Protocol == protocol && r.Priority == base+slot && r.Table == base+slot {
				errs = append(errs, netlink.RuleDel(&r))
			}
		}
		routes, err := listRoutes(family, base+slot)
		errs = append(errs, err)
		for _, r := range routes {
			if r.Protocol == protocol {
				errs = append(errs, netlink.RouteDel(&r))
			}
		}
	}
	return errors.Join(errs...)
}

// dumpTries is how often a listing is made again that a change has interrupted.
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

// alive and closing say which states of a TCP socket (include/net/tcp_states.h) count as use of a way back: anything but
// the time after the end, or only the time in which a socket without an owner still has bytes or a FIN unacknowledged.
const (
	alive   = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12
	closing = 1<<4 | 1<<9 | 1<<11 // FIN_WAIT1, LAST_ACK, CLOSING
)

// inUse are the remote ends of this host's sockets in these states; a connected UDP socket is an open one. A kernel that
// cannot list its sockets makes an error.
func inUse(states uint32) (map[ReplyRoute]bool, error) {
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
			if errors.Is(err, netlink.ErrDumpInterrupted) { // incomplete: once more
				sockets, err = kind.list(uint8(family))
			}
			errs = append(errs, err)
			note(sockets, kind.udp)
		}
	}
	return used, errors.Join(errs...)
}
