package balance

import "time"

// Slow start raises a server's share linearly from 10 % to 100 %, in steps of one percent.
const (
	fullPercent  = 100 // percent
	startPercent = 10  // percent
)

// slowStartPercent returns the share at now of a server that started at start, in percent, and when it next changes.
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

// percentOf returns percent of n, rounded. It returns at least 1 unless n is 0.
func percentOf(n, percent int) int {
	if n == 0 {
		return 0
	}
	return max(1, (n*percent+fullPercent/2)/fullPercent)
}

// never is later than any time.
const never = time.Duration(1<<63 - 1)
