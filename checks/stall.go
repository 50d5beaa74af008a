package checks

import "time"

// Stall detection: while checks run, the scheduler wakes every stallTick. If it wakes much later, the process was stopped
// or starved, and a check whose deadline passed meanwhile says nothing about its server.
const (
	stallTick = 50 * time.Millisecond
	stallMin  = 50 * time.Millisecond // a later wake-up than this is a stall
)

// stallDetector knows when the process did not run.
type stallDetector struct {
	wakeAt time.Time // when the scheduler wakes at the latest; zero = no check runs
	last   time.Time // end of the last stall
}

// tick records a wake-up of the scheduler. running reports whether checks run or are about to; the result is whether the
// next wake-up must be at most stallTick away.
func (d *stallDetector) tick(now time.Time, running bool) bool {
	d.observe(now)
	d.wakeAt = time.Time{}
	if running {
		d.wakeAt = now.Add(stallTick)
	}
	return running
}

// observe records a stall if the wake-up that was due has not come.
func (d *stallDetector) observe(now time.Time) {
	if !d.wakeAt.IsZero() && now.Sub(d.wakeAt) > stallMin {
		d.last = now
	}
}

// duringRun reports whether the process stalled during a run that lasted until now.
func (d *stallDetector) duringRun(began, now time.Time) bool {
	d.observe(now)
	return d.last.After(began)
}
