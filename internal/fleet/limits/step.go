package limits

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"weir/internal/fleet"
)

// Allowed is what a node may use of a limit from now on.
type Allowed struct {
	Part int  // 0 = nothing
	End  bool // sessions above Part must end now: the part is lost
}

// Result is what a Step decides.
type Result struct {
	Allowed  map[string]Allowed
	Deadline time.Duration // when Parts of servers and rates become 0 unless another Step says otherwise; 0 = never
	Txn      *fleet.Txn    // to commit; the result goes to Done, before the next Step or later
}

// Step decides what the node may use. usage describes all limits that are configured or in use, as of now; the decisions of
// the last Step are in force. live are the nodes that share limits and have not left.
func (n *Node) Step(usage map[string]Usage, live map[string]bool, now time.Duration) Result {
	if !maps.Equal(n.live, live) {
		n.live = maps.Clone(live)
		n.epoch++
	}
	n.report(usage, now)
	r := Result{Allowed: map[string]Allowed{}, Deadline: n.deadline()}
	expired := n.isExpired(now)
	for key, l := range n.limits {
		l.division = n.divisionOf(key, l, now)
		part := 0
		if n.ready && (!expired || KindOf(key) == PerSource) {
			part = n.reliable(key, l)
			if l.division.shrink {
				part = min(part, l.division.target)
			}
		}
		ends := expired && KindOf(key) != PerSource || l.lost && n.ready && l.InUse > l.known
		r.Allowed[key] = Allowed{part, ends && l.InUse > part}
	}
	r.Txn = n.propose(now)
	for key, a := range r.Allowed {
		l := n.limits[key]
		a.Part = min(a.Part, n.reliable(key, l)) // what is being given back must not be used from now on
		r.Allowed[key] = a
		l.applied = a.Part
		l.inForce[0] = max(l.inForce[0], a.Part)
	}
	return r
}

// reliable returns the own part of a limit without what the node may have given back.
func (n *Node) reliable(key string, l *limit) int {
	part := l.known
	if u, ok := n.uncertain[key]; ok {
		part = min(part, u.held)
	}
	if n.inFlight != nil {
		if held, ok := n.inFlight.own[key]; ok {
			part = min(part, held)
		}
	}
	return part
}

// report takes over the usage.
func (n *Node) report(usage map[string]Usage, now time.Duration) {
	for key, u := range usage {
		l := n.limits[key]
		if l == nil {
			l = &limit{turn: now, record: partsKey(key)}
			n.limits[key] = l
			n.noteHeld(key, l, now)
		}
		l.Usage = u
		if now-l.turn >= window {
			l.peaks, l.inForce, l.turn = [2]int{0, l.peaks[0]}, [2]int{l.applied, l.inForce[0]}, now
		}
		l.peaks[0] = max(l.peaks[0], u.Peak)
		if u.Limit > 0 && (u.Refused || l.applied > 0 && u.Peak >= l.applied) {
			l.full = now + window
		}
		if l.InUse <= l.known {
			l.lost = false
		}
	}
	for key := range n.limits {
		if _, ok := usage[key]; !ok {
			delete(n.limits, key)
		}
	}
}

// demand returns the largest use of the last one to two seconds.
func (l *limit) demand() int { return max(l.peaks[0], l.peaks[1]) }

// division is what follows for the node from the parts of a limit.
type division struct {
	target int  // what it should hold
	shrink bool // it must use no more than target, because others lack something
	grow   int  // it may hold so much more, if the records have not changed
	others bool // another node lacks something
}

// inputs is all that a division depends on.
type inputs struct {
	modified    int64
	limit, used int
	full, grace bool
	keeps       bool // the part has grown a moment ago
	epochs      [2]int
}

// divisionOf returns the division of a limit, computed again only if something has changed.
func (n *Node) divisionOf(key string, l *limit, now time.Duration) division {
	in := inputs{limit: l.Limit, used: l.demand(), full: now < l.full, grace: now < n.grace, keeps: now < l.keep, epochs: [2]int{n.epoch + 1, n.view.epoch}}
	if p := n.view.parts[l.record]; p != nil {
		in.modified = p.modified
	}
	if in == l.inputs {
		return l.division
	}
	l.inputs = in
	return n.divide(key, l, in)
}

// participants returns the nodes that take part in the division of a limit, with their parts, and the smallest limit that
// one of them knows. The others' parts are reserved.
func (n *Node) participants(parts map[string]Part, l *limit) (list []claimant, limit, reserved int) {
	limit = l.Limit
	list = []claimant{{node: n.o.Name, held: parts[n.o.Name].Held}}
	for node, p := range parts {
		switch {
		case node == n.o.Name:
			continue
		case !n.live[node] || n.isGone(node):
			reserved += p.Held
			continue
		}
		limit = min(limit, p.Limit)
		list = append(list, claimant{node: node, held: p.Held})
	}
	return list, limit, reserved
}

func (n *Node) isGone(node string) bool {
	k := n.view.nodes[node]
	return k == nil || k.record.Gone != ""
}

// divide computes what the node should hold of a limit.
func (n *Node) divide(key string, l *limit, in inputs) (d division) {
	parts := n.view.of(l.record, key)
	if l.Limit == 0 {
		return division{shrink: true}
	}
	list, limit, reserved := n.participants(parts, l)
	spare := limit / (8 * len(list))
	for i := range list {
		c := &list[i]
		p := parts[c.node]
		if c.node == n.o.Name {
			p.Used, p.Full = in.used, in.full
		}
		c.order = xxhash.Sum64String(fmt.Sprint(key, " ", c.node, in.modified))
		switch {
		case KindOf(key) == PerSource:
			if p.Full && p.Held == 0 {
				c.claim = 1
			}
		case p.Full:
			c.claim = unbounded
		default:
			c.claim = p.Used + spare
		}
	}
	scarce := divide(limit-reserved, list)
	free := limit - held(parts)
	missing, short := 0, false
	for _, c := range list {
		switch {
		case c.node == n.o.Name:
			d.target = c.target
			short = c.lacks(free)
		case c.lacks(free):
			missing += c.target - c.held
			d.others = true
		}
	}
	own := parts[n.o.Name].Held
	d.shrink = own > d.target && (d.others && missing > free || free < 0) && !(scarce && in.keeps)
	if !short {
		free -= missing
	}
	d.grow = max(0, min(d.target-own, free))
	if in.grace {
		d.grow = 0
	}
	return d
}

// lacks reports whether a node should hold more, at the expense of others.
func (c *claimant) lacks(free int) bool {
	return c.held < c.target && (c.claim == unbounded || c.held < c.claim || c.held == 0 || free < 0)
}

// silent returns the nodes that may be declared gone.
func (n *Node) silent(now time.Duration) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(n.view.nodes)) {
		k := n.view.nodes[name]
		if reserve := k.record.reserve(); name != n.o.Name && !k.missing && k.record.Gone == "" && reserve > 0 && now-k.seen >= reserve {
			names = append(names, name)
		}
	}
	return names
}
