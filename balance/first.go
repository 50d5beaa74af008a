package balance

// first picks the first open server in file order: one server works until it is full or out, the next stands by.
type first struct{}

func (first) choose(l *level, _ ask) int { return l.running.next(0) }
