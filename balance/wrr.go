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

// wrrState holds the counters of a level's smooth weighted round robin so that a pick need not walk over all servers. A
// counter grows by the same step at every pick, so it is kept as the line start + step·picks. Lines with the same step
// never cross: the order of slots with one step changes only when one of them is picked. They are kept in one heap per
// step, ordered by start, and a pick compares the tops of the heaps. That takes O(log n) for n servers and a few
// different weights, and picks exactly the server that a walk would pick.
type wrrState struct {
	slots []wrrCounter
	heaps []heap // some may be empty
	picks int64
	total int64 // sum of the steps of the open slots
}

// wrrCounter is the counter of one slot.
type wrrCounter struct {
	step  int64 // 0 = closed
	start int64 // counter - step·picks
	heap  int32 // index into heaps, while open
	at    int32 // index into the heap
}

// heap holds the open slots of one step. The first is the next to be picked.
type heap struct {
	step int64
	list []int32
}

func newWrrState(n int) *wrrState { return &wrrState{slots: make([]wrrCounter, n)} }

// next picks among the open slots. At least one must be open.
func (r *wrrState) next() int {
	r.picks++
	best, most := int32(-1), int64(math.MinInt64)
	for i := range r.heaps {
		if h := &r.heaps[i]; len(h.list) > 0 {
			top := h.list[0]
			if n := r.count(int(top)); n > most || n == most && top < best {
				best, most = top, n
			}
		}
	}
	t := &r.slots[best]
	t.start -= r.total
	r.down(&r.heaps[t.heap], int(t.at))
	if r.picks == math.MaxInt32 {
		r.rebase(1)
	}
	return int(best)
}

// count returns a slot's counter. The counter of a closed slot does not change.
func (r *wrrState) count(i int) int64 { return r.slots[i].start + r.slots[i].step*r.picks }

// set opens a slot with a step, changes the step of an open slot, or closes it with step 0. The counter is kept.
func (r *wrrState) set(i int, step int64) {
	t := &r.slots[i]
	if t.step == step {
		return
	}
	n := r.count(i)
	if t.step > 0 {
		r.remove(i)
	}
	r.total += step - t.step
	t.step, t.start = step, n-step*r.picks
	if step > 0 {
		r.insert(i)
	}
}

// rebase multiplies all counters and restarts the count of picks.
func (r *wrrState) rebase(by float64) {
	for i := range r.slots {
		r.slots[i].start = int64(float64(r.count(i)) * by)
	}
	r.picks = 0
	for i := range r.heaps {
		h := &r.heaps[i]
		for at := len(h.list)/2 - 1; at >= 0; at-- {
			r.down(h, at) // rounding may have produced ties
		}
	}
}

func (r *wrrState) insert(i int) {
	t := &r.slots[i]
	t.heap = r.heapOf(t.step)
	h := &r.heaps[t.heap]
	h.list = append(h.list, int32(i))
	r.up(h, len(h.list)-1)
}

func (r *wrrState) remove(i int) {
	t := &r.slots[i]
	h, at, last := &r.heaps[t.heap], int(t.at), len(r.heaps[t.heap].list)-1
	r.place(h, at, h.list[last])
	h.list = h.list[:last]
	if at < last {
		r.down(h, at)
		r.up(h, at)
	}
}

// heapOf returns the heap of a step: the existing one, else an empty one, else a new one.
func (r *wrrState) heapOf(step int64) int32 {
	empty := -1
	for i := range r.heaps {
		if h := &r.heaps[i]; len(h.list) == 0 {
			empty = i
		} else if h.step == step {
			return int32(i)
		}
	}
	if empty < 0 {
		empty = len(r.heaps)
		r.heaps = append(r.heaps, heap{})
	}
	r.heaps[empty].step = step
	return int32(empty)
}

// before reports whether slot a is picked before slot b of the same step.
func (r *wrrState) before(a, b int32) bool {
	x, y := r.slots[a].start, r.slots[b].start
	return x > y || x == y && a < b
}

func (r *wrrState) place(h *heap, at int, slot int32) {
	h.list[at] = slot
	r.slots[slot].at = int32(at)
}

func (r *wrrState) up(h *heap, at int) {
	slot := h.list[at]
	for at > 0 && r.before(slot, h.list[(at-1)/2]) {
		r.place(h, at, h.list[(at-1)/2])
		at = (at - 1) / 2
	}
	r.place(h, at, slot)
}

func (r *wrrState) down(h *heap, at int) {
	slot := h.list[at]
	for {
		child := 2*at + 1
		if child >= len(h.list) {
			break
		}
		if child+1 < len(h.list) && r.before(h.list[child+1], h.list[child]) {
			child++
		}
		if !r.before(h.list[child], slot) {
			break
		}
		r.place(h, at, h.list[child])
		at = child
	}
	r.place(h, at, slot)
}
