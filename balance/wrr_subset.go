package balance

import "math"

// subsetWrr is smooth weighted round robin by a plain walk. It is for picks in which only some open slots take part:
// those that another method finds equal, or those without weight when no other is open.
type subsetWrr []int64

// next picks among the slots for which step is not zero. first must be the first of them. The counters of the others do
// not change.
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

// pickIdle picks in a level in which no open slot has weight. The slots are used equally: by wrr, or by rendezvous if
// there is a key.
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
