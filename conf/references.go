package conf

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"weir/conf/internal/tree"
)

// allAddresses is the address of a listener without a host: all addresses of both families.
func allAddresses(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
}

// linkReferences validates what depends on all files: duplicate names, references, overlapping addresses, loops.
func (d *decoder) linkReferences(all *draft) {
	clusters := d.nameClusters(all)
	d.nameListeners(all)
	d.nameHooks(all)
	d.expandPorts(all)
	used := make(map[string]bool)
	for i := range all.listeners {
		l := &all.listeners[i]
		at := l.node.Get("cluster")
		d.linkRoutes(all, l, clusters, used)
		if at == nil || l.Cluster == "" {
			continue
		}
		used[l.Cluster] = true
		c := clusters[l.Cluster]
		if c == nil {
			if !d.incomplete && !all.suggested(d, "cluster") {
				d.errorAt(at, "listener %s: cluster %q not defined%s", l.Name, l.Cluster, suggest(d, l.Cluster, clusters))
			}
			continue
		}
		d.linkLevels(l, c)
		if at := l.node.Get("defer_accept"); l.DeferAccept && at != nil && c.Greeting == "mysql" {
			d.errorAtKey(at, "the servers of cluster %s speak first (greeting = \"mysql\"): with defer_accept, clients wait a second for them", c.Name)
		}
	}
	d.linkVIPs(all, clusters)
	d.validateProxyHeaders(all, clusters)
	d.validatePromotion(all)
	d.validateHellos(all, clusters)
	d.validateAdminAddresses(all)
	d.validateAdminAccess(all)
	d.finishFleet(all)
	d.warnAloneQuorums(all)
	d.validateServers(all)
	d.advise(all, clusters)
	for _, c := range all.clusters {
		if !used[c.Name] {
			d.warn(c.node, "cluster %s is not used by any listener", c.Name)
		}
	}
	attempted := slices.ContainsFunc(all.roots, func(root *tree.Node) bool { return root.Get("listener") != nil })
	if len(all.listeners) == 0 && !(all.sharesConfig() && d.shared == nil) && !attempted && !d.incomplete && !all.suggested(d, "listener") {
		in := d.files[0]
		if d.shared != nil {
			in = d.files[len(d.files)-1]
		}
		d.errs = append(d.errs, in.Diagnostic(0, "", "no listener defined"))
	}
}

func (d *decoder) nameClusters(all *draft) map[string]*clusterDraft {
	clusters := make(map[string]*clusterDraft, len(all.clusters))
	for i := range all.clusters {
		c := &all.clusters[i]
		if old := clusters[c.Name]; old != nil { // only from different files; in one file it is a duplicate table
			d.errorAt(c.node, "duplicate name %s of a cluster (%s)", tree.QuoteKey(c.Name), lines(old.node, c.node))
			continue
		}
		clusters[c.Name] = c
	}
	return clusters
}

func (d *decoder) nameListeners(all *draft) {
	named := make(map[string]*tree.Node)
	for _, l := range all.listeners {
		n := l.node.Get("name")
		if n == nil || l.Name == "" {
			continue
		}
		if old := named[l.Name]; old != nil {
			d.errorAt(n, "duplicate name %s of a listener (%s)", tree.QuoteKey(l.Name), lines(old, n))
			continue
		}
		named[l.Name] = n
	}
}

// maxAddresses limits the listen sockets of one configuration.
const maxAddresses = 1 << 16

// claimedRange is an address range and its listener.
type claimedRange struct {
	listenRange
	listener int
	order    int
}

// expandPorts turns port ranges into addresses, unless two of them overlap.
func (d *decoder) expandPorts(all *draft) {
	type host struct {
		protocol string
		ip       netip.Addr
		path     string
	}
	claims := make(map[host][]claimedRange)
	total, order := 0, 0
	for i := range all.listeners {
		l := &all.listeners[i]
		for _, r := range l.ranges {
			order++
			if total += int(r.last) - int(r.Port) + 1; total > maxAddresses {
				d.errorAt(r.node, "more than %d addresses to listen at", maxAddresses)
				return
			}
			where := host{l.Protocol, r.Addr.Addr(), r.Path}
			claims[where] = append(claims[where], claimedRange{r, i, order})
		}
	}
	overlap := false
	for _, same := range claims {
		slices.SortFunc(same, func(a, b claimedRange) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.order, b.order)) })
		reach := 0 // index of the range that reaches furthest so far
		for i := 1; i < len(same); i++ {
			if same[i].Port <= same[reach].last {
				d.reportOverlap(all, same[reach], same[i])
				overlap = true
			}
			if same[i].last > same[reach].last {
				reach = i
			}
		}
	}
	if overlap {
		return
	}
	for i := range all.listeners {
		l := &all.listeners[i]
		for _, r := range l.ranges {
			if r.Path != "" {
				l.Addresses = append(l.Addresses, r.Address)
				continue
			}
			for port := int(r.Port); port <= int(r.last); port++ {
				l.Addresses = append(l.Addresses, Address{Addr: netip.AddrPortFrom(r.Addr.Addr(), uint16(port)), Port: uint16(port)})
			}
		}
	}
}

// reportOverlap reports two overlapping ranges at the later one.
func (d *decoder) reportOverlap(all *draft, a, b claimedRange) {
	if a.order > b.order {
		a, b = b, a
	}
	what := b.Address.String()
	if b.Path == "" && b.Port < a.Port {
		what = Address{Addr: netip.AddrPortFrom(b.Addr.Addr(), a.Port)}.String()
	}
	x, y := all.listeners[a.listener], all.listeners[b.listener]
	d.errorAt(b.node, "duplicate address %s (%s): listener %s (%s) and listener %s (%s)",
		what, y.Protocol, x.Name, line(a.node, b.node), y.Name, line(b.node, b.node))
}

// linkLevels turns a listener's references to levels into indexes.
func (d *decoder) linkLevels(l *listenerDraft, c *clusterDraft) {
	taken := make(map[int]bool)
	for _, r := range l.levels {
		i, ok := r.number-1, r.number >= 1 && r.number <= len(c.levels)
		_, named := r.node.Value.(string)
		if named {
			i, ok = c.named[r.name]
		}
		switch {
		case !ok && c.incomplete:
		case !ok && named:
			hint := suggest(d, r.name, c.named)
			if n, err := strconv.Atoi(r.name); err == nil && n >= 1 && n <= len(c.levels) {
				hint = "; write a level number without quotes"
			}
			d.errorAt(r.node, "listener %s: cluster %s has no level %s%s", l.Name, c.Name, tree.Quote(r.name), hint)
		case !ok:
			d.errorAt(r.node, "listener %s: want a level from 1 to %d of cluster %s, got %s", l.Name, len(c.levels), c.Name, r.node.Describe())
		case taken[i]:
			d.errorAt(r.node, "listener %s: level %s is listed twice", l.Name, r.node.Describe())
		default:
			taken[i] = true
			l.Levels = append(l.Levels, i)
		}
	}
}
