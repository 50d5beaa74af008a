package balance

// level is one tier at work: its slots in file order, and for each the numbers that the methods look at, side by side
// in slices of their own so that a walk over ten thousand servers stays in the cache.
//
// A slot is open while its server may be given a session right now: eligible, with room, not busy with a probation, and
// not tried before by the session at hand. Open slots with weight are running, open slots without weight idle, and
// closed ones neither.
type level struct {
	index  int
	key    int    // what trials and leases call it
	name   string // shown name
	minUp  int
	try    int
	equal  bool // every weight counts as one (Rr)
	method chooser

	slots     []slot
	eligible  int // slots whose server is
	probation int // eligible ones on probation
	busy      int // … with the session that decides under way
	full      int // eligible ones without room

	running bitset  // open slots with weight: what methods choose from
	idle    bitset  // open slots without
	steps   []int64 // of the running slots, what they are due; 0 for the others
	total   int64   // of steps
	load    []int64 // sessions of each slot's server
	weak    []int   // slots that failures have weakened

	turns  *turns    // Wrr, Rr, Hash, Maglev
	lineup lineup    // LeastSessions, LeastTime, and idle slots with any
	tree   *tree     // Random
	time   []measure // LeastTime
	table  *table    // Hash, Maglev
}

// slot is one server's appearance in a level.
type slot struct {
	server     *Server
	address    string
	configured int
	weight     int  // override, else configured × agent; slow start and back-off apart
	lost       int  // of weight, to failures; regained one per pick
	weak       bool // on the level's list
	eligible   bool
	probation  bool
	busy       bool
	full       bool
	tried      bool // by the session at hand, for the length of one pick
}

// unit is the step of a server of weight one: a hundred, so that slow start can show in it.
const unit = grown

// step returns how much of the work a slot is due, in hundredths of a weight.
func (l *level) step(i int) int64 {
	s := &l.slots[i]
	return int64(s.weight-s.lost) * int64(s.server.percent)
}

// refit recomputes what a slot's server allows and opens or closes the slot accordingly.
func (l *level) refit(i int) {
	s := &l.slots[i]
	state := s.server.shown.State
	tally(&l.eligible, &s.eligible, state.Eligible())
	tally(&l.probation, &s.probation, state == Probation)
	tally(&l.busy, &s.busy, s.server.busy())
	tally(&l.full, &s.full, s.eligible && s.server.full())
	l.fit(i)
}

// tally sets a flag and keeps count of how many are set.
func tally(n *int, flag *bool, to bool) {
	*n += count(to) - count(*flag)
	*flag = to
}

// fit opens or closes a slot.
func (l *level) fit(i int) {
	s := &l.slots[i]
	open := s.eligible && !s.full && !s.busy && !s.tried
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
	if l.turns != nil {
		l.turns.set(i, step)
	}
	if l.tree != nil {
		l.tree.set(i, step)
	}
}

// steady returns how many servers serve without being on probation.
func (l *level) steady() int { return l.eligible - l.probation }

// open returns how many slots could be picked.
func (l *level) open() int { return l.running.n + l.idle.n }

// choose returns the slot to be picked, or -1 if none is open.
func (l *level) choose(a ask) int {
	i := -1
	switch {
	case l.running.n > 0:
		i = l.method.choose(l, a)
	case l.idle.n > 0:
		i = l.chooseIdle(a)
	}
	l.recover()
	return i
}

// weaken halves the weight of a slot after a failed attempt, rounded up, never to nothing.
func (l *level) weaken(i int) {
	s := &l.slots[i]
	left := s.weight - s.lost
	if left <= 1 {
		return
	}
	if !s.weak {
		s.weak = true
		l.weak = append(l.weak, i)
	}
	s.lost += left / 2
	l.fit(i)
}

// recover gives one of the lost weight back to every weakened slot that took part in a pick.
func (l *level) recover() {
	for j := 0; j < len(l.weak); {
		i := l.weak[j]
		s := &l.slots[i]
		if s.lost > 0 && l.steps[i] > 0 {
			s.lost--
			l.fit(i)
		}
		if s.lost > 0 {
			j++
			continue
		}
		s.weak = false
		l.weak[j] = l.weak[len(l.weak)-1]
		l.weak = l.weak[:len(l.weak)-1]
	}
}

// reweigh applies a new weight to a slot. The counters of the whole level move to the new scale: left as they were,
// what a heavy server was owed would come out as a burst once weights are small.
func (l *level) reweigh(i, weight int) {
	s := &l.slots[i]
	if weight = l.scaled(weight); s.weight == weight {
		return
	}
	before := l.weight()
	s.weight = weight
	s.lost = min(s.lost, max(0, weight-1))
	l.fit(i)
	if before > 0 {
		by := float64(l.weight()) / float64(before)
		l.lineup.rebase(by)
		if l.turns != nil {
			l.turns.rebase(by)
		}
	}
}

// scaled returns what a weight counts for in this level.
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

func (l *level) remeasure(i int, m measure) {
	if l.time != nil {
		l.time[i] = m
	}
}

func (s *Server) remeasure() {
	for _, p := range s.places {
		p.level.remeasure(p.slot, s.connect)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newLevel returns a level with every slot closed and every counter at zero.
func newLevel(index int, spec LevelSpec, m Method, rnd *dice) *level {
	n := len(spec.Servers)
	l := &level{
		index:   index,
		key:     spec.Key,
		name:    levelName(spec.Name, index),
		minUp:   spec.MinUp,
		try:     spec.Try,
		equal:   m == Rr,
		method:  m.chooser(rnd),
		slots:   make([]slot, n),
		steps:   make([]int64, n),
		lineup:  make(lineup, n),
		running: newBitset(n),
		idle:    newBitset(n),
		load:    make([]int64, n),
	}
	switch m {
	case Wrr, Rr, Hash, Maglev:
		l.turns = newTurns(n)
	case Random:
		l.tree = newTree(n)
	case LeastTime:
		l.time = make([]measure, n)
	}
	return l
}
