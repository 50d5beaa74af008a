package engine

import (
	"slices"
	"time"

	"weir/balance"
	"weir/l4"
)

// counts are the counters that an upgrade transfers, so that totals do not start again. Reasons are stored by name, which
// is the same in every version.
type counts struct {
	Listeners   map[string]listenerCounts `json:"listeners"` // by identity
	Servers     []serverCounts            `json:"servers"`
	Held        map[string]heldCounts     `json:"held"` // by cluster
	Checks      []checkCounts             `json:"checks"`
	Closed      []closedCounts            `json:"closed,omitempty"`
	Dials       durations                 `json:"dials"`
	RecordsLost uint64                    `json:"records_lost"`
	Reloads     uint64                    `json:"reloads"`
	Failed      uint64                    `json:"reloads_failed"` // of those
	Open        int                       `json:"open"`           // sessions and flows now
	Promotions  promotionCounts           `json:"promotions"`
}

type listenerCounts struct {
	Sessions  uint64            `json:"sessions"`
	Admitted  int               `json:"admitted"` // now, over all addresses of the listener
	Ended     map[string]uint64 `json:"ended"`    // by phase and reason
	Rejected  map[string]uint64 `json:"rejected"`
	Dropped   map[string]uint64 `json:"dropped"` // datagrams
	BytesUp   uint64            `json:"bytes_up"`
	BytesDown uint64            `json:"bytes_down"`
	Lifetime  durations         `json:"lifetime"`

	DatagramsUp   uint64 `json:"datagrams_up,omitempty"`
	DatagramsDown uint64 `json:"datagrams_down,omitempty"`

	Routes map[string]uint64 `json:"routes,omitempty"` // sessions that each has chosen, over all addresses of the listener
}

type serverCounts struct {
	Cluster string            `json:"cluster"`
	Server  string            `json:"server"`
	Open    int               `json:"open"` // sessions now
	Most    int               `json:"most"` // sessions at one time
	Counts  l4.ServerCounters `json:"counts"`
}

// heldCounts count the held sessions of a cluster.
type heldCounts struct {
	Total uint64            `json:"total"`
	Ended map[string]uint64 `json:"ended"` // by outcome
}

func heldCountsOf(b *balance.Cluster) heldCounts {
	sum := b.HoldCounts()
	c := heldCounts{Total: sum.Total, Ended: map[string]uint64{}}
	for _, o := range balance.HoldOutcomes() {
		c.Ended[o.String()] = sum.Ended[o]
	}
	return c
}

func (c heldCounts) restore(b *balance.Cluster) {
	before := balance.HoldCounts{Total: c.Total}
	for _, o := range balance.HoldOutcomes() {
		before.Ended[o] = c.Ended[o.String()]
	}
	b.SetHoldBaseline(before)
}

type checkCounts struct {
	Cluster string    `json:"cluster"`
	Server  string    `json:"server"`
	Check   string    `json:"check"`
	Passed  uint64    `json:"passed"`
	Failed  uint64    `json:"failed"`
	Took    durations `json:"took"`
}

type closedCounts struct {
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
	Quiet   uint64 `json:"quiet"`
	Forced  uint64 `json:"forced"`
}

// durations is a histogram. A receiver with other bounds ignores the buckets.
type durations struct {
	Count   uint64          `json:"count"`
	Sum     time.Duration   `json:"sum"`
	Bounds  []time.Duration `json:"bounds"`
	Buckets []uint64        `json:"buckets"` // not cumulative
}

// into copies the buckets if the bounds are the same.
func (d *durations) into(buckets []uint64, bounds []time.Duration) {
	if slices.Equal(d.Bounds, bounds) && len(d.Buckets) == len(buckets) {
		copy(buckets, d.Buckets)
	}
}

func durationsOf(h *l4.Histogram) durations {
	return durations{h.Count, h.Sum, l4.HistogramBounds(), slices.Clone(h.Buckets[:])}
}

func (d *durations) histogram() (h l4.Histogram) {
	h.Count, h.Sum = d.Count, d.Sum
	d.into(h.Buckets[:], l4.HistogramBounds())
	return h
}

