package soak

// What was done to whom, and when: what the ends of sessions are explained by.

import (
	"slices"
	"sync"
	"time"
)

// deed is a kind of thing that is done.
type deed string

const (
	death   deed = "death"   // of a server
	absence deed = "absence" // of a server or listener from the configuration
	maint   deed = "maint"   // of a server, by the operator
	limit   deed = "limit"   // on a listener or a cluster
	kill    deed = "kill"    // of a server's sessions, by the operator
	slow    deed = "slow"    // of a server, found by its check on a machine that is too busy
)

// entry is something that was done, from its beginning to its end.
type entry struct {
	deed    deed
	subject string // server, listener or cluster
	from    time.Time
	to      time.Time // zero = it goes on
}

// ledger has all entries.
type ledger struct {
	mu      sync.Mutex
	entries []*entry
}

// begin enters something; the function that it returns ends it.
func (l *ledger) begin(d deed, subject string) (end func()) {
	e := &entry{deed: d, subject: subject, from: time.Now()}
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

// any reports whether one of the deeds was done to one of the subjects at some time between the two.
func (l *ledger) any(from, to time.Time, subjects []string, deeds ...deed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		over := !e.to.IsZero() && e.to.Before(from)
		if !over && !e.from.After(to) && slices.Contains(deeds, e.deed) && slices.Contains(subjects, e.subject) {
			return true
		}
	}
	return false
}

// count is how often something was done.
func (l *ledger) count() map[deed]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[deed]int{}
	for _, e := range l.entries {
		n[e.deed]++
	}
	return n
}
