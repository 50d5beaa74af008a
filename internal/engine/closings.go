package engine

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/internal/status"
	"weir/l4"
)

// closings close sessions for the causes that concern a server or a cluster: on_down, removal, a drain with a deadline,
// failback, rebalancing. They tell the loops of the data plane which sessions to close (l4.ClosePlan), and cut what is left
// at the deadline. The loops themselves close sessions that reach their maximum age, at the same pace.
type closings struct {
	plane *l4.Plane
	log   *slog.Logger
	wake  chan struct{} // holds one

	mu       sync.Mutex
	closers  map[string]*l4.Closer // by cluster
	requests []func()              // for the goroutine of run

	published atomic.Pointer[closingState]

	// Owned by the goroutine of run.
	active   map[closingKey]*closing
	progress map[string]*progress // by cluster, while it has closings
	watched  map[string]failbackWatch
	plan     l4.ClosePlan
	running  func() *runningState
}

// closingKey identifies a closing. server is empty for those that concern a cluster.
type closingKey struct {
	cluster, server string
	address         balance.AddressID
	reason          l4.Reason
}

// closing is the closing of sessions for one cause.
type closing struct {
	key      closingKey
	order    *l4.CloseOrder
	deadline time.Duration // when the sessions that are left are cut; 0 = never
	gentle   bool          // sessions are closed before the deadline
	awaited  bool          // more of the sessions may arrive from the old process of an upgrade
	at       string        // the address of a server that was removed or has moved; else ""

	update func(c *closing, now time.Duration) bool // sets servers, left and total; false = the cause is gone
	// Set by update.
	servers []*balance.Server // with sessions to close
	left    int               // sessions to close
	total   int               // the most so far

	flowsLeave bool          // flows were told to leave, at the deadline
	moves      uint64        // failback: of the cluster, when order was made
	counted    time.Duration // failback, moved servers: when left was counted
	progressed time.Duration // rebalance: when left last changed
}

// progress is what is known about the closings of a cluster since it had none.
type progress struct {
	ended         int    // total of the closings that have ended
	quiet, forced uint64 // closed before
}

// closingState is a copy for other goroutines. It is immutable.
type closingState struct {
	clusters map[string]closingSum
	transfer []transferredClosing
}

// closingSum describes the closings of a cluster.
type closingSum struct {
	left, total   int
	quiet, forced uint64        // closed before
	deadline      time.Duration // the next; 0 = none
	causes        []string
}

// closingInterval is the time between two looks at closings.
const closingInterval = 100 * time.Millisecond

func newClosings(log *slog.Logger) closings {
	return closings{log: log, wake: make(chan struct{}, 1), closers: map[string]*l4.Closer{}, active: map[closingKey]*closing{},
		progress: map[string]*progress{}, watched: map[string]failbackWatch{}}
}

// closer returns the closer of a cluster.
func (k *closings) closer(cluster string) *l4.Closer {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.closers[cluster]
	if c == nil {
		c = &l4.Closer{}
		c.Configure(0, 0, defaultCloseDeadline)
		k.closers[cluster] = c
	}
	return c
}

// defaultCloseDeadline is for clusters that the configuration lacks.
const defaultCloseDeadline = 30 * time.Second

// configure applies the settings of a configuration.
func (k *closings) configure(cfg *conf.Config) {
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		k.closer(c.Name).Configure(c.CloseRate, c.CloseQuiet, c.CloseDeadline)
	}
}

// request passes a change to the goroutine of run. It never blocks: events of clusters lead here.
func (k *closings) request(do func()) {
	k.mu.Lock()
	k.requests = append(k.requests, do)
	k.mu.Unlock()
	notify(k.wake)
}

// run handles closings until ctx ends.
func (k *closings) run(ctx context.Context) {
	timer := time.NewTimer(closingInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-timer.C:
		}
		k.mu.Lock()
		requests := k.requests
		k.requests = nil
		k.mu.Unlock()
		for _, do := range requests {
			do()
		}
		k.watchFailback()
		k.watchAges()
		next := k.updateAll()
		timer.Reset(next)
	}
}

// add adds a closing, unless there is one with its key and deadline. One with another deadline is replaced.
func (k *closings) add(c *closing) {
	if old := k.active[c.key]; old != nil {
		if old.deadline == c.deadline {
			return
		}
		c.total = old.total
	}
	if k.progress[c.key.cluster] == nil {
		p := &progress{}
		p.quiet, p.forced = k.closed(c.key.cluster)
		k.progress[c.key.cluster] = p
	}
	k.active[c.key] = c
}

func (k *closings) end(c *closing) {
	delete(k.active, c.key)
	k.progress[c.key.cluster].ended += c.total
}

// closed returns the number of sessions of a cluster that were closed so far.
func (k *closings) closed(cluster string) (quiet, forced uint64) {
	closer := k.closer(cluster)
	for _, r := range l4.CloseCauses() {
		q, f := closer.Closed(r)
		quiet, forced = quiet+q, forced+f
	}
	return quiet, forced
}

