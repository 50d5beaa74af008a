package admin

import "weir/internal/status"

// Weir is a running weir, as far as the API needs it. Its methods may be called from any goroutine. Errors that are the
// caller's fault are of type *status.Refusal.
type Weir interface {
	// Status is everything there is to see.
	Status() status.Document
	// Ready tells whether clients are served.
	Ready() bool
}
