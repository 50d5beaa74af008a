package balance

import "time"

// Slow start grows a server's share from a tenth to the whole, linearly, in steps of one percent.
const (
	grown    = 100 // percent
	seedling = 10  // percent
)

// growth returns how many percent a server that started at start may have at now, and when that next changes.
func growth(start, now, over time.Duration) (percent int, next time.Duration) {
	if over <= 0 || now-start >= over {
		return grown, never
	}
	const steps = grown - seedling
	step := max(1, over/steps)
	done := max(0, now-start) / step
	if done >= steps-1 {
		return grown - 1, start + over
	}
	return seedling + int(done), start + step*(done+1)
}

// share returns percent of n, at least one of something.
func share(n, percent int) int {
	if n == 0 {
		return 0
	}
	return max(1, (n*percent+grown/2)/grown)
}

// never is later than any time.
const never = time.Duration(1<<63 - 1)