// counts returns the counters of this process and of those before it. listeners are those that are or were open.
func (e *Engine) counts(listeners map[string]*l4.Listener) counts {
	c := counts{Listeners: map[string]listenerCounts{}, Held: map[string]heldCounts{}, RecordsLost: e.sessionLog.Dropped(), Open: e.plane.Sessions()}
	for id, ln := range listeners {
		sum := ln.Counters()
		l := listenerCounts{Sessions: sum.Sessions, Admitted: ln.Settings().Admission.State.Sessions(), BytesUp: sum.BytesUp, BytesDown: sum.BytesDown, Lifetime: durationsOf(&sum.Lifetime),
			DatagramsUp: sum.DatagramsUp, DatagramsDown: sum.DatagramsDown,
			Ended: map[string]uint64{}, Rejected: map[string]uint64{}, Dropped: map[string]uint64{}, Routes: map[string]uint64{}}
		for route, stats := range ln.Settings().RouteCounts() {
			l.Routes[route] = stats.Sessions()
		}
		for i, end := range l4.Terminations() {
			if n := sum.Ended[i]; n > 0 {
				l.Ended[end.String()] = n
			}
		}
		for _, why := range l4.Rejections() {
			if n := sum.Rejected[why]; n > 0 {
				l.Rejected[why.String()] = n
			}
		}
		for _, why := range l4.Drops() {
			if n := sum.Dropped[why]; n > 0 {
				l.Dropped[why.String()] = n
			}
		}
		c.Listeners[id] = l
	}
	last := e.published.lastReload()
	c.Reloads, c.Failed = last.Reloads, last.Failed
	running := e.running.Load()
	for i := range running.cfg.Clusters {
		name := running.cfg.Clusters[i].Name
		c.Held[name] = heldCountsOf(running.clusters[name])
		for _, s := range serversOf(running.cfg, name, running.clusters[name]) {
			if t, ok := s.Handle().(*l4.Target); ok {
				c.Servers = append(c.Servers, serverCounts{name, s.Name(), s.Sessions(), s.MostSessions(), t.Stats().Counters()})
			}
		}
	}
	c.Closed, c.Promotions = e.closings.counts(), e.promotionCounts()
	var dials l4.Histogram
	if old := e.published.baseline.Load(); old != nil {
		c.RecordsLost += old.RecordsLost
		dials = old.Dials.histogram()
	}
	for _, loop := range e.plane.Counters() {
		dials.Merge(&loop.DialTime)
	}
	c.Dials = durationsOf(&dials)
	c.Checks = e.published.checks.transfer()
	return c
}

// await counts the sessions of the old process for the limits, before the listeners start.
func (e *Engine) await(c *counts, listeners map[string]*l4.Listener) {
	e.plane.Await(c.Open)
	seen := map[*l4.AdmissionState]bool{}
	for id, l := range c.Listeners {
		if ln := listeners[id]; ln != nil {
			if state := ln.Settings().Admission.State; !seen[state] {
				seen[state] = true
				state.Await(l.Admitted)
			}
		}
	}
}

// stopAwaiting ends the wait for sessions of the old process.
func (e *Engine) stopAwaiting() {
	e.plane.StillAwait(0)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetElsewhere()
	for _, states := range []admissionStates{e.admissions, e.retiredAdmissions} {
		for _, state := range states {
			state.StillAwait(0)
		}
	}
}

// forgetElsewhere lets the servers have all sessions up to their limits in this process.
func (e *Engine) forgetElsewhere() {
	for _, b := range e.running.Load().clusters {
		b.ForgetElsewhere(e.plane.Now())
	}
}

// countFrom adds the counters of the old process. A later call replaces those of an earlier one.
func (e *Engine) countFrom(c *counts, listeners map[string]*l4.Listener, running *runningState) {
	for id, l := range c.Listeners {
		ln := listeners[id]
		if ln == nil {
			continue
		}
		sum := l4.Counters{Sessions: l.Sessions, BytesUp: l.BytesUp, BytesDown: l.BytesDown, Lifetime: l.Lifetime.histogram(),
			DatagramsUp: l.DatagramsUp, DatagramsDown: l.DatagramsDown}
		for i, end := range l4.Terminations() {
			sum.Ended[i] = l.Ended[end.String()]
		}
		for _, why := range l4.Rejections() {
			sum.Rejected[why] = l.Rejected[why.String()]
		}
		for _, why := range l4.Drops() {
			sum.Dropped[why] = l.Dropped[why.String()]
		}
		ln.SetBaseline(sum)
		for route, stats := range ln.Settings().RouteCounts() {
			stats.SetBaseline(l.Routes[route])
		}
		ln.Settings().Admission.State.StillAwait(l.Admitted)
	}
	for name, held := range c.Held {
		if b := running.clusters[name]; b != nil {
			held.restore(b)
		}
	}
	for _, s := range c.Servers {
		if b := running.clusters[s.Cluster]; b != nil {
			b.LowerElsewhere(s.Server, s.Open, e.plane.Now())
			if server := b.Server(s.Server); server != nil {
				server.SetMostSessions(s.Most)
				if t, ok := server.Handle().(*l4.Target); ok {
					t.Stats().SetBaseline(s.Counts)
				}
			}
		}
	}
	e.closings.setBaseline(c.Closed)
	e.plane.StillAwait(c.Open)
	e.published.checks.setBaseline(c.Checks, running.jobs)
	e.published.baseline.Store(c)
}
