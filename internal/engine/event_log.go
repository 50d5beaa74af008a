package engine

// The events of late, and those who wait for the next one.

import (
	"context"
	"sync"
	"time"

	"weir/balance"
	"weir/internal/hooks"
	"weir/internal/status"
)

// eventLogSize is how many events are remembered.
const eventLogSize = 1000

// eventLog remembers the last events. Putting one in takes a few instructions under a lock that nobody holds for longer:
// readers come for events, and are never waited for.
type eventLog struct {
	mu    sync.Mutex
	ring  [eventLogSize]status.Event
	last  uint64        // the ID of the newest
	woken chan struct{} // closed at the next event; nil = nobody waits
	hooks *hooks.Set    // reported of each event, in their order; immutable
}

func (j *eventLog) put(ev status.Event) {
	j.mu.Lock()
	j.last++
	ev.ID = j.last
	j.ring[ev.ID%eventLogSize] = ev
	woken := j.woken
	j.woken = nil
	j.hooks.Enqueue(ev)
	j.mu.Unlock()
	if woken != nil {
		close(woken)
	}
}

// after returns the events that came after the one with an ID, as far as they are remembered, how many are not, and
// what is closed when another comes.
func (j *eventLog) after(id uint64) (events []status.Event, missed uint64, next <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id > j.last { // of an earlier process
		id = 0
	}
	first := id + 1
	if oldest := j.oldest(); first < oldest {
		missed, first = oldest-first, oldest
	}
	for n := first; n <= j.last; n++ {
		events = append(events, j.ring[n%eventLogSize])
	}
	if j.woken == nil {
		j.woken = make(chan struct{})
	}
	return events, missed, j.woken
}

// oldest is the ID of the oldest event that is remembered; mu is held.
func (j *eventLog) oldest() uint64 {
	if j.last < eventLogSize {
		return 1
	}
	return j.last - eventLogSize + 1
}

// count is how many there have been.
func (j *eventLog) count() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Events returns the events after the one with an ID, the oldest first; 0 stands for the beginning. missed is how many
// are not remembered any more. With wait, it returns only when there is one, or with ctx's error.
func (e *Engine) Events(ctx context.Context, after uint64, wait bool) (events []status.Event, missed uint64, err error) {
	for {
		events, missed, next := e.published.eventLog.after(after)
		if len(events) > 0 || !wait {
			return events, missed, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// recordEvent puts what the balancing has noticed into the journal. It does not block.
func (e *Engine) recordEvent(ev balance.Event) {
	e.published.eventLog.put(status.Event{
		Time: time.Now(), Event: string(ev.Kind), Cluster: ev.Cluster, Level: ev.Level, Server: ev.Server,
		From: ev.From, To: ev.To, Layer: ev.Layer, Reason: ev.Reason,
	})
}

// Reloaded notes what became of an attempt to replace the configuration: nil, or why it was refused.
func (e *Engine) Reloaded(err error) {
	now := time.Now()
	ev := status.Event{Time: now, Event: "reload"}
	e.published.mu.Lock()
	c := &e.published.config
	c.Reloads++
	if err != nil {
		c.Failed++
		c.LastError, c.LastErrorAt = err.Error(), &now
		ev.Event, ev.Reason = "reload_failed", err.Error()
	} else {
		c.LoadedAt, c.LastError, c.LastErrorAt = now, "", nil
	}
	e.published.mu.Unlock()
	e.published.eventLog.put(ev)
}

// eventLogState is the content of an event log, for the new process of an upgrade.
type eventLogState struct {
	LastID uint64         `json:"last_id"` // of the newest event
	Events []status.Event `json:"events"`
}

func (j *eventLog) state() eventLogState {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := eventLogState{LastID: j.last}
	for n := j.oldest(); n <= j.last; n++ {
		s.Events = append(s.Events, j.ring[n%eventLogSize])
	}
	return s
}

// restore continues the event log of an old process. Clients that follow its events ask this process next, with the last
// ID they received.
func (j *eventLog) restore(s eventLogState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.LastID < j.last {
		return
	}
	j.last = s.LastID
	for _, ev := range s.Events {
		if ev.ID <= j.last && ev.ID >= j.oldest() {
			j.ring[ev.ID%eventLogSize] = ev
		}
	}
}
