package limits

import (
	"maps"
	"slices"
	"time"
)

// create returns equal parts for all live nodes.
func (n *Node) create(key string, l *limit) map[string]Part {
	list := []claimant{{node: n.o.Name}}
	for _, name := range slices.Sorted(maps.Keys(n.view.nodes)) {
		if name != n.o.Name && n.live[name] && !n.isGone(name) {
			list = append(list, claimant{node: name})
		}
	}
	divide(l.Limit, list)
	parts := map[string]Part{}
	for _, c := range list {
		parts[c.node] = Part{Held: c.target, Limit: l.Limit}
	}
	return parts
}

// revise returns the own part of a limit as it should be, nil for none, and reports whether it differs from that in the
// store in more than what may wait.
func (n *Node) revise(key string, l *limit, own Part, exists bool, now time.Duration) (*Part, bool) {
	d := l.division
	next := Part{Held: own.Held, Used: l.demand(), Limit: l.Limit, Full: now < l.full}
	if l.Limit == 0 {
		next.Limit, next.Full = own.Limit, false
	}
	switch {
	case d.shrink:
		next.Held = min(own.Held, l.floor(KindOf(key)))
	default:
		next.Held += d.grow
	}
	if l.Limit == 0 && next.Held == 0 {
		return nil, exists
	}
	if !exists {
		return &next, true
	}
	tolerance := 0
	if !d.others && !next.Full {
		tolerance = unbounded
	} else if next.Limit > 0 {
		tolerance = next.Limit / (16 * max(1, len(n.live)))
	}
	used := next.Used - own.Used
	return &next, next.Held != own.Held || next.Limit != own.Limit || next.Full != own.Full || max(used, -used) > tolerance
}

// floor returns what the node must hold because it is, or has just been, in use.
func (l *limit) floor(k Kind) int {
	if k == Rate { // a burst may have used up a second's worth just before the part became smaller
		return max(l.inForce[0], l.inForce[1])
	}
	return max(l.applied, l.InUse)
}
