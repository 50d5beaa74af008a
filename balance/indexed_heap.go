package balance

// indexedHeap is a binary heap of numbers that knows the place of each, so that any of them can be removed.
type indexedHeap struct{ list []int32 }

// heapOrder is what an indexedHeap needs to know about its members.
type heapOrder interface {
	before(a, b int32) bool // a comes before b
	moved(member, to int32) // the place of a member has changed
}

func (h *indexedHeap) insert(o heapOrder, member int32) {
	h.list = append(h.list, member)
	h.up(o, len(h.list)-1)
}

// remove removes the member at a place.
func (h *indexedHeap) remove(o heapOrder, at int) {
	last := len(h.list) - 1
	h.place(o, at, h.list[last])
	h.list = h.list[:last]
	if at < last {
		h.fix(o, at)
	}
}

// fix restores the order after a change of the member at a place.
func (h *indexedHeap) fix(o heapOrder, at int) {
	h.down(o, at)
	h.up(o, at)
}

// build restores the order after any changes.
func (h *indexedHeap) build(o heapOrder) {
	for at := len(h.list)/2 - 1; at >= 0; at-- {
		h.down(o, at)
	}
}

func (h *indexedHeap) place(o heapOrder, at int, member int32) {
	h.list[at] = member
	o.moved(member, int32(at))
}

func (h *indexedHeap) up(o heapOrder, at int) {
	member := h.list[at]
	for at > 0 && o.before(member, h.list[(at-1)/2]) {
		h.place(o, at, h.list[(at-1)/2])
		at = (at - 1) / 2
	}
	h.place(o, at, member)
}

func (h *indexedHeap) down(o heapOrder, at int) {
	member := h.list[at]
	for {
		child := 2*at + 1
		if child >= len(h.list) {
			break
		}
		if child+1 < len(h.list) && o.before(h.list[child+1], h.list[child]) {
			child++
		}
		if !o.before(h.list[child], member) {
			break
		}
		h.place(o, at, h.list[child])
		at = child
	}
	h.place(o, at, member)
}
