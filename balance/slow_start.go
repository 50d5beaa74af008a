package balance

import "time"

// Slow start grows a server's share from a tenth to the whole, linearly, in steps of one percent.
const (
	fullPercent  = 100 // percent
	startPercent = 10  // percent
)

// slowStartPercent returns how many percent a server that started at start may have at now, and when that next changes.
func slowStartPercent(start, now, over time.Duration) (percent int, next time.Duration) {
	if over <= 0 || now-start >= over {
		return fullPercent, never
	}
	const steps = fullPercent - startPercent
	step := max(1, over/steps)
	done := max(0, now-start) / step
	if done >= steps-1 {
		return fullPercent - 1, start + over
	}
	return startPercent + int(done), start + step*(done+1)
}

// percentOf returns percent of n, at least one of something.
func percentOf(n, percent int) int {
	if n == 0 {
		return 0
	}
	return max(1, (n*percent+fullPercent/2)/fullPercent)
}

// never is later than any time.
const never = time.Duration(1<<63 - 1)
