package l4

// slots numbers the sessions, or flows, of a loop; events carry the number. Structs are reused.
type slots[T any] struct {
	all   []*T // nil = free
	free  []uint32
	spare []*T
}

// acquire returns an empty struct and its slot.
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

// detach frees a slot whose struct is still referenced and is not reused.
func (s *slots[T]) detach(slot uint32) {
	s.all[slot] = nil
	s.free = append(s.free, slot)
}

// release frees a slot and its struct, which it clears.
func (s *slots[T]) release(slot uint32) {
	t := s.all[slot]
	s.detach(slot)
	var empty T
	*t = empty
	if len(s.spare) < maxFree {
		s.spare = append(s.spare, t)
	}
}
