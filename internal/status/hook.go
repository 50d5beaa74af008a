package status

import "time"

// Hook is one of those who are told of events, a program or a URL.
type Hook struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind"`      // exec or url
	On          []string   `json:"on"`        // the events that it is for; empty = all
	Queued      int        `json:"queued"`    // events that it has not been told of yet
	Delivered   uint64     `json:"delivered"` // events that it took
	Dropped     uint64     `json:"dropped"`   // events that it missed: it failed, or was too slow
	Failing     bool       `json:"failing"`   // the last one was missed
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
}
