package conf

// Servers with port = "same", which are reached at the port that the client connected to.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// samePort is the value of the key port of such a server. It follows the host in texts.
const samePort = "same"

// serverAddressKey is the address of a server, without a port if the key port says so.
func serverAddressKey() key[Server] {
	k := scalar("address", serverAddressType(), "", func(s *Server) *Address { return &s.Address },
		"Address to connect to: `\"10.0.0.1:6379\"`, `\"[::1]:6379\"`, `\"db1.example:6379\"` or `\"unix:/run/redis.sock\"`; a host only with `port`.")
	decode := k.decode
	k.decode = func(d *decoder, n *tree.Node, s *Server) {
		if port := n.Parent.Get("port"); port == nil || port.Value != samePort {
			decode(d, n, s)
		} else {
			s.Address, _ = read(d, n, samePortAddressType())
		}
	}
	return k.required().withAliases("addr", "host", "target")
}

// serverPortKey only validates the value: serverAddressKey uses it.
func serverPortKey() key[Server] {
	return key[Server]{
		name: "port", typeText: samePort,
		doc: "`\"same\"`: the port that the client connected to, as in `\"10.0.0.1 port=same\"`. See [below](#servers-at-the-clients-port).",
		decode: func(d *decoder, n *tree.Node, s *Server) {
			if n.Value != samePort {
				d.errorAt(n, "want %q, got %s; any other port is a part of the address, as in \"10.0.0.1:6379\"", samePort, n.Describe())
			}
		},
	}.withDefaultText("that of the address")
}

// samePortAddressType is the host of a server with port = "same".
func samePortAddressType() valueType[Address] {
	k := serverAddressType()
	k.parse = func(n *tree.Node) (Address, error) {
		s, ok := n.Value.(string)
		if !ok || strings.HasPrefix(s, "unix:") {
			return Address{}, fmt.Errorf("port = \"same\" requires a host such as \"10.0.0.1\", got %s", n.Describe())
		}
		host, err := parseHost(s)
		if err != nil {
			return Address{}, fmt.Errorf("port = \"same\": %w", err)
		}
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			return Address{Host: host, SamePort: true}, nil
		case ip.IsUnspecified():
			return Address{}, fmt.Errorf("%s cannot be a server address", ip)
		}
		return Address{Addr: netip.AddrPortFrom(ip, 0), SamePort: true}, nil
	}
	return k
}

// checkWithoutPortText says why a server with port = "same" cannot have a check.
func checkWithoutPortText(k *Check, server string) string {
	return fmt.Sprintf("check %s requires port: server %s has port = \"same\"", k.ID, tree.Quote(server))
}

// validateSamePorts rejects checks that would have no port to test.
func (c *Config) validateSamePorts() error {
	for i := range c.Clusters {
		k := &c.Clusters[i]
		same, first := make(map[string]bool), "" // names of such servers
		for s := range k.Servers() {
			if s.Address.SamePort {
				same[s.Name], first = true, cmp.Or(first, s.Name)
			}
		}
		if first == "" {
			continue
		}
		for j := range k.Checks {
			check, server := &k.Checks[j], first
			if check.Port != 0 {
				continue
			}
			if check.Servers == "list" {
				at := slices.IndexFunc(check.ServerNames, func(name string) bool { return same[name] })
				if at < 0 {
					continue
				}
				server = check.ServerNames[at]
			}
			return fmt.Errorf("cluster %s: %s", k.Name, checkWithoutPortText(check, server))
		}
	}
	return nil
}
