package limits

import (
	"cmp"
	"math"
	"slices"
)

// unbounded is the claim of a node that takes what it can get.
const unbounded = math.MaxInt

// claimant is a node in the division of a limit.
type claimant struct {
	node  string
	claim int // what it needs
	held  int

	target int    // what it should hold
	order  uint64 // among equal nodes
}

// divide sets the targets of all claimants. Claims are satisfied with max-min fairness: none gets more than it claims while
// another lacks something and has less. What is left then makes the smallest targets larger, so that without claims all
// are equal. The sum of the targets is the limit, if there are claimants. The result depends on the set of claimants, not
// on their order.
//
// Units that cannot be split equally go to the nodes that hold most, so that they stay where they are. If the limit is below
// the number of nodes that claim some of it, they go to the nodes that hold least: each gets its turn. divide reports whether
// that is so.
func divide(limit int, list []claimant) (scarce bool) {
	if len(list) == 0 {
		return false
	}
	claiming := 0
	for i := range list {
		if list[i].claim > 0 {
			claiming++
		}
	}
	sticky := 1
	if scarce = limit < claiming; scarce {
		sticky = -1
	}
	// In ascending order of claims. Among equal claims the last ones get the units that are left.
	slices.SortFunc(list, func(a, b claimant) int {
		return cmp.Or(cmp.Compare(a.claim, b.claim), sticky*cmp.Compare(a.held, b.held), cmp.Compare(a.order, b.order), cmp.Compare(a.node, b.node))
	})
	left := max(0, limit)
	for i := range list {
		list[i].target = min(list[i].claim, left/(len(list)-i))
		left -= list[i].target
	}
	raise(list, left)
	return scarce
}

// raise distributes what is left: the smallest targets become larger.
func raise(list []claimant, left int) {
	if left == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b claimant) int { return cmp.Compare(a.target, b.target) })
	// The first n targets are raised to one level, the lowest that distributes everything.
	n, sum := 0, 0
	for n < len(list) && (n == 0 || list[n].target*n-sum < left) {
		sum += list[n].target
		n++
	}
	level, extra := (sum+left)/n, (sum+left)%n
	lowest := list[:n]
	slices.SortFunc(lowest, func(a, b claimant) int {
		return cmp.Or(cmp.Compare(b.held, a.held), cmp.Compare(b.order, a.order), cmp.Compare(a.node, b.node))
	})
	for i := range lowest {
		lowest[i].target = level
		if i < extra {
			lowest[i].target++
		}
	}
}
