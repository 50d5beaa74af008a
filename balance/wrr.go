package balance

import "math"

// wrr is smooth weighted round robin, as nginx has had it since 1.3.1 (src/stream/ngx_stream_upstream_round_robin.c):
// at every pick each server's counter grows by its weight, the largest counter is picked, and the sum of the weights is
// taken off it. Weights 5, 1, 1 give AABACAA rather than AAAAABC. Ties go to the earlier server.
//
// Rr is the same with every weight being one.
type wrr struct{}

func (wrr) choose(l *level, _ key) int { return l.run.next() }

// run holds the counters of a level's smooth weighted round robin.
type run struct {
	slots  []counter
	frozen []int64 // counters of the closed slots
	total  int64   // of the steps of the open slots
	open   int     // slots with a step
}

// counter is one slot's. A closed slot has step 0 and a counter far below any real one, so that the walk over all slots
// needs no test for it.
type counter struct{ now, step int64 }

const closed = math.MinInt64 / 2

func newRun(n int) run {
	r := run{slots: make([]counter, n), frozen: make([]int64, n)}
	for i := range r.slots {
		r.slots[i].now = closed
	}
	return r
}

// next picks among the open slots; at least one must be.
func (r *run) next() int {
	best, most := -1, int64(math.MinInt64)
	for i := range r.slots {
		s := &r.slots[i]
		s.now += s.step
		if s.now > most {
			best, most = i, s.now
		}
	}
	r.slots[best].now -= r.total
	return best
}

// set opens a slot with a step, changes the step of an open one, or with step 0 closes it and freezes its counter.
func (r *run) set(i int, step int64) {
	s := &r.slots[i]
	switch {
	case s.step == 0 && step > 0:
		s.now, r.open = r.frozen[i], r.open+1
	case s.step > 0 && step == 0:
		r.frozen[i], s.now, r.open = s.now, closed, r.open-1
	}
	r.total += step - s.step
	s.step = step
}

// count returns a slot's counter.
func (r *run) count(i int) int64 {
	if r.slots[i].step > 0 {
		return r.slots[i].now
	}
	return r.frozen[i]
}

// put sets a slot's counter.
func (r *run) put(i int, n int64) {
	if r.slots[i].step > 0 {
		r.slots[i].now = n
	} else {
		r.frozen[i] = n
	}
}

// scale multiplies every counter.
func (r *run) scale(by float64) {
	for i := range r.slots {
		r.put(i, int64(float64(r.count(i))*by))
	}
}

// chooseIdle is for a level in which no open slot has weight: they are used equally. Keyed methods keep their keys
// together.
func (l *level) chooseIdle(k key) int {
	if l.hash != nil && k.set {
		return l.rendezvous(k.hash, func(i int) bool { return l.idle.has(i) })
	}
	best := -1
	for i := l.idle.next(0); i >= 0; i = l.idle.next(i + 1) {
		l.run.frozen[i] += unit
		if best < 0 || l.run.frozen[i] > l.run.frozen[best] {
			best = i
		}
	}
	l.run.frozen[best] -= int64(l.idle.n) * unit
	return best
}
