package engine

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"weir/internal/status"
)

// lookupProblem is the number of failed look-ups of a name in a row from which they are a problem.
const lookupProblem = 3

// failedLookups are the names that had addresses and do not resolve any more. Their last addresses stay in use. It belongs
// to resolvePeriodically.
type failedLookups map[string]*failedLookup

type failedLookup struct {
	since  time.Time // of the first failure
	count  int       // failures in a row
	reason string
}

// update records the results of look-ups that were made at one time. known are the addresses in use, of all names that are
// looked up. A name is logged once when it becomes a problem, and once when it resolves again.
func (f failedLookups) update(log *slog.Logger, found, known addresses, failed map[string]error, now time.Time) {
	for name := range f {
		switch _, ok := found[name]; {
		case ok && f[name].count >= lookupProblem:
			log.Info("host name resolves again", "name", name, "failures", f[name].count)
			delete(f, name)
		case ok, len(known[name]) == 0: // or the name has left
			delete(f, name)
		}
	}
	for name, err := range failed {
		if len(known[name]) == 0 { // its server is unresolved, which the status shows
			continue
		}
		l := f[name]
		if l == nil {
			l = &failedLookup{since: now}
			f[name] = l
		}
		l.count++
		l.reason = err.Error()
		if l.count == lookupProblem {
			log.Warn("host name not resolved, its last addresses stay in use", "name", name, "failures", l.count, "error", err)
		}
	}
}

// problems returns the names that are a problem, sorted.
func (f failedLookups) problems() []status.FailedLookup {
	list := []status.FailedLookup{}
	for name, l := range f {
		if l.count >= lookupProblem {
			list = append(list, status.FailedLookup{Name: name, Reason: l.reason, Since: l.since})
		}
	}
	slices.SortFunc(list, func(a, b status.FailedLookup) int { return strings.Compare(a.Name, b.Name) })
	return list
}
