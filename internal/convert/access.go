package convert

import (
	"net/netip"
	"slices"
)

// access translates rules that accept or reject clients, of which the first that matches decides, to a listener's allow
// and deny, of which deny wins.
type access struct {
	allow  []string // nil = every client
	deny   []string
	exempt []string // accepted so far: no later rule concerns them
	others []string // all clients but these are accepted so far
	ended  bool     // a rule for every client was met
}

// rule adds a rule for all clients, for those in a list, or for those not in it. It says why it cannot.
func (r *access) rule(accept, all, not bool, list []string) (reason string) {
	switch {
	case r.ended:
		return "no client reaches this rule"
	case all && accept:
		r.ended = true
	case all && r.others != nil:
		r.deny, r.ended = append(r.deny, r.others...), true
	case all && r.exempt != nil:
		r.allow, r.ended = r.exempt, true
	case all:
		r.deny, r.ended = []string{"all"}, true
	case r.others != nil, accept && r.allow != nil, accept && not && r.exempt != nil, not && r.allow != nil:
		if !accept && !not {
			r.deny = append(r.deny, list...)
		}
		return "these rules depend on their order, and deny wins in any order"
	case accept && not:
		r.others = list
	case accept:
		r.exempt = append(r.exempt, list...)
	case not:
		r.allow = append(slices.Clone(list), r.exempt...)
	case overlaps(list, r.exempt):
		r.deny = append(r.deny, list...)
		return "deny wins in any order: clients that were accepted above are rejected too"
	default:
		r.deny = append(r.deny, list...)
	}
	return ""
}

// writeTo sets the keys of a listener.
func (r *access) writeTo(t *table) {
	if r.allow != nil {
		t.set("allow", quoteList(r.allow))
	}
	if r.deny != nil {
		t.set("deny", quoteList(r.deny))
	}
}

// overlaps reports whether two lists of addresses and networks have addresses in common.
func overlaps(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if network(x).Overlaps(network(y)) {
				return true
			}
		}
	}
	return false
}

// isNetwork reports whether a text is an address or a network.
func isNetwork(s string) bool { return network(s).IsValid() }

// network returns the network of an address or network.
func network(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked()
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}
