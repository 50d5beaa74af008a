package engine

import (
	"sync"

	"weir/internal/hooks"
	"weir/internal/status"
)

// eventLogSize is how many events the log keeps.
const eventLogSize = 1000

// eventLog keeps the last events. put holds the lock for a few instructions and never waits for a reader.
type eventLog struct {
	hooks *hooks.Set // receives each event, in order; immutable

	mu    sync.Mutex
	ring  [eventLogSize]status.Event
	last  uint64        // the ID of the newest
	woken chan struct{} // closed at the next event; nil = no reader waits
}

// put appends an event and sets its ID.
func (l *eventLog) put(ev status.Event) {
	l.mu.Lock()
	l.last++
	ev.ID = l.last
	l.ring[ev.ID%eventLogSize] = ev
	woken := l.woken
	l.woken = nil
	l.hooks.Enqueue(ev)
	l.mu.Unlock()
	if woken != nil {
		close(woken)
	}
}

// after returns the events after the one with an ID, the number of those that the log no longer has, and a channel that
// is closed at the next event.
func (l *eventLog) after(id uint64) (events []status.Event, missed uint64, next <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id > l.last { // an ID of an earlier process
		id = 0
	}
	first := id + 1
	if oldest := l.oldest(); first < oldest {
		missed, first = oldest-first, oldest
	}
	for n := first; n <= l.last; n++ {
		events = append(events, l.ring[n%eventLogSize])
	}
	if l.woken == nil {
		l.woken = make(chan struct{})
	}
	return events, missed, l.woken
}

// oldest returns the ID of the oldest event in the log. mu is held.
func (l *eventLog) oldest() uint64 {
	if l.last < eventLogSize {
		return 1
	}
	return l.last - eventLogSize + 1
}

// count returns the number of events so far.
func (l *eventLog) count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// eventLogState is the content of an event log, for the new process of an upgrade.
type eventLogState struct {
	LastID uint64         `json:"last_id"` // of the newest event
	Events []status.Event `json:"events"`
}

func (l *eventLog) state() eventLogState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := eventLogState{LastID: l.last}
	for n := l.oldest(); n <= l.last; n++ {
		s.Events = append(s.Events, l.ring[n%eventLogSize])
	}
	return s
}

// restore continues the event log of the old process. Clients that follow its events ask this process next, with the
// last ID they received.
func (l *eventLog) restore(s eventLogState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.LastID < l.last {
		return
	}
	l.last = s.LastID
	for _, ev := range s.Events {
		if ev.ID <= l.last && ev.ID >= l.oldest() {
			l.ring[ev.ID%eventLogSize] = ev
		}
	}
}
