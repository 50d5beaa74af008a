package balance

// firstLevel picks the first open server in file order: one server works until it is full or out, the next stands by.
type first struct{}

func (first) pick(l *level, _ pickInput) int { return l.running.next(0) }
