package limits

import (
	"maps"
	"slices"
	"time"
)

// LimitStatus describes the division of a limit as a node knows it.
type LimitStatus struct {
	Limit    int            // as configured here
	Part     int            // that this node may use
	Held     int            // reserved for this node in the store
	Reserved map[string]int // for nodes that are not there
	Free     int            // not held by any node
}

// Status describes the division of all limits, by key, and whether the store can be reached.
func (k *Keeper) Status() (list map[string]LimitStatus, connected bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list = map[string]LimitStatus{}
	for key, l := range k.node.limits {
		parts := k.node.view.of(l.record, key)
		s := LimitStatus{Limit: l.Limit, Part: l.applied, Held: l.known, Reserved: map[string]int{}, Free: max(0, l.Limit-held(parts))}
		for node, p := range parts {
			if node != k.o.Node && p.Held > 0 && !k.live[node] {
				s.Reserved[node] = p.Held
			}
		}
		list[key] = s
	}
	return list, k.connected
}

// Brief returns the nodes that have left and hold parts, and when this node must stop using its parts unless another beat is
// proven; 0 = never.
func (k *Keeper) Brief() (reserved []string, deadline time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := map[string]bool{}
	for key, l := range k.node.limits {
		for node, p := range k.node.view.of(l.record, key) {
			if node != k.o.Node && p.Held > 0 && !k.live[node] {
				names[node] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), k.node.deadline()
}

// gone returns the nodes that were declared gone, and why.
func (n *Node) gone() map[string]string {
	var list map[string]string
	for name, k := range n.view.nodes {
		if k.record.Gone != "" {
			if list == nil {
				list = map[string]string{}
			}
			list[name] = k.record.Gone
		}
	}
	return list
}
