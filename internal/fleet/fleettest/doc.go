// Package fleettest models the store of a fleet for tests. The model is deterministic: it has no goroutine and no clock of
// its own; a test moves its clock, cuts its clients off, drops its history and wipes it.
package fleettest
