package soak

// The log of faults, which explain the ends of sessions.

import (
	"context"
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

	refusing    fault = "refusal"   // of sessions, by a server that has accepted their connections
	waiting     fault = "waiting"   // of clients in the accept queue of a listener (when_full)
	gentle      fault = "gentle"    // closing of a cluster's sessions, before a deadline
	ageing      fault = "age"       // max_session_age of a cluster
	failback    fault = "failback"  // on_failback of a cluster
	rebalancing fault = "rebalance" // of a cluster, by the operator or automatic, from its first event to its last
	stalled     fault = "stall"     // of this process, on a busy machine: clients do not act in time

	suspended fault = "suspension" // of weir itself: SIGSTOP until SIGCONT. It explains no end; see before and after
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
	return l.beginAt(time.Now(), d, subject)
}

// beginAt adds a fault that began at a time in the past.
func (l *faultLog) beginAt(from time.Time, d fault, subject string) (end func()) {
	e := &faultEntry{fault: d, subject: subject, from: from}
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

// watchStalls logs the times in which this process did not run, until ctx ends.
func (l *faultLog) watchStalls(ctx context.Context) {
	const interval, late = 50 * time.Millisecond, 250 * time.Millisecond
	for last := time.Now(); ctx.Err() == nil; {
		time.Sleep(interval)
		now := time.Now()
		if now.Sub(last) > late {
			l.mu.Lock()
			l.entries = append(l.entries, &faultEntry{fault: stalled, subject: soakName, from: last, to: now})
			l.mu.Unlock()
		}
		last = now
	}
}

// soakName is the subject of stalls.
const soakName = "soak"

// any reports whether one of the faults affected one of the subjects between from and to.
func (l *faultLog) any(from, to time.Time, subjects []string, faults ...fault) bool {
	return l.lasted(0, from, to, subjects, faults...)
}

// lasted is like any, for faults that have lasted at least d.
func (l *faultLog) lasted(d time.Duration, from, to time.Time, subjects []string, faults ...fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		end := e.to
		if end.IsZero() {
			end = time.Now()
		}
		if !end.Before(from) && !e.from.After(to) && end.Sub(e.from) >= d && slices.Contains(faults, e.fault) && slices.Contains(subjects, e.subject) {
			return true
		}
	}
	return false
}

// extend returns to, or the end of the faults of a kind that affected the subject between from and to, and of those that
// followed without a gap.
func (l *faultLog) extend(from, to time.Time, subject string, f fault) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for grown := true; grown; {
		grown = false
		for _, e := range l.entries {
			end := e.to
			if end.IsZero() {
				end = now
			}
			if e.fault == f && e.subject == subject && !e.from.After(to) && !end.Before(from) && end.After(to) {
				to, grown = end, true
			}
		}
	}
	return to
}

// before returns the time from which weir has run for d until t. Tolerances are times in which weir ran: what it does
// after a suspension may have a cause before it.
func (l *faultLog) before(t time.Time, d time.Duration) time.Time {
	return l.shift(t, -d)
}

// after returns the time until which weir has run for d since t.
func (l *faultLog) after(t time.Time, d time.Duration) time.Time {
	return l.shift(t, d)
}

// shift returns t moved by d and by the suspensions on the way.
func (l *faultLog) shift(t time.Time, d time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	moved := t.Add(d)
	for {
		from, to := t, moved
		if d < 0 {
			from, to = moved, t
		}
		idle := l.total(from, to, now, suspended)
		if d < 0 {
			idle = -idle
		}
		next := t.Add(d + idle)
		if next.Equal(moved) {
			return next
		}
		moved = next // the longer way may overlap with more suspensions
	}
}

// total returns how long faults of a kind lasted between from and to. The caller holds mu.
func (l *faultLog) total(from, to, now time.Time, f fault) (sum time.Duration) {
	for _, e := range l.entries {
		end := e.to
		if end.IsZero() {
			end = now
		}
		if e.fault == f {
			sum += max(0, min(end.Sub(from), to.Sub(from))-max(0, e.from.Sub(from)))
		}
	}
	return sum
}

// stalledFor reports whether this process did not run for d or more between from and to.
func (l *faultLog) stalledFor(d time.Duration, from, to time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total(from, to, to, stalled) >= d
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
