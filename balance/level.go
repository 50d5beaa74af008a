package balance

import "time"

// level is one tier of a cluster: its slots in file order. The numbers that methods read are in separate slices, so
// that a walk over ten thousand servers stays in the cache.
//
// A slot is open while its server may be given a session now: eligible, below its session limit, not busy with a
// probation session, and not barred for the current session. Open slots with weight are in running, open slots without
// weight in idle.
type level struct {
	index  int
	key    int    // the key in Attempts and Lease
	name   string // published name
	minUp  int
	try    int
	equal  bool // every weight counts as one (Rr)
	method picker

	slots     []slot
	eligible  int  // slots with an eligible server
	probation int  // eligible ones on probation
	busy      int  // of those, with the deciding session in progress
	full      int  // eligible ones at their session limit
	refused   bool // since TakeUses a session has found servers only that are full

	shares      *levelShares  // during a rebalance; else nil
	usable      bool          // new sessions may be sent here
	usableSince time.Duration // with usable

	running   bitset  // open slots with weight; methods pick from these
	idle      bitset  // open slots without weight
	steps     []int64 // share of each running slot; 0 for the others
	total     int64   // of steps
	load      []int64 // leases of each slot's server
	backedOff []int   // slots with a reduced weight after failures

	wrr    *wrrState     // Wrr, Rr, LeastSessions, Hash, Maglev
	byLoad bool          // wrr picks among the least loaded slots (LeastSessions)
	subset subsetWrr     // LeastTime, and idle slots with any
	some   []int32       // slots that a pick compares, during a pick
	turn   int           // picks of LeastTime
	tree   *tree         // Random
	times  []serverTimes // LeastTime
	table  *table        // Hash, Maglev
}

// slot is one appearance of a server in a level.
type slot struct {
	server      *Server
	address     string
	configured  int
	weight      int  // override, else configured × agent; without slow start and back-off
	backOffLoss int  // weight lost to failures; one is regained per pick
	backedOff   bool // in level.backedOff
	eligible    bool
	probation   bool
	busy        bool
	full        bool
	barred      bool // for the current session, during one pick
}

// unit is the step of a server of weight one, so that slow start can be expressed in percent.
const unit = fullPercent

// step returns the share of a slot, in hundredths of a weight.
func (l *level) step(i int) int64 {
	s := &l.slots[i]
	return int64(s.weight-s.backOffLoss) * int64(s.server.percent)
}

// updateSlot recomputes the flags of a slot from its server and opens or closes the slot.
func (l *level) updateSlot(i int) {
	s := &l.slots[i]
	state := s.server.published.State
	setCounted(&l.eligible, &s.eligible, state.Eligible())
	setCounted(&l.probation, &s.probation, state == Probation)
	setCounted(&l.busy, &s.busy, s.server.busy())
	setCounted(&l.full, &s.full, s.eligible && s.server.full())
	l.openOrClose(i)
}

// setCounted sets a flag and keeps n equal to the number of flags that are set.
func setCounted(n *int, flag *bool, to bool) {
	*n += count(to) - count(*flag)
	*flag = to
}

// openOrClose opens or closes a slot according to its flags.
func (l *level) openOrClose(i int) {
	s := &l.slots[i]
	open := s.eligible && !s.full && !s.busy && !s.barred
	step := int64(0)
	if open {
		step = l.step(i)
	}
	l.running.set(i, step > 0)
	l.idle.set(i, open && step == 0)
	if l.steps[i] == step {
		return
	}
	l.total += step - l.steps[i]
	l.steps[i] = step
	if l.wrr != nil {
		load := int64(0)
		if l.byLoad {
			load = l.load[i]
		}
		l.wrr.set(i, step, load)
	}
	if l.tree != nil {
		l.tree.set(i, step)
	}
}

// close bars a slot for the current session, or ends that.
func (l *level) close(i int, barred bool) {
	l.slots[i].barred = barred
	l.openOrClose(i)
}

// steady returns how many servers serve and are not on probation.
func (l *level) steady() int { return l.eligible - l.probation }

// open returns how many slots are open.
func (l *level) open() int { return l.running.n + l.idle.n }

// pick returns the picked slot, or -1 if none is open.
func (l *level) pick(a pickInput) int {
	i := -1
	switch {
	case l.running.n > 0:
		i = l.method.pick(l, a)
	case l.idle.n > 0:
		i = l.pickIdle(a)
	}
	l.recoverWeight()
	return i
}

// backOff halves the effective weight of a slot after a failed attempt. The result is rounded up and never 0.
func (l *level) backOff(i int) {
	s := &l.slots[i]
	left := s.weight - s.backOffLoss
	if left <= 1 {
		return
	}
	if !s.backedOff {
		s.backedOff = true
		l.backedOff = append(l.backedOff, i)
	}
	s.backOffLoss += left / 2
	l.openOrClose(i)
}

// recoverWeight gives one unit of lost weight back to every running slot that has lost some.
func (l *level) recoverWeight() {
	for j := 0; j < len(l.backedOff); {
		i := l.backedOff[j]
		s := &l.slots[i]
		if s.backOffLoss > 0 && l.steps[i] > 0 {
			s.backOffLoss--
			l.openOrClose(i)
		}
		if s.backOffLoss > 0 {
			j++
			continue
		}
		s.backedOff = false
		l.backedOff[j] = l.backedOff[len(l.backedOff)-1]
		l.backedOff = l.backedOff[:len(l.backedOff)-1]
	}
}

// setWeight applies a new weight to a slot. The counters of the whole level are rescaled. Otherwise the credit of a
// heavy server would turn into a burst when weights become small.
func (l *level) setWeight(i, weight int) {
	s := &l.slots[i]
	if weight = l.scaled(weight); s.weight == weight {
		return
	}
	before := l.weight()
	s.weight = weight
	s.backOffLoss = min(s.backOffLoss, max(0, weight-1))
	l.openOrClose(i)
	if before > 0 {
		by := float64(l.weight()) / float64(before)
		l.subset.rebase(by)
		if l.wrr != nil {
			l.wrr.rebase(by)
		}
	}
}

// scaled returns the effective value of a weight in this level.
func (l *level) scaled(weight int) int {
	if l.equal {
		return min(1, weight)
	}
	return weight
}

// weight returns the sum of the weights.
func (l *level) weight() int {
	sum := 0
	for i := range l.slots {
		sum += l.slots[i].weight
	}
	return sum
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newLevel returns a level with all slots closed and all counters zero.
func newLevel(index int, spec LevelSpec, m Method, rnd *rng) *level {
	n := len(spec.Servers)
	l := &level{
		index:   index,
		key:     spec.Key,
		name:    levelName(spec.Name, index),
		minUp:   spec.MinUp,
		try:     spec.Try,
		equal:   m == Rr,
		method:  m.picker(rnd),
		slots:   make([]slot, n),
		steps:   make([]int64, n),
		subset:  make(subsetWrr, n),
		running: newBitset(n),
		idle:    newBitset(n),
		load:    make([]int64, n),
	}
	switch m {
	case Wrr, Rr, LeastSessions, Hash, Maglev:
		l.wrr, l.byLoad = newWrrState(n), m == LeastSessions
	case Random:
		l.tree = newTree(n)
	case LeastTime:
		l.times = make([]serverTimes, n)
	}
	return l
}
