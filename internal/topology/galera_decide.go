package topology

import (
	"cmp"
	"fmt"
	"maps"
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
//	one has more than half of the nodes that are asked    that one: a node alone decides nothing, whatever it claims
//	one has more than half of its nodes among the         that one: a node that is cut off still believes in its old view
//	answers, others have not                              for some seconds
//	several have, or none has                             the one of more nodes, then the one with more changes
//	the same size and number of changes, another UUID,    none: two clusters, or one that was bootstrapped twice
//	or two nodes with the same index
//	the same, and the view has room for all nodes that    the nodes that have an index of their own; one of the others is
//	are asked                                             not what it claims
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
	rank := viewRank{components, len(nodes)}
	views := rank.sort()
	first := components[views[0]]
	alone := withOwnIndex(nodes, first)
	odd := len(alone) < len(first)
	split := odd && (len(alone) == 0 || len(nodes) > views[0].size) || len(views) > 1 && rank.compare(views[0], views[1]) == 0
	if len(views) > 1 || odd || split {
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
	if odd && !split {
		for _, i := range first {
			if !slices.Contains(alone, i) {
				d.roles[i] = sqlRole{role: Other, able: d.doubt == undecided && d.roles[i].able,
					reason: fmt.Sprintf("another node has index %d in the same view too", nodes[i].now.galera.index)}
			}
		}
		first = alone
		if settled {
			d.problem = "nodes have the same index: " + describe(nodes, components, views[:1])
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

// viewRank compares components by their views.
type viewRank struct {
	components map[galeraView][]int
	asked      int // nodes
}

// sort returns the views; that of the component that counts is the first.
func (r viewRank) sort() []galeraView {
	views := slices.Collect(maps.Keys(r.components))
	slices.SortFunc(views, func(a, b galeraView) int {
		return cmp.Or(r.compare(a, b), strings.Compare(a.cluster, b.cluster))
	})
	return views
}

// compare compares the ranks of two components; the higher one is less.
func (r viewRank) compare(a, b galeraView) int {
	of := func(v galeraView) (most, major int) {
		n := 2 * len(r.components[v])
		if n > r.asked {
			most = 1
		}
		if n > v.size {
			major = 1
		}
		return most, major
	}
	mostA, majorA := of(a)
	mostB, majorB := of(b)
	return cmp.Or(mostB-mostA, majorB-majorA, b.size-a.size, cmp.Compare(b.change, a.change))
}

// withOwnIndex returns the nodes of a component whose index no other one of them has. Two nodes with the same index in the
// same view are not in one component.
func withOwnIndex(nodes []sqlNode, component []int) (alone []int) {
	count := map[int]int{}
	for _, i := range component {
		count[nodes[i].now.galera.index]++
	}
	for _, i := range component {
		if count[nodes[i].now.galera.index] == 1 {
			alone = append(alone, i)
		}
	}
	return alone
}

// describe lists components with their nodes.
func describe(nodes []sqlNode, components map[galeraView][]int, views []galeraView) string {
	var parts []string
	for _, v := range views[:min(len(views), 4)] {
		parts = append(parts, fmt.Sprintf("%s (%s)", others(nodes, components[v], -1), v))
	}
	return strings.Join(parts, "; ")
}
