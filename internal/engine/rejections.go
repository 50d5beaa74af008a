package engine

// Clients that were turned away, told as events: one a second at most for each listener and reason, with how many there
// were. The data plane only counts.

import (
	"log/slog"
	"time"

	"weir/internal/status"
	"weir/l4"
)

// rejectionEventInterval is how far apart events about one listener and reason are.
const rejectionEventInterval = time.Second

// rejections is what has been seen and told. It belongs to the goroutine that keeps the time.
type rejections struct {
	seen     uint64 // of the plane's count, when last looked at
	counted  map[*l4.Listener]map[l4.Rejection]uint64
	pending  map[rejectionKey]uint64        // not told yet
	reported map[rejectionKey]time.Duration // when last
}

type rejectionKey struct {
	listener string
	why      l4.Rejection
}

// reportRejections looks for clients that were turned away since the last time.
func (e *Engine) reportRejections(r *rejections, now time.Duration) {
	seen := e.plane.Rejected()
	if seen == r.seen && len(r.pending) == 0 {
		return
	}
	if seen != r.seen {
		r.seen = seen
		r.gather(*e.published.listeners.Load())
	}
	for key, n := range r.pending {
		if last, before := r.reported[key]; before && now-last < rejectionEventInterval {
			continue
		}
		delete(r.pending, key)
		r.reported[key] = now
		ev := status.Event{Time: time.Now(), Event: "session_refused", Listener: key.listener, Cluster: e.clusterOfListener(key.listener),
			Reason: key.why.String(), Count: n}
		e.published.eventLog.put(ev)
		e.log.Warn(ev.Event, slog.String("event", ev.Event), slog.String("listener", ev.Listener),
			slog.String("cluster", ev.Cluster), slog.String("reason", ev.Reason), slog.Uint64("count", ev.Count))
	}
	for key, last := range r.reported {
		if now-last >= rejectionEventInterval && r.pending[key] == 0 {
			delete(r.reported, key)
		}
	}
}

// clusterOfListener is where a listener's clients would have gone; empty if it has left since.
func (e *Engine) clusterOfListener(listener string) string {
	listeners := e.running.Load().cfg.Listeners
	for i := range listeners {
		if listeners[i].Name == listener {
			return listeners[i].Cluster
		}
	}
	return ""
}

// gather adds what the listeners have counted since the last time to what waits to be told.
func (r *rejections) gather(open map[string]*l4.Listener) {
	before := r.counted
	r.counted = make(map[*l4.Listener]map[l4.Rejection]uint64, len(before))
	if r.pending == nil {
		r.pending, r.reported = map[rejectionKey]uint64{}, map[rejectionKey]time.Duration{}
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
				r.pending[rejectionKey{ln.Settings().Name, why}] += n
			}
		}
	}
}
