package engine

// What this node uses of limits that are shared.

import (
	"time"

	"weir/internal/fleet/limits"
	"weir/l4"
)

// countedListener is what a listener had counted at a time.
type countedListener struct {
	at        time.Duration
	sessions  uint64
	rates     [4]int // of the last intervals
	rejected  uint64
	perSource uint64
}

// limitUsage returns what this node uses of all limits. counted is what the listeners had counted.
func (e *Engine) limitUsage(counted map[string]countedListener) map[string]limits.Usage {
	usage := map[string]limits.Usage{}
	s := e.limits.shared.Load()
	if s == nil {
		return usage
	}
	for name, b := range s.clusters {
		for _, u := range b.TakeUses() {
			usage[limits.ServerKey(name, u.Server)] = limits.Usage{Limit: u.Limit, InUse: u.Sessions, Peak: u.Peak, Refused: u.Refused}
		}
	}
	for i := range s.listeners {
		e.listenerUsage(&s.listeners[i], counted, usage)
	}
	return usage
}

// listenerUsage adds what this node uses of the limits of a listener.
func (e *Engine) listenerUsage(l *limitedListener, counted map[string]countedListener, usage map[string]limits.Usage) {
	last := counted[l.name]
	next := countedListener{at: e.plane.Now(), rates: last.rates}
	for _, open := range l.open {
		c := open.Counters()
		next.sessions += c.Sessions
		next.rejected += c.Rejected[l4.RejectedRate]
		next.perSource += c.Rejected[l4.RejectedPerSource]
	}
	if took := next.at - last.at; took > 0 && next.sessions >= last.sessions {
		copy(next.rates[1:], last.rates[:])
		next.rates[0] = int(float64(next.sessions-last.sessions) / took.Seconds())
	}
	known := last.at > 0
	counted[l.name] = next
	if l.rate > 0 {
		mean := 0
		for _, r := range next.rates {
			mean += r
		}
		usage[limits.ListenerKey(limits.Rate, l.name)] = limits.Usage{Limit: l.rate, Peak: mean / len(next.rates), Refused: known && next.rejected > last.rejected}
	}
	if l.perSource > 0 {
		usage[limits.ListenerKey(limits.PerSource, l.name)] = limits.Usage{Limit: l.perSource, InUse: l.state.MostOfSource(), Refused: known && next.perSource > last.perSource}
	}
}
