package topology

import (
	"fmt"
	"slices"
	"strings"
)

// decideGalera chooses the node for writers. current is the node so far. sticky keeps it while it can serve. settled
// reports that the answers have differed about the membership for two rounds.
//
// Every node that can serve belongs to a primary component, as it believes. If all believe in the same view, the one with the
// lowest index is chosen, which is the same node for everyone who asks them. If they differ, the reason is mostly that the
// membership has just changed and some were asked before: the nodes are asked again, and the current one continues. If they
// still differ:
//
//	views                                                 component that counts
//	one has more than half of its nodes among the         that one: a node that is cut off still believes in its old view
//	answers, others have not                              for some seconds
//	several have, or none has                             the one of more nodes, then the one with more changes
//	the same size and number of changes, another UUID,    none: two clusters, or one that was bootstrapped twice
//	or two nodes with the same index
//
// Nodes of other components get no session, not even as replicas.
func decideGalera(nodes []sqlNode, current string, sticky, settled bool) sqlDecision {
	d := sqlDecision{roles: make([]sqlRole, len(nodes))}
	answers := 0
	components := map[galeraView][]int{}
	for i := range nodes {
		n := &nodes[i]
		switch {
		case n.now == nil:
			d.roles[i] = n.silence()
			continue
		case n.now.galera.excluded != "":
			d.roles[i] = sqlRole{role: Other, reason: n.now.galera.excluded}
		default:
			g := n.now.galera
			d.roles[i] = sqlRole{Replica, g.readOnly == "", "it is synced, with index " + fmt.Sprint(g.index)}
			if g.readOnly != "" {
				d.roles[i].reason += "; " + g.readOnly
			}
			components[g.view] = append(components[g.view], i)
		}
		answers++
	}
	switch {
	case answers == 0:
		d.silence(nodes, "galera")
		return d
	case len(components) == 0:
		d.source = "galera: no node can serve"
		return d
	}
	views := rankViews(components)
	first := components[views[0]]
	split := sameIndex(nodes, first) || len(views) > 1 && sameRank(components, views[0], views[1])
	if len(views) > 1 || split {
		d.doubt = undecided
		if settled {
			d.doubt = certain
		}
	}
	for _, view := range views {
		for _, i := range components[view] {
			if view != views[0] || split {
				d.roles[i] = sqlRole{role: Other, able: d.doubt == undecided && d.roles[i].able, reason: "it is in another component: " + view.String()}
			}
		}
	}
	if len(views) > 1 && settled {
		d.problem = "nodes are in several components: " + describe(nodes, components, views)
	}
	if split {
		d.source = "galera: nodes are in several components, and none outranks the others"
		if settled {
			d.problem = "conflict: " + describe(nodes, components, views)
		}
		return d
	}
	d.elect(nodes, first, current, sticky)
	return d
}

// elect chooses among the nodes of one component.
func (d *sqlDecision) elect(nodes []sqlNode, component []int, current string, sticky bool) {
	chosen := -1
	for _, i := range component {
		switch {
		case !d.roles[i].able:
		case sticky && nodes[i].address == current:
			d.choose(nodes, i, "galera: primary is still "+current+" (sticky)", "it is synced, and sticky keeps it")
			return
		case chosen < 0 || nodes[i].now.galera.index < nodes[chosen].now.galera.index:
			chosen = i
		}
	}
	if chosen < 0 {
		d.source = "galera: no node that can serve is writable"
		return
	}
	g := nodes[chosen].now.galera
	d.choose(nodes, chosen, fmt.Sprintf("galera: primary is %s, index %d of %d", nodes[chosen].address, g.index, g.view.size),
		"it is synced, with the lowest index")
}

// rankViews sorts the views: the component that counts is the first.
func rankViews(components map[galeraView][]int) []galeraView {
	views := make([]galeraView, 0, len(components))
	for v := range components {
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b galeraView) int {
		if c := compareRank(components, a, b); c != 0 {
			return c
		}
		return strings.Compare(a.cluster, b.cluster)
	})
	return views
}

// compareRank compares the ranks of two components; the higher one is less.
func compareRank(components map[galeraView][]int, a, b galeraView) int {
	major := func(v galeraView) int {
		if 2*len(components[v]) > v.size {
			return 1
		}
		return 0
	}
	switch {
	case major(a) != major(b):
		return major(b) - major(a)
	case a.size != b.size:
		return b.size - a.size
	case a.change > b.change:
		return -1
	case a.change < b.change:
		return 1
	}
	return 0
}

func sameRank(components map[galeraView][]int, a, b galeraView) bool {
	return compareRank(components, a, b) == 0
}

// sameIndex reports whether two nodes that believe in the same view have the same index in it: they are not in one
// component.
func sameIndex(nodes []sqlNode, component []int) bool {
	seen := map[int]bool{}
	for _, i := range component {
		index := nodes[i].now.galera.index
		if seen[index] {
			return true
		}
		seen[index] = true
	}
	return false
}

// describe lists components with their nodes.
func describe(nodes []sqlNode, components map[galeraView][]int, views []galeraView) string {
	var parts []string
	for _, v := range views[:min(len(views), 4)] {
		parts = append(parts, fmt.Sprintf("%s (%s)", others(nodes, components[v], -1), v))
	}
	return strings.Join(parts, "; ")
}
