package balance

// subsetWrr is smooth weighted round robin by a plain walk. It is for picks in which only some open slots take part:
// those that another method finds equal, or those without weight when no other is open.
type subsetWrr []int64

// next picks one of the slots, which are in order. The counters of the others do not change.
func (c subsetWrr) next(slots []int32, step func(slot int32) int64) int {
	best, total := slots[0], int64(0)
	for _, i := range slots {
		s := step(i)
		c[i] += s
		total += s
		if c[i] > c[best] {
			best = i
		}
	}
	c[best] -= total
	return int(best)
}

func (c subsetWrr) rebase(by float64) {
	for i := range c {
		c[i] = int64(float64(c[i]) * by)
	}
}

// pickIdle picks in a level in which no open slot has weight. The slots are used equally: by wrr, or by rendezvous if
// there is a key.
func (l *level) pickIdle(a pickInput) int {
	if l.table != nil && a.keyed {
		return l.rendezvous(a.hash, &l.idle)
	}
	l.some = l.idle.spread(l.some[:0], l.idle.n, 0)
	return l.subset.next(l.some, func(int32) int64 { return unit })
}
