package engine

import (
	"os"
	"time"

	"weir/l4"
)

// Activated is a listening socket from the service manager.
type Activated = l4.ActivatedSocket

// Activate returns the listening socket of a file. It always closes the file.
func Activate(f *os.File) (*Activated, error) { return l4.NewActivatedSocket(f) }

// LoopsRespond reports whether every event loop responds within a time. It returns true once the loops have ended.
func (e *Engine) LoopsRespond(within time.Duration) bool {
	ok := true
	e.published.withLoops(func() { ok = e.plane.Responsive(within) })
	return ok
}

// Monotonic returns the time on CLOCK_MONOTONIC.
func (e *Engine) Monotonic() time.Duration { return e.plane.ClockOrigin() + e.plane.Now() }
