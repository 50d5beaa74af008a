package conf

// Source addresses of connections to servers: addresses of this host, or those of the clients.

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"weir/conf/internal/tree"
)

// Source is the source address of connections to servers. For the zero value, the kernel chooses.
type Source struct {
	Client bool           // the client's own address
	Ranges []netip.Prefix // else these in turn; masked, of either family
	Zone   string         // interface of the link-local addresses in Ranges, by name or index; "" = the server's
}

// IsZero reports whether the kernel chooses.
func (s Source) IsZero() bool { return !s.Client && len(s.Ranges) == 0 }

// String formats the source as in a server's string form, or returns "none" if the kernel chooses.
func (s Source) String() string {
	switch {
	case s.Client:
		return "client"
	case len(s.Ranges) == 0:
		return "none"
	}
	texts := make([]string, len(s.Ranges))
	for i, r := range s.Ranges {
		texts[i] = r.String()
		if r.IsSingleIP() {
			texts[i] = s.withZone(r.Addr()).String()
		}
	}
	return strings.Join(texts, ",")
}

// RangesFor returns the ranges of the family of an address.
func (s Source) RangesFor(to netip.Addr) []netip.Prefix {
	var same []netip.Prefix
	for _, r := range s.Ranges {
		if r.Addr().Is4() == to.Unmap().Is4() {
			same = append(same, r)
		}
	}
	return same
}

// AddrFor returns the first source address for connections to an address. It is invalid if the kernel chooses, or if
// there is none of that family.
func (s Source) AddrFor(to netip.Addr) netip.Addr {
	for _, r := range s.RangesFor(to) {
		return s.withZone(r.Addr())
	}
	return netip.Addr{}
}

// withZone returns a link-local address with the zone of the source, and any other address as it is.
func (s Source) withZone(a netip.Addr) netip.Addr {
	if s.Zone != "" && a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(s.Zone)
	}
	return a
}

const (
	maxSourceRanges = 256
	// maxSourceBits limits a range to 65,536 addresses: 4 billion connections to one server.
	maxSourceBits = 16
)

// sourceType is one address or range, several, or "client".
func sourceType() valueType[Source] {
	return valueType[Source]{text: "addresses or `client`", parse: parseSources, show: Source.String}
}

func parseSources(n *tree.Node) (Source, error) {
	var words []string
	switch text, ok := n.Value.(string); {
	case ok && text == "":
		return Source{}, nil
	case ok && text == "client":
		return Source{Client: true}, nil
	case ok:
		words = strings.Split(text, ",")
	case n.Kind == tree.List && len(n.Items) == 0:
		return Source{}, fmt.Errorf("empty list; omit source to let the kernel choose")
	case n.Kind == tree.List:
		for _, e := range n.Items {
			word, ok := e.Value.(string)
			if !ok {
				return Source{}, fmt.Errorf("want IP addresses, got %s", e.Describe())
			}
			words = append(words, word)
		}
	default:
		return Source{}, fmt.Errorf("want an IP address, a list of them or \"client\", got %s", n.Describe())
	}
	if len(words) > maxSourceRanges {
		return Source{}, fmt.Errorf("want at most %d addresses and ranges, got %d", maxSourceRanges, len(words))
	}
	var s Source
	for _, word := range words {
		r, zone, err := parseSourceRange(strings.TrimSpace(word))
		if err != nil {
			return Source{}, err
		}
		if zone != "" && s.Zone != "" && zone != s.Zone {
			return Source{}, fmt.Errorf("want source addresses of one interface, got those of %s and %s", tree.Quote(s.Zone), tree.Quote(zone))
		}
		s.Zone = cmp.Or(s.Zone, zone)
		s.Ranges = append(s.Ranges, r)
	}
	return s, nil
}

// parseSourceRange parses "10.0.0.1", "fe80::1%eth0" or "10.0.0.0/28". The zone is returned apart.
func parseSourceRange(s string) (r netip.Prefix, zone string, err error) {
	r, err = netip.ParsePrefix(s)
	if err != nil {
		var ip netip.Addr
		ip, err = netip.ParseAddr(s)
		ip = ip.Unmap()
		if zone = ip.Zone(); zone != "" && !ip.IsLinkLocalUnicast() {
			return r, "", fmt.Errorf("%s: only link-local addresses have a zone", tree.Quote(s))
		}
		r = netip.PrefixFrom(ip.WithZone(""), ip.BitLen())
	}
	return r, zone, validateSourceRange(r, s, err)
}

// validateSourceRange returns the reason why a range, written as s, is no source. err is the error of its parser.
func validateSourceRange(r netip.Prefix, s string, err error) error {
	switch {
	case err != nil && s == "client":
		return fmt.Errorf("\"client\" cannot be combined with addresses")
	case err != nil:
		return fmt.Errorf("want an IP address without a port, a range such as \"10.0.0.0/28\", or \"client\", got %s", tree.Quote(s))
	case r.Addr().Is4In6():
		return fmt.Errorf("%s: want an IPv4 range in IPv4 notation", s)
	case r.Masked() != r:
		return fmt.Errorf("%s is not a network address; did you mean %s or %s?", s, r.Masked(), r.Addr())
	case r.Addr().BitLen()-r.Bits() > maxSourceBits:
		return fmt.Errorf("%s has more than %d addresses", s, 1<<maxSourceBits)
	case r.Addr().IsUnspecified(), r.Addr().IsMulticast(), r.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s cannot be a source address", s)
	}
	return nil
}
