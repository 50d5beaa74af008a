package balance

// first picks the first open server in file order. One server takes all sessions until it is full or out of service.
type first struct{}

func (first) pick(l *level, _ pickInput) int { return l.running.next(0) }