// updateAll updates all closings, cuts what is left at their deadlines, and gives the loops their plan. It returns the time
// until the next call.
func (k *closings) updateAll() (next time.Duration) {
	next = closingInterval
	if len(k.active) == 0 && len(k.progress) == 0 {
		return next
	}
	now := k.plane.Now()
	busy := map[string]bool{}
	for _, c := range k.active {
		lasts := c.update(c, now)
		c.total = max(c.total, c.left)
		late := c.deadline != 0 && now >= c.deadline
		if lasts && late && c.left > 0 {
			k.cut(c)
			lasts = c.update(c, now)
		}
		if !lasts || c.left == 0 && (late || c.gentle && !c.awaited && c.key.reason != l4.ReasonCutDrain && c.key.reason != l4.ReasonCutRebalance) {
			k.end(c)
			continue
		}
		busy[c.key.cluster] = true
		if c.deadline > now {
			next = min(next, max(c.deadline-now, time.Millisecond))
		}
	}
	for cluster, p := range k.progress {
		if !busy[cluster] {
			k.logEnd(cluster, p)
			delete(k.progress, cluster)
		}
	}
	k.setPlan()
	k.publish()
	return next
}

// cut cuts the sessions of a closing.
func (k *closings) cut(c *closing) {
	concerned := map[*balance.Server]bool{}
	for _, s := range c.servers {
		concerned[s] = true
	}
	var sessions atomic.Int64
	k.plane.Cut(func(id l4.SessionIdentity) bool {
		switch {
		case id.Phase == l4.PhaseAbort || !concerned[id.Server] || c.order.Match != nil && !c.order.Match(&id):
			return false
		case id.Listener.UDP(): // a flow leaves with its next datagram
			return !c.flowsLeave
		}
		sessions.Add(1)
		return true
	}, c.key.reason)
	c.flowsLeave = true
	n := int(sessions.Load())
	c.order.Closer.Count(c.key.reason, false, n)
	if n > 0 {
		k.log.Info("close deadline", "cluster", c.key.cluster, "server", c.key.server, "reason", c.key.reason.String(), "sessions_cut", n)
	}
}

func (k *closings) logEnd(cluster string, p *progress) {
	quiet, forced := k.closed(cluster)
	if quiet != p.quiet || forced != p.forced {
		k.log.Info("sessions closed", "cluster", cluster, "quiet", quiet-p.quiet, "forced", forced-p.forced)
	}
}

// setPlan gives the loops the orders of all closings, if they have changed.
func (k *closings) setPlan() {
	plan := l4.ClosePlan{}
	for _, reason := range l4.CloseCauses() { // the most urgent first
		for _, c := range k.active {
			if c.key.reason != reason || !c.gentle || c.left == 0 {
				continue
			}
			for _, s := range c.servers {
				plan[s] = append(plan[s], c.order)
			}
		}
	}
	if !maps.EqualFunc(plan, k.plan, slices.Equal) {
		k.plan = plan
		k.plane.SetClosePlan(plan)
	}
}

// publish makes the state visible.
func (k *closings) publish() {
	s := &closingState{clusters: map[string]closingSum{}}
	for name, p := range k.progress {
		s.clusters[name] = closingSum{total: p.ended, quiet: p.quiet, forced: p.forced}
	}
	for _, reason := range l4.CloseCauses() {
		for _, c := range k.active {
			if c.key.reason != reason {
				continue
			}
			sum := s.clusters[c.key.cluster]
			sum.left += c.left
			sum.total += c.total
			if c.deadline != 0 && (sum.deadline == 0 || c.deadline < sum.deadline) {
				sum.deadline = c.deadline
			}
			if name := causeName(reason); !slices.Contains(sum.causes, name) {
				sum.causes = append(sum.causes, name)
			}
			s.clusters[c.key.cluster] = sum
			if t, ok := c.transfer(); ok {
				s.transfer = append(s.transfer, t)
			}
		}
	}
	k.published.Store(s)
}

// causeName returns the name of a cause in status and metrics: the reason without its prefix.
func causeName(r l4.Reason) string { return r.String()[len("cut_"):] }

// status returns the entry of a cluster in the status document, or nil if no session waits to be closed.
func (k *closings) status(cluster string, clock clock) *status.Closing {
	var sum closingSum
	if s := k.published.Load(); s != nil {
		sum = s.clusters[cluster]
	}
	if len(sum.causes) == 0 {
		return nil
	}
	quiet, forced := k.closed(cluster)
	return &status.Closing{
		Left: sum.left, Total: sum.total, Quiet: quiet - sum.quiet, Forced: forced - sum.forced,
		Causes: sum.causes, Deadline: clock.at(sum.deadline),
	}
}

// metrics returns how many sessions of a cluster wait to be closed, and the counts of those that were, by cause and kind.
func (k *closings) metrics(cluster string) (left int, closed []status.ClosedCount) {
	if s := k.published.Load(); s != nil {
		left = s.clusters[cluster].left
	}
	closer := k.closer(cluster)
	for _, r := range l4.CloseCauses() {
		quiet, forced := closer.Closed(r)
		closed = append(closed, status.ClosedCount{Cause: causeName(r), Kind: "quiet", Count: quiet}, status.ClosedCount{Cause: causeName(r), Kind: "forced", Count: forced})
	}
	return left, closed
}
