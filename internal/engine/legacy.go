package engine

// What one process knows and another goes on with: the state that a hand-over carries.

import "time"

// legacy is that state.
type legacy struct {
	Anchor time.Duration `json:"anchor"`  // where the data plane's clock starts; all other times are on that clock
	LastID uint64        `json:"last_id"` // sessions that begin in the new process have higher ones
}

// legacy is what this process knows. mu is held.
func (e *Engine) legacy() legacy {
	return legacy{Anchor: e.plane.Anchor(), LastID: e.plane.LastID()}
}

// inherit takes up what another process knew. mu is held, and nothing is at work yet.
func (e *Engine) inherit(known legacy) {}
