package engine

import (
	"os"
	"time"

	"weir/l4"
)

// Activated is a listening socket that the process was started with.
type Activated = l4.ActivatedSocket

// Activate takes over a file that is a listening socket; with an error, or without, the file is closed.
func Activate(f *os.File) (*Activated, error) { return l4.NewActivatedSocket(f) }

// LoopsRespond reports whether every event loop goes round within a time. Those that have ended need not.
func (e *Engine) LoopsRespond(within time.Duration) bool {
	ok := true
	e.published.withLoops(func() { ok = e.plane.Responsive(within) })
	return ok
}

// Monotonic is the time on the system's monotonic clock.
func (e *Engine) Monotonic() time.Duration { return e.plane.ClockOrigin() + e.plane.Now() }
