package conf

import (
	"net/netip"
	"strings"

	"weir/conf/internal/tree"
)

// Clients is a set of clients, for access lists and trusted proxies. A client that one of the fields contains is in the set.
type Clients struct {
	Networks  []netip.Prefix // masked; IPv4-mapped IPv6 is IPv4
	Unix      bool           // clients of unix sockets, which have no address
	Endpoints []Endpoint     // access lists only: clients whose PROXY header names one of them
}

// IsEmpty reports whether the set matches no client.
func (c Clients) IsEmpty() bool { return len(c.Networks) == 0 && !c.Unix && len(c.Endpoints) == 0 }

// String formats the set as in a file, or returns "none".
func (c Clients) String() string {
	if c.IsEmpty() {
		return "none"
	}
	words := make([]string, 0, len(c.Networks)+len(c.Endpoints)+1)
	for _, n := range c.Networks {
		if n.IsSingleIP() {
			words = append(words, n.Addr().String())
		} else {
			words = append(words, n.String())
		}
	}
	if c.Unix {
		words = append(words, "unix:")
	}
	for _, e := range c.Endpoints {
		words = append(words, e.String())
	}
	return strings.Join(words, ", ")
}

// clients is a key that holds a list of clients.
func clients[T any](name string, field func(*T) *Clients, doc string) key[T] {
	return key[T]{
		name: name, typeText: "list", defaultText: "[]", doc: doc,
		decode: func(d *decoder, n *tree.Node, into *T) { *field(into) = decodeClients(d, n, false) },
		show:   func(of *T) string { return field(of).String() },
	}
}

// accessList is clients with endpoints.
func accessList[T any](name string, field func(*T) *Clients, doc string) key[T] {
	k := clients(name, field, doc)
	k.decode = func(d *decoder, n *tree.Node, into *T) { *field(into) = decodeClients(d, n, true) }
	return k
}

func everyone() (v4, v6 netip.Prefix) {
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func decodeClients(d *decoder, n *tree.Node, endpoints bool) Clients {
	var list Clients
	v4, v6 := everyone()
	var all4, all6 bool
	for _, item := range d.list(n, "IP addresses and CIDRs such as [\"10.0.0.0/8\"]") {
		s, ok := item.Value.(string)
		switch {
		case !ok:
			d.errorAt(item, "want an IP address or CIDR such as \"10.0.0.0/8\", got %s", item.Describe())
		case s == "unix:":
			list.Unix = true
		case s == "all":
			list.Networks = append(list.Networks, v4, v6)
			all4, all6 = true, true
		default:
			if e, is, err := parseEndpoint(s); is && endpoints {
				if list.Endpoints = append(list.Endpoints, e); err != nil {
					d.errorAt(item, "%s", err)
				}
				continue
			}
			network, ok := parseNetwork(s)
			if !ok {
				d.errorAt(item, "%s is not an IP or CIDR", tree.Quote(s))
				continue
			}
			if masked := network.Masked(); masked != network {
				d.warn(item, "%s means %s", s, masked)
				network = masked
			}
			list.Networks = append(list.Networks, network)
			all4, all6 = all4 || network == v4, all6 || network == v6
		}
	}
	list.Unix = list.Unix || all4 && all6 // the list contains every address
	return list
}

// parseNetwork parses an address or a CIDR without a zone. IPv4-mapped IPv6 becomes IPv4.
func parseNetwork(s string) (netip.Prefix, bool) {
	const mappedBits = 96
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, false
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	network, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if ip := network.Addr(); ip.Is4In6() && network.Bits() >= mappedBits {
		network = netip.PrefixFrom(ip.Unmap(), network.Bits()-mappedBits)
	}
	return network, true
}
