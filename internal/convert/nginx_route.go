package convert

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/internal/nginxconf"
)

// nginxRoute is a route of a listener.
type nginxRoute struct {
	key     string // sni, alpn or source; "" = every client
	values  []string
	cluster string
	split   string // a TOML table, instead of a cluster
}

func peeks(routes []nginxRoute) bool {
	return slices.ContainsFunc(routes, func(r nginxRoute) bool { return r.key == "sni" || r.key == "alpn" })
}

// target returns the cluster of a server block and its routes, if proxy_pass has a variable.
func (s *nginxServer) target(udp bool) (cluster string, routes []nginxRoute) {
	target := s.pass.Arg(0)
	if !strings.HasPrefix(target, "$") {
		if cluster = s.clusterFor(target, udp); cluster == "" {
			s.n.warnHere(&s.notes, s.pass, "no upstream and no address with a port")
			cluster = s.n.none()
		}
		return cluster, nil
	}
	name := "$" + strings.Trim(target, "${}")
	block := s.n.maps[name]
	switch {
	case block == nil:
		s.n.warnHere(&s.notes, s.pass, "the variable is not set by a map or split_clients block")
		return s.n.none(), nil
	case block.Name == "split_clients":
		return s.split(block, udp)
	}
	return s.routes(block, udp)
}

// none returns the name of the cluster without servers.
func (n *nginx) none() string {
	if n.nothing == "" {
		n.nothing, _ = n.clusters.make("none")
	}
	return n.nothing
}

// mapKeys are the variables of map blocks that routes know.
var mapKeys = map[string]string{
	"$ssl_preread_server_name": "sni", "$ssl_preread_alpn_protocols": "alpn", "$remote_addr": "source", "$binary_remote_addr": "source", "$proxy_protocol_addr": "source",
}

// routes translates a map block: a route for each cluster and kind of pattern, exact names first.
func (s *nginxServer) routes(block *nginxconf.Directive, udp bool) (cluster string, routes []nginxRoute) {
	n := s.n
	key := mapKeys["$"+strings.Trim(block.Arg(0), "${}")]
	if key == "" || udp && key != "source" {
		n.warnHere(&s.notes, block, "routes know the server name, ALPN and the client's address")
		return n.none(), nil
	}
	hostnames := slices.ContainsFunc(block.Block, func(d *nginxconf.Directive) bool { return d.Name == "hostnames" })
	for _, d := range block.Block {
		if d.Name == "hostnames" || d.Name == "volatile" {
			continue
		}
		name := s.clusterFor(strings.Trim(d.Arg(0), "{}"), udp)
		if name == "" && d.Arg(0) != "" {
			n.warnHere(&s.notes, d, "no upstream and no address with a port")
			continue
		}
		if name == "" {
			name = n.none()
		}
		pattern := strings.TrimPrefix(d.Name, `\`)
		switch {
		case pattern == "default":
			cluster = name
		case pattern == "":
			n.warnHere(&s.notes, d, "clients without a value go to the default cluster")
		case strings.HasPrefix(pattern, "~"):
			n.warnHere(&s.notes, d, "regular expressions have no counterpart")
		case key == "source" && !isNetwork(pattern):
			n.warnHere(&s.notes, d, "not an address")
		case key == "sni" && hostnames && strings.HasPrefix(pattern, "."):
			routes = append(routes, nginxRoute{key: key, values: []string{pattern[1:]}, cluster: name}, nginxRoute{key: key, values: []string{"*" + pattern}, cluster: name})
		case key == "sni" && strings.ContainsRune(pattern, '*') && (!hostnames || !strings.HasPrefix(pattern, "*.")):
			n.warnHere(&s.notes, d, "this pattern has no counterpart")
		default:
			routes = append(routes, nginxRoute{key: key, values: []string{pattern}, cluster: name})
		}
	}
	// Exact names come before patterns, and longer patterns before shorter ones.
	slices.SortStableFunc(routes, func(a, b nginxRoute) int {
		wildA, wildB := strings.HasPrefix(a.values[0], "*"), strings.HasPrefix(b.values[0], "*")
		switch {
		case wildA != wildB:
			return map[bool]int{false: -1, true: 1}[wildA]
		case wildA:
			return cmp.Compare(len(b.values[0]), len(a.values[0]))
		}
		return 0
	})
	if cluster == "" {
		cluster = n.none()
	}
	return cluster, joinRoutes(routes)
}

// joinRoutes joins neighbouring routes to the same cluster.
func joinRoutes(routes []nginxRoute) (joined []nginxRoute) {
	for _, r := range routes {
		if last := len(joined) - 1; last >= 0 && joined[last].cluster == r.cluster && joined[last].key == r.key {
			joined[last].values = append(joined[last].values, r.values...)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// split translates a split_clients block.
func (s *nginxServer) split(block *nginxconf.Directive, udp bool) (string, []nginxRoute) {
	n := s.n
	if !strings.Contains(block.Arg(0), "remote_addr") {
		n.warnHere(&s.notes, block, "clients are split by their address")
	}
	type share struct {
		cluster string
		weight  int
	}
	var shares []share
	const whole = 10000 // hundredths of a percent
	left := whole
	for _, d := range block.Block {
		weight := left
		if d.Name != "*" {
			percent, err := strconv.ParseFloat(strings.TrimSuffix(d.Name, "%"), 64)
			if err != nil || percent < 0 || percent > 100 {
				n.warnHere(&s.notes, d, "not a percentage")
				continue
			}
			weight = int(math.Round(percent * 100))
		}
		left -= weight
		cluster := s.clusterFor(d.Arg(0), udp)
		if cluster == "" {
			n.warnHere(&s.notes, d, "no upstream and no address with a port")
			cluster = n.none()
		}
		if i := slices.IndexFunc(shares, func(x share) bool { return x.cluster == cluster }); i >= 0 {
			shares[i].weight += weight
		} else if weight > 0 {
			shares = append(shares, share{cluster, weight})
		}
	}
	if left > 0 && len(shares) > 0 {
		shares = append(shares, share{n.none(), left})
	}
	if len(shares) == 0 {
		return n.none(), nil
	}
	divisor := 0
	for _, x := range shares {
		divisor = gcd(divisor, x.weight)
	}
	var parts []string
	for _, x := range shares {
		parts = append(parts, quote(x.cluster)+" = "+itoa(x.weight/divisor))
	}
	return shares[len(shares)-1].cluster, []nginxRoute{{split: "{ " + strings.Join(parts, ", ") + " }"}}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// writeRoutes writes the routes of the listener before them.
func (n *nginx) writeRoutes(routes []nginxRoute) {
	for _, r := range routes {
		t := n.add("[[listener.route]]")
		if r.key != "" {
			t.set(r.key, quoteList(r.values))
		}
		if r.split != "" {
			t.set("split", r.split)
		} else {
			t.set("cluster", quote(r.cluster))
		}
	}
}
