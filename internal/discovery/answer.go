package discovery

import (
	"fmt"
	"time"

	"weir/conf"
	"weir/internal/printable"
)

// Limits of one answer.
const (
	MaxEntries = 10_000   // entries beyond are dropped
	maxAnswer  = 16 << 20 // bytes of a text
	maxLabels  = 64       // of one entry; others are dropped
	maxLabel   = 1024     // bytes of a label's name or value
	maxBad     = 100      // entries whose faults are kept
)

// Entry is a server of an answer.
type Entry struct {
	conf.FoundServer
	Labels map[string]string `json:"labels,omitempty"` // that set no option
}

// BadEntry is an entry that cannot be used.
type BadEntry struct{ Entry, Reason string } // printable and clipped

// Answer is what a source lists. It is immutable once it is returned.
type Answer struct {
	Entries []Entry
	Bad     []BadEntry    // the first bad entries
	BadN    int           // all bad entries
	Dropped int           // entries beyond MaxEntries
	TTL     time.Duration // how long the answer is valid at least; 0 = not known
}

// add adds an entry whose labels are both options and others.
func (a *Answer) add(address string, labels map[string]string) {
	if len(a.Entries) >= MaxEntries {
		a.Dropped++
		return
	}
	e := Entry{FoundServer: conf.FoundServer{Address: address}}
	for _, name := range conf.FoundOptions() {
		if value, ok := labels[name]; ok {
			if e.Options == nil {
				e.Options = map[string]string{}
			}
			e.Options[name] = value
		}
	}
	for name, value := range labels {
		if _, option := e.Options[name]; option || len(e.Labels) >= maxLabels {
			continue
		}
		if e.Labels == nil {
			e.Labels = map[string]string{}
		}
		e.Labels[printable.Clip(name, maxLabel)] = printable.Clip(value, maxLabel)
	}
	a.Entries = append(a.Entries, e)
}

// Reject reports an entry that cannot be used.
func (a *Answer) Reject(entry, format string, args ...any) {
	if a.BadN++; len(a.Bad) < maxBad {
		a.Bad = append(a.Bad, BadEntry{printable.Clip(entry, printable.MaxQuote), printable.Clip(fmt.Sprintf(format, args...), printable.MaxLine)})
	}
}
