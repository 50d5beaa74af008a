package limits

import (
	"errors"
	"maps"
)

// What programs that are no nodes have written is put right, so that it stops no node from using what it has. A node changes its own
// part only, so another writer has changed that of this node unless it was declared gone. The parts of all nodes never exceed
// the limit, so what a node without a record holds beyond the rest of the limit was never held.

var (
	errForeignPart = errors.New("a program that is no node has changed the part of this node; it is written again")
	errForgedPart  = errors.New("a part of a node that does not exist exceeds the limit; it is made smaller")
)

// repair corrects the parts of a limit in the view, and marks their record to be written again.
func (n *Node) repair(key string, l *limit) {
	p := n.view.parts[l.record]
	if p == nil || !n.ready {
		return
	}
	at := repaired{p.modified, n.view.epoch}
	if l.repaired == at {
		return
	}
	parts := p.limits[key]
	_, uncertain := n.uncertain[key]
	if n.inFlight == nil && !uncertain { // else the part may be as this node wants it
		l.repaired = at
	}
	if own := parts[n.o.Name]; own.Held < l.known && l.repaired == at {
		parts = with(parts, n.o.Name, &Part{Held: l.known, Used: l.demand(), Limit: max(1, l.Limit)})
		n.correct(p, l.record, key, parts, errForeignPart)
	}
	limit, sum := l.Limit, 0
	for node, part := range parts {
		if n.exists(node) {
			limit = max(limit, part.Limit)
		}
		sum += part.Held
	}
	for node, part := range parts {
		if excess := sum - limit; excess > 0 && part.Held > 0 && !n.exists(node) {
			sum -= min(excess, part.Held)
			part.Held -= min(excess, part.Held)
			parts = with(parts, node, &part)
			n.correct(p, l.record, key, parts, errForgedPart)
		}
	}
}

// repaired is what a repair depends on.
type repaired struct {
	modified int64 // of the record of parts
	epoch    int   // of the view
}

// exists reports whether a node has ever written its record, as far as this one knows.
func (n *Node) exists(node string) bool {
	k := n.view.nodes[node]
	return node == n.o.Name || k != nil && k.record.ID != ""
}

func (n *Node) correct(p *knownParts, record, limit string, parts map[string]Part, why error) {
	p.limits = maps.Clone(p.limits)
	if p.limits == nil {
		p.limits = map[string]map[string]Part{}
	}
	p.limits[limit], p.missing = parts, true
	n.view.problems.Note(record, why)
}
