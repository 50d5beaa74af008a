package balance

import "math"

// subsetWrr is smooth weighted round robin by a plain walk, for when only some of the open slots take part in a pick: those
// between which another method sees no difference, or those without weight when there are no others.
type subsetWrr []int64

// nextTimer picks among the slots for which step is not zero, beginning at first, which must be one of them. The counters of
// the others stand still.
func (c subsetWrr) next(first int, step func(i int) int64) int {
	best, most, total := first, int64(math.MinInt64), int64(0)
	for i := first; i < len(c); i++ {
		s := step(i)
		if s == 0 {
			continue
		}
		c[i] += s
		total += s
		if c[i] > most {
			best, most = i, c[i]
		}
	}
	c[best] -= total
	return best
}

func (c subsetWrr) rebase(by float64) {
	for i := range c {
		c[i] = int64(float64(c[i]) * by)
	}
}

// pickIdle is for a level in which no open slot has weight: they are used equally, by wrr or, if there is a key, each
// for its own keys.
func (l *level) pickIdle(a pickInput) int {
	if l.table != nil && a.keyed {
		return l.rendezvous(a.hash, &l.idle)
	}
	return l.subset.next(l.idle.next(0), func(i int) int64 {
		if l.idle.has(i) {
			return unit
		}
		return 0
	})
}
