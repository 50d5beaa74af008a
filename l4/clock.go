package l4

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic returns CLOCK_MONOTONIC, which all processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// ClockOrigin returns the CLOCK_MONOTONIC time at which the plane's clock was zero. A plane that is opened with the Origin
// of this time, in this process or another, has the same clock.
func (p *Plane) ClockOrigin() time.Duration { return monotonic() - p.Now() }

// Origin converts a ClockOrigin to a time for Options.Origin.
func Origin(clockOrigin time.Duration) time.Time { return time.Now().Add(clockOrigin - monotonic()) }
