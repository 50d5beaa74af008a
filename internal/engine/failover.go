package engine

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/internal/status"
	"weir/l4"
)

// failoverWait is how long a failover waits for its first session.
const failoverWait = 10 * time.Second

// The report of a failover waits for the releases of held sessions.
const (
	releaseWait = time.Second
	releasePoll = 10 * time.Millisecond
)

// failovers are the changes of a primary whose effect on the sessions is not complete, by cluster.
type failovers struct {
	mu      sync.Mutex
	pending map[string]*failover
}

// failover is one change of a primary, from the decision to the first session on the new one.
type failover struct {
	event status.Event // of the decision
	began time.Time
	held  balance.HoldCounts // at the decision
	b     *balance.Cluster

	// Guarded by failovers.mu.
	cut    int           // sessions of servers that lost their role
	first  time.Duration // from the decision to the first session; 0 = none yet
	isDone bool
	done   chan struct{} // closed when the first session is connected and the cut is complete, or by the next failover
	isCut  bool          // the cut is complete
}

// reportPrimary reports the primary that a topology has named, and follows its effect on the sessions. t.mu is held.
func (e *Engine) reportPrimary(t *clusterTopology, from string) {
	if e.published.handedOver.Load() { // the new process reports events
		return
	}
	v := &t.view
	detected := ms(max(0, v.DecidedAt.Sub(v.LastEvidence)))
	if v.LastEvidence.IsZero() {
		detected = 0
	}
	ev := status.Event{
		Time: time.Now(), Event: "primary_change", Cluster: t.cluster, From: from, To: t.announced.name, Layer: string(balance.ByTopology),
		Reason: v.Source, Source: t.spec.Type, Epoch: v.Epoch, GTID: v.GTID, DetectedMS: &detected,
	}
	e.published.eventLog.put(ev)
	e.log.LogAttrs(context.Background(), slog.LevelInfo, ev.Event, topologyAttrs(&ev)...)
	if from == "" && t.announced.changes == 0 {
		return // the first decision: nothing has failed over
	}
	f := &failover{event: ev, began: time.Now(), held: t.balance.HoldCounts(), b: t.balance, done: make(chan struct{})}
	e.failovers.begin(f)
	if t.announced.address == "" {
		return // the failover continues when there is a primary again
	}
	e.work.Go(func() {
		limit := time.NewTimer(failoverWait)
		defer limit.Stop()
		select {
		case <-f.done:
		case <-limit.C:
		case <-e.ctx.Done():
		}
		f.awaitReleases(e.ctx)
		e.reportFailover(f)
	})
}

// topologyAttrs returns the attributes of an event of a topology for the log.
func topologyAttrs(ev *status.Event) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("event", ev.Event), slog.String("cluster", ev.Cluster), slog.String("from", ev.From), slog.String("to", ev.To), slog.String("source", ev.Source),
	}
	if ev.Epoch > 0 {
		attrs = append(attrs, slog.Uint64("epoch", ev.Epoch))
	}
	if ev.GTID != "" {
		attrs = append(attrs, slog.String("gtid", ev.GTID))
	}
	if ev.DetectedMS != nil {
		attrs = append(attrs, slog.Float64("detected_ms", *ev.DetectedMS))
	}
	if ev.Closed != nil {
		attrs = append(attrs, slog.Int("closed", *ev.Closed), slog.Uint64("held", *ev.Held), slog.Uint64("released", *ev.Released))
	}
	if ev.FirstSessionMS != nil {
		attrs = append(attrs, slog.Float64("first_session_ms", *ev.FirstSessionMS))
	}
	return attrs
}

// reportFailover reports the effect of a failover on the sessions.
func (e *Engine) reportFailover(f *failover) {
	now := f.b.HoldCounts()
	held := now.Total - min(f.held.Total, now.Total) + uint64(f.held.Now) // those that waited already and those that came since
	released := now.Ended[balance.HoldConnected] - min(f.held.Ended[balance.HoldConnected], now.Ended[balance.HoldConnected])
	ev := f.event
	ev.Time, ev.Event, ev.DetectedMS, ev.Held, ev.Released = time.Now(), "failover", nil, &held, &released
	e.failovers.end(f, &ev)
	if e.published.handedOver.Load() {
		return
	}
	e.published.eventLog.put(ev)
	e.log.LogAttrs(context.Background(), slog.LevelInfo, ev.Event, topologyAttrs(&ev)...)
}

// awaitReleases waits until the held sessions have a server, for at most releaseWait: the first one alone says little.
func (f *failover) awaitReleases(ctx context.Context) {
	limit := time.NewTimer(releaseWait)
	defer limit.Stop()
	tick := time.NewTicker(releasePoll)
	defer tick.Stop()
	for f.b.HoldCounts().Now > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// begin adds a failover. An earlier one of the cluster is reported as it is; one that has led to no primary yet becomes a
// part of it.
func (fs *failovers) begin(f *failover) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if old := fs.pending[f.event.Cluster]; old != nil {
		old.complete()
		if old.event.To == "" {
			f.event.From, f.held, f.cut = old.event.From, old.held, old.cut
		}
	}
	if fs.pending == nil {
		fs.pending = map[string]*failover{}
	}
	fs.pending[f.event.Cluster] = f
}

// end removes a failover and sets its figures in an event.
func (fs *failovers) end(f *failover, ev *status.Event) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.pending[f.event.Cluster] == f {
		delete(fs.pending, f.event.Cluster)
	}
	f.isDone = true
	cut := f.cut
	ev.Closed = &cut
	if f.first > 0 {
		first := ms(f.first)
		ev.FirstSessionMS = &first
	}
}

// complete lets the failover be reported. The mutex of failovers is held.
func (f *failover) complete() {
	if !f.isDone {
		f.isDone = true
		close(f.done)
	}
}

// firstSession records that a session has connected to the primary that the last decision of a cluster has named.
func (fs *failovers) firstSession(cluster string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.pending[cluster]; f != nil && f.first == 0 {
		f.first = max(1, time.Since(f.began))
		if f.isCut {
			f.complete()
		}
	}
}

// closed records that the sessions of servers that have lost their role were cut, and how many.
func (fs *failovers) closed(cluster string, n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.pending[cluster]; f != nil {
		f.cut += n
		f.isCut = true
		if f.first > 0 {
			f.complete()
		}
	}
}

// cutDemoted makes the sessions that are dialling servers without their role pick again. With closes, it cuts the connected ones
// and returns their number.
func (e *Engine) cutDemoted(b *balance.Cluster, closes bool) int {
	var cut atomic.Int64
	e.published.withLoops(func() {
		e.plane.Cut(func(s l4.SessionIdentity) bool {
			dials := s.Phase == l4.PhaseDial
			if s.Server == nil || !s.Server.RoleLost() || !s.Server.In(b) || !closes && !dials {
				return false
			}
			if !dials {
				cut.Add(1)
			}
			return true
		}, l4.ReasonCutDemoted)
	})
	return int(cut.Load())
}
