package conf

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

// The [[vip]] tables: addresses that this host has only while weir can serve at them.

func vipKeys() []key[vipDraft] {
	return []key[vipDraft]{
		scalar("address", vipAddressType(), "", func(v *vipDraft) *netip.Prefix { return &v.Address },
			"The address, with the length of its network, such as `\"10.0.0.100/32\"` or `\"fd00::100/128\"`. Without a length it is the address alone.").
			required().withAliases("ip", "prefix", "addr", "virtual_ipaddress"),
		scalar("interface", interfaceType(), "lo", func(v *vipDraft) *string { return &v.Interface },
			"The network interface that gets the address. It may be missing when weir starts.").withAliases("device", "dev", "link"),
		{
			name: "clusters", typeText: "list of names", defaultText: "[]", aliases: []string{"cluster", "track"},
			doc:    "Clusters that must each have an eligible server. Empty = none.",
			decode: func(d *decoder, n *tree.Node, v *vipDraft) { v.Clusters = decodeClusterNames(d, n) },
			show: func(v *vipDraft) string {
				if len(v.Clusters) == 0 {
					return "none"
				}
				return strings.Join(v.Clusters, ", ")
			},
		},
		scalar("hold", durationOrZero(), "3s", func(v *vipDraft) *time.Duration { return &v.Hold },
			"How long all conditions must hold before the address is added. 0 = it is added at once. It is always removed at once.").withAliases("hold_time", "delay", "preempt_delay"),
	}
}

// vipDraft is an address with its position.
type vipDraft struct {
	VIP
	node *tree.Node
}

func decodeVIP(d *decoder, n *tree.Node, into *draft) {
	v := vipDraft{node: n}
	decodeTable(d, n, d.schema.vip, &v)
	into.vips = append(into.vips, v)
}

func decodeClusterNames(d *decoder, n *tree.Node) []string {
	var names []string
	seen := make(map[string]bool)
	for _, e := range d.list(n, "clusters such as [\"redis\"]") {
		name, ok := read(d, e, nameType())
		switch {
		case !ok:
		case seen[name]:
			d.errorAt(e, "%s is listed twice", name)
		default:
			names, seen[name] = append(names, name), true
		}
	}
	return names
}

// vipAddressType is a unicast address with the length of its network.
func vipAddressType() valueType[netip.Prefix] {
	const want = "IP address with a prefix length such as \"10.0.0.100/32\""
	return valueType[netip.Prefix]{
		text: "address/length",
		parse: func(n *tree.Node) (netip.Prefix, error) {
			s, ok := n.Value.(string)
			if !ok {
				return netip.Prefix{}, fmt.Errorf("want an %s, got %s", want, n.Describe())
			}
			p, ok := parseNetwork(s)
			if !ok {
				return netip.Prefix{}, fmt.Errorf("want an %s, got %s", want, tree.Quote(s))
			}
			return p, checkHostAddress(p)
		},
		show: func(p netip.Prefix) string { return p.String() },
	}
}

// checkHostAddress returns an error unless a host can have the address.
func checkHostAddress(p netip.Prefix) error {
	a := p.Addr()
	switch {
	case !a.IsGlobalUnicast():
		return fmt.Errorf("want a unicast address that other hosts can reach, got %s", a)
	case p.Bits() == 0:
		return fmt.Errorf("the network of %s has every address; want /%d for the address alone", p, a.BitLen())
	case p.Bits() < a.BitLen()-1 && a == p.Masked().Addr():
		return fmt.Errorf("%s is a network: the bits of the host are 0; want the address of a host, or /%d", p, a.BitLen())
	case a.Is4() && p.Bits() < 31 && !p.Contains(a.Next()):
		return fmt.Errorf("%s is the broadcast address of %s; want the address of a host, or /32", a, p.Masked())
	}
	return nil
}

// linkVIPs checks that the addresses are unique and that their clusters exist, and warns of listeners that could not bind one.
func (d *decoder) linkVIPs(all *draft, clusters map[string]*clusterDraft) {
	seen := make(map[netip.Addr]*tree.Node)
	for i := range all.vips {
		v := &all.vips[i]
		if !v.Address.IsValid() {
			continue
		}
		n := v.node.Get("address")
		if old := seen[v.Address.Addr()]; old != nil {
			d.errorAt(n, "duplicate address %s of a vip (%s)", v.Address.Addr(), lines(old, n))
			continue
		}
		seen[v.Address.Addr()] = n
		if v.Interface == "lo" && !v.Address.IsSingleIP() {
			d.warn(n, "on lo, all addresses of %s are those of this host; want %s/%d", v.Address.Masked(), v.Address.Addr(), v.Address.Addr().BitLen())
		}
		if list := v.node.Get("clusters"); list != nil {
			named := make(map[string]bool, len(v.Clusters))
			for _, name := range v.Clusters {
				named[name] = true
			}
			for _, e := range list.Items {
				name, _ := e.Value.(string)
				c := clusters[name]
				switch {
				case !named[name]:
				case c == nil && !d.incomplete && !all.suggested(d, "cluster") && (d.shared != nil || !all.sharesConfig()):
					d.errorAt(e, "vip %s: cluster %q not defined%s", v.Address, name, suggest(d, name, clusters))
				case c != nil && c.Protected:
					d.notes = append(d.notes, e.File.Diagnostic(e.Offset, e.Path(),
						fmt.Sprintf("vip %s stays while protection keeps the last server of cluster %s in use; set protected = false to remove it", v.Address, name)))
				}
			}
		}
	}
	for i := range all.listeners {
		l := &all.listeners[i]
		for _, r := range l.ranges {
			if seen[r.Addr.Addr()] != nil && !l.Freebind {
				d.warn(r.node, "listener %s has the address of a vip and no freebind: weir cannot start while the address is away", l.Name)
			}
		}
	}
}

// vips compares addresses. One that moves to another interface, or whose network changes, keeps its identity.
func (w *differ) vips(running, wanted *Config) {
	diffNamed(w, PlanStep{Object: ObjectVIP}, running.VIPs, wanted.VIPs, func(v *VIP) string { return v.Address.Addr().String() },
		func(v *VIP) string { return v.Address.String() + " on " + v.Interface },
		func(a, b *VIP) []Detail { return changes(w.schema.vip, vipDraft{VIP: *a}, vipDraft{VIP: *b}) })
}
