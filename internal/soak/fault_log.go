package soak

// The log of faults, which explain the ends of sessions.

import (
	"slices"
	"sync"
	"time"
)

// fault is a kind of fault.
type fault string

const (
	killed fault = "death"   // of a server
	absent fault = "absence" // of a server or listener from the configuration
	maint  fault = "maint"   // of a server, by the operator
	limit  fault = "limit"   // on a listener or a cluster
	kill   fault = "kill"    // of a server's sessions, by the operator
	slow   fault = "slow"    // of a server whose check timed out on a busy machine
)

// faultEntry is one fault from its beginning to its end.
type faultEntry struct {
	fault   fault
	subject string // server, listener or cluster
	from    time.Time
	to      time.Time // zero = not ended
}

// faultLog holds all faults.
type faultLog struct {
	mu      sync.Mutex
	entries []*faultEntry
}

// begin adds a fault. The returned function ends it.
func (l *faultLog) begin(d fault, subject string) (end func()) {
	e := &faultEntry{fault: d, subject: subject, from: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.to.IsZero() {
			e.to = time.Now()
		}
	}
}

// any reports whether one of the faults affected one of the subjects between from and to.
func (l *faultLog) any(from, to time.Time, subjects []string, faults ...fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		over := !e.to.IsZero() && e.to.Before(from)
		if !over && !e.from.After(to) && slices.Contains(faults, e.fault) && slices.Contains(subjects, e.subject) {
			return true
		}
	}
	return false
}

// count returns the number of faults by kind.
func (l *faultLog) count() map[fault]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[fault]int{}
	for _, e := range l.entries {
		n[e.fault]++
	}
	return n
}
