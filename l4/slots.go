package l4

// slots gives what a loop has of one kind, its sessions or its flows, a number that events can carry. Structs are used again.
type slots[T any] struct {
	all   []*T // nil = free
	free  []uint32
	spare []*T
}

// acquireCount is an empty struct, and the number under which it is found.
func (s *slots[T]) acquire() (*T, uint32) {
	var t *T
	if n := len(s.spare); n > 0 {
		t = s.spare[n-1]
		s.spare = s.spare[:n-1]
	} else {
		t = new(T)
	}
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		s.all[slot] = t
		return t, slot
	}
	s.all = append(s.all, t)
	return t, uint32(len(s.all) - 1)
}

// release gives a number back, and its struct to whoever still looks at it.
func (s *slots[T]) detach(slot uint32) {
	s.all[slot] = nil
	s.free = append(s.free, slot)
}

// release gives a number back, and its struct, which is emptied.
func (s *slots[T]) release(slot uint32) {
	t := s.all[slot]
	s.detach(slot)
	var empty T
	*t = empty
	if len(s.spare) < maxFree {
		s.spare = append(s.spare, t)
	}
}
