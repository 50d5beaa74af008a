package status

import "time"

// Hook is an event hook: a program or a URL.
type Hook struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind"`      // exec or url
	On          []string   `json:"on"`        // kinds of events; empty = all
	Queued      int        `json:"queued"`    // events that wait for delivery
	Delivered   uint64     `json:"delivered"` // events delivered
	Dropped     uint64     `json:"dropped"`   // events missed, because the hook failed or was too slow
	Failing     bool       `json:"failing"`   // the last delivery failed
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
}
