package balance

import "math"

// wrr is smooth weighted round robin as in nginx since 1.3.1 (src/stream/ngx_stream_upstream_round_robin.c). At every
// pick each server's counter grows by its weight, the server with the largest counter is picked, and the sum of the
// weights is subtracted from its counter. Weights 5, 1, 1 give AABACAA rather than AAAAABC. Ties go to the earlier
// server.
//
// Rr is the same with all weights equal to one.
type wrr struct{}

func (wrr) pick(l *level, _ pickInput) int { return l.wrr.next() }

// wrrState holds the counters of a level's smooth weighted round robin so that a pick need not walk over all servers. Only the
// open slots with the least load per step take part in a pick; the counters of the others do not change. Wrr sets no load, so
// all take part.
//
// Slots with the same step and load form a group. Their counters grow by the same step at every pick of the group, so a
// counter is kept as the line start + step·picks. These lines never cross: the order of a group's slots changes only when
// one of them is picked. Each group is a heap ordered by start, and the groups are a heap ordered by load per step. A pick
// compares the tops of the groups that have the least. That takes O(log n) for n servers and a few different weights, and
// picks exactly the server that a walk would pick.
type wrrState struct {
	slots  []wrrCounter
	groups []wrrGroup // those in free are empty
	free   []int32
	byKey  map[wrrKey]int32 // the groups with members
	least  indexedHeap      // the same, ordered by load per step
	tied   []int32          // places in least, during next
}

// wrrCounter is the counter of one slot.
type wrrCounter struct {
	wrrKey
	start int64 // counter - step·picks of the group
	group int32 // index into groups, while open
	at    int32 // place in the group
}

// wrrKey is what the slots of a group have in common. Step 0 means closed.
type wrrKey struct{ step, load int64 }

// wrrGroup holds the open slots of one key. The first is the next to be picked.
type wrrGroup struct {
	wrrKey
	picks   int64
	members indexedHeap
	at      int32 // place in wrrState.least
}

// keptGroupSize bounds the room that a group without members keeps.
const keptGroupSize = 256

func newWrrState(n int) *wrrState {
	return &wrrState{slots: make([]wrrCounter, n), byKey: map[wrrKey]int32{}}
}

// next picks among the open slots. At least one must be open.
func (r *wrrState) next() int {
	total := r.findTied()
	best, most, overflow := int32(-1), int64(math.MinInt64), false
	for _, place := range r.tied {
		g := &r.groups[r.least.list[place]]
		g.picks++
		overflow = overflow || g.picks == math.MaxInt32
		top := g.members.list[0]
		if n := r.slots[top].start + g.step*g.picks; n > most || n == most && top < best {
			best, most = top, n
		}
	}
	t := &r.slots[best]
	t.start -= total
	r.sink(r.groups[t.group].members.list)
	if overflow {
		r.rebase(1)
	}
	return int(best)
}

// sink moves the first slot of a group to its place among the others. It is indexedHeap.down without the calls: every pick
// does it, and with thousands of servers they took two fifths of its time.
func (r *wrrState) sink(list []int32) {
	slot := list[0]
	start, at := r.slots[slot].start, 0
	for child := 1; child < len(list); child = 2*at + 1 {
		next := list[child]
		first := r.slots[next].start
		if child+1 < len(list) {
			if other := list[child+1]; r.slots[other].start > first || r.slots[other].start == first && other < next {
				child, next, first = child+1, other, r.slots[other].start
			}
		}
		if first < start || first == start && next > slot {
			break
		}
		list[at], r.slots[next].at = next, int32(at)
		at = child
	}
	list[at], r.slots[slot].at = slot, int32(at)
}

// findTied fills tied with the groups that have the least load per step, and returns the sum of their slots' steps. Every parent
// of such a group in the heap is one as well.
func (r *wrrState) findTied() int64 {
	list := r.least.list
	first := r.groups[list[0]].wrrKey
	r.tied = append(r.tied[:0], 0)
	total := int64(0)
	for i := 0; i < len(r.tied); i++ {
		place := int(r.tied[i])
		g := &r.groups[list[place]]
		total += g.step * int64(len(g.members.list))
		for child := 2*place + 1; child <= 2*place+2 && child < len(list); child++ {
			if !first.less(r.groups[list[child]].wrrKey) {
				r.tied = append(r.tied, int32(child))
			}
		}
	}
	return total
}

// less reports whether k has less load per step than other.
func (k wrrKey) less(other wrrKey) bool { return k.load*other.step < other.load*k.step }

// count returns a slot's counter. The counter of a closed slot does not change.
func (r *wrrState) count(i int) int64 {
	t := &r.slots[i]
	if t.step == 0 {
		return t.start
	}
	return t.start + t.step*r.groups[t.group].picks
}

// set opens a slot with a step, changes the step or the load of an open slot, or closes it with step 0. The counter is kept.
func (r *wrrState) set(i int, step, load int64) {
	t, key := &r.slots[i], wrrKey{step, load}
	if t.wrrKey == key {
		return
	}
	t.start = r.count(i)
	if t.step > 0 {
		r.leave(t)
	}
	t.wrrKey = key
	if step > 0 {
		r.join(int32(i))
	}
}

// rebase multiplies all counters and restarts the counts of picks.
func (r *wrrState) rebase(by float64) {
	for i := range r.slots {
		r.slots[i].start = int64(float64(r.count(i)) * by)
	}
	for i := range r.groups {
		r.groups[i].picks = 0
		r.groups[i].members.build(slotOrder{r}) // rounding may have produced ties
	}
}

// join adds a slot to the group of its key. Its start is its counter.
func (r *wrrState) join(slot int32) {
	t := &r.slots[slot]
	id, ok := r.byKey[t.wrrKey]
	if !ok {
		id = r.newGroup(t.wrrKey)
	}
	g := &r.groups[id]
	t.group = id
	t.start -= t.step * g.picks
	g.members.insert(slotOrder{r}, slot)
}

func (r *wrrState) newGroup(key wrrKey) int32 {
	if len(r.free) == 0 {
		r.groups = append(r.groups, wrrGroup{})
		r.free = append(r.free, int32(len(r.groups)-1))
	}
	id := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	r.groups[id].wrrKey, r.groups[id].picks = key, 0
	r.byKey[key] = id
	r.least.insert(groupOrder{r}, id)
	return id
}

// leave removes a slot from its group.
func (r *wrrState) leave(t *wrrCounter) {
	g := &r.groups[t.group]
	g.members.remove(slotOrder{r}, int(t.at))
	if len(g.members.list) > 0 {
		return
	}
	r.least.remove(groupOrder{r}, int(g.at))
	delete(r.byKey, g.wrrKey)
	r.free = append(r.free, t.group)
	if cap(g.members.list) > keptGroupSize {
		g.members.list = nil
	}
}

// slotOrder orders the slots of a group: the next to be picked comes first.
type slotOrder struct{ *wrrState }

func (o slotOrder) before(a, b int32) bool {
	x, y := o.slots[a].start, o.slots[b].start
	return x > y || x == y && a < b
}

func (o slotOrder) moved(slot, to int32) { o.slots[slot].at = to }

// groupOrder orders groups by load per step.
type groupOrder struct{ *wrrState }

func (o groupOrder) before(a, b int32) bool { return o.groups[a].less(o.groups[b].wrrKey) }

func (o groupOrder) moved(group, to int32) { o.groups[group].at = to }
