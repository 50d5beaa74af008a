package engine

import (
	"log/slog"
	"time"

	"weir/conf"
	"weir/internal/status"
	"weir/l4"
)

// rejectionEventInterval is the minimum time between two events for one listener and reason.
const rejectionEventInterval = time.Second

// rejections turns the counters of clients that failed admission into events, which carry the number of clients. Only
// one goroutine uses it.
type rejections struct {
	total    uint64 // of the data plane, at the last report
	counted  map[*l4.Listener]map[l4.Rejection]uint64
	pending  map[rejectionKey]uint64        // not reported yet
	reported map[rejectionKey]time.Duration // time of the last event
}

type rejectionKey struct {
	listener string
	why      l4.Rejection
}

// report puts the events that are due into the event log and the log.
func (r *rejections) report(e *Engine, now time.Duration) {
	total := e.plane.Rejected()
	if total == r.total && len(r.pending) == 0 {
		return
	}
	if total != r.total {
		r.total = total
		r.gather(*e.published.listeners.Load())
	}
	running := e.running.Load()
	for key, n := range r.pending {
		if last, before := r.reported[key]; before && now-last < rejectionEventInterval {
			continue
		}
		delete(r.pending, key)
		r.reported[key] = now
		ev := status.Event{Time: time.Now(), Event: "session_refused", Listener: key.listener, Cluster: clusterOf(running.cfg, key.listener),
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

// gather adds the rejections since the last call to pending.
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

// clusterOf returns the cluster of a listener, or "" if the listener has left.
func clusterOf(cfg *conf.Config, listener string) string {
	for i := range cfg.Listeners {
		if cfg.Listeners[i].Name == listener {
			return cfg.Listeners[i].Cluster
		}
	}
	return ""
}
