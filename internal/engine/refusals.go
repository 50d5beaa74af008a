package engine

// Clients that were turned away, told as events: one a second at most for each listener and reason, with how many there
// were. The data plane only counts.

import (
	"log/slog"
	"time"

	"weir/internal/status"
	"weir/l4"
)

// refusalEvery is how far apart events about one listener and reason are.
const refusalEvery = time.Second

// refusals is what has been seen and told. It belongs to the goroutine that keeps the time.
type refusals struct {
	seen    uint64 // of the plane's count, when last looked at
	counted map[*l4.Listener]map[l4.Rejection]uint64
	waiting map[refusalKey]uint64        // not told yet
	told    map[refusalKey]time.Duration // when last
}

type refusalKey struct {
	listener string
	why      l4.Rejection
}

// tellRefusals looks for clients that were turned away since the last time.
func (e *Engine) tellRefusals(r *refusals, now time.Duration) {
	seen := e.plane.Rejected()
	if seen == r.seen && len(r.waiting) == 0 {
		return
	}
	if seen != r.seen {
		r.seen = seen
		r.gather(*e.seen.open.Load())
	}
	for key, n := range r.waiting {
		if last, before := r.told[key]; before && now-last < refusalEvery {
			continue
		}
		delete(r.waiting, key)
		r.told[key] = now
		ev := status.Event{Time: time.Now(), Event: "session_refused", Listener: key.listener, Cluster: e.clusterBehind(key.listener),
			Reason: key.why.String(), Count: n}
		e.seen.eventLog.put(ev)
		e.log.Warn(ev.Event, slog.String("event", ev.Event), slog.String("listener", ev.Listener),
			slog.String("cluster", ev.Cluster), slog.String("reason", ev.Reason), slog.Uint64("count", ev.Count))
	}
	for key, last := range r.told {
		if now-last >= refusalEvery && r.waiting[key] == 0 {
			delete(r.told, key)
		}
	}
}

// clusterBehind is where a listener's clients would have gone; empty if it has left since.
func (e *Engine) clusterBehind(listener string) string {
	listeners := e.running.Load().cfg.Listeners
	for i := range listeners {
		if listeners[i].Name == listener {
			return listeners[i].Cluster
		}
	}
	return ""
}

// gather adds what the listeners have counted since the last time to what waits to be told.
func (r *refusals) gather(open map[string]*l4.Listener) {
	before := r.counted
	r.counted = make(map[*l4.Listener]map[l4.Rejection]uint64, len(before))
	if r.waiting == nil {
		r.waiting, r.told = map[refusalKey]uint64{}, map[refusalKey]time.Duration{}
	}
	for _, ln := range open {
		sums := ln.Rejected()
		for _, why := range l4.Rejections() {
			if sums[why] == 0 {
				continue
			}
			if r.counted[ln] == nil {
				r.counted[ln] = map[l4.Rejection]uint64{}
			}
			r.counted[ln][why] = sums[why]
			if n := sums[why] - before[ln][why]; n > 0 {
				r.waiting[refusalKey{ln.Settings().Name, why}] += n
			}
		}
	}
}
