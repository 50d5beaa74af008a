package topology

import (
	"net/netip"
	"slices"
	"strings"
)

// target is an address that a source names.
type target struct {
	address   string           // host:port as joinAddress returns it
	addresses []netip.AddrPort // of its host; empty = a name that has not been resolved
}

// targetOf returns the target of an address with a literal IP address, or of a name without addresses.
func targetOf(address string) target {
	if literal, err := netip.ParseAddrPort(address); err == nil {
		return target{address, []netip.AddrPort{unmap(literal)}}
	}
	return target{address: address}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// same reports whether two targets are one server: they have the same text or an address in common.
func (t target) same(o target) bool {
	return t.address == o.address || slices.ContainsFunc(t.addresses, func(a netip.AddrPort) bool { return slices.Contains(o.addresses, a) })
}

// is reports whether the target is a server of the cluster. The configured address is compared first, so that announced
// names need no resolver. A server whose name has several addresses of one family is no particular one of them; it matches
// only if all of them are the target's.
func (t target) is(s Server) bool {
	if strings.EqualFold(strings.Replace(s.Address, ".:", ":", 1), t.address) {
		return true
	}
	for _, family := range []bool{true, false} {
		found, others := false, false
		for _, a := range s.Addresses {
			a = unmap(a)
			if a.Addr().Is4() == family {
				known := slices.Contains(t.addresses, a)
				found, others = found || known, others || !known
			}
		}
		if found && !others {
			return true
		}
	}
	return false
}
