package hooks

// One hook: a bounded queue and the goroutine that delivers its events.

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir/conf"
	"weir/internal/printable"
	"weir/internal/status"
)

const (
	// queueSize is how many events may wait for a hook. Beyond it the oldest one of the cluster that has most is dropped: the newest
	// show the current state, and one cluster does not crowd out the others.
	queueSize = 1000
	// maxAttempts is how often the delivery of an event is tried after temporary errors.
	maxAttempts = 4
	// logEvery is the minimum time between two log messages on a failing hook.
	logEvery = 10 * time.Second
)

// backoff returns the time before the next attempt.
func backoff(try int) time.Duration { return 500 * time.Millisecond << (try - 1) }

type hook struct {
	// Immutable.
	name string
	log  *slog.Logger
	ctx  context.Context // ends when the hook must stop
	stop context.CancelFunc
	wake chan struct{} // buffered, size 1: a field below has changed

	// Owned by run.
	loggedAt time.Time // time of the last log message on dropped events

	// Guarded by mu.
	mu          sync.Mutex
	spec        conf.Hook
	queue       []status.Event
	delivering  bool // one more event is being delivered
	draining    bool
	delivered   uint64
	dropped     uint64
	unlogged    uint64 // dropped events that are not logged yet
	failing     bool   // the last event was dropped
	lastError   string // reason of the last drop
	lastErrorAt time.Time
}

func newHook(spec conf.Hook, log *slog.Logger) *hook {
	h := &hook{name: spec.Name, log: log, spec: spec, wake: make(chan struct{}, 1)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

func (h *hook) setSpec(spec conf.Hook) {
	h.mu.Lock()
	h.spec = spec
	h.mu.Unlock()
}

func (h *hook) wakeUp() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hook) enqueue(ev status.Event) {
	h.mu.Lock()
	wanted := !h.draining && (len(h.spec.On) == 0 || slices.Contains(h.spec.On, ev.Event))
	if wanted {
		if len(h.queue) >= queueSize {
			h.queue = withoutOldestOfMost(h.queue)
			h.drop(1, "queue full")
		}
		h.queue = append(h.queue, ev)
	}
	h.mu.Unlock()
	if wanted {
		h.wakeUp()
	}
}

// withoutOldestOfMost removes the oldest event of the cluster that has most events in a queue.
func withoutOldestOfMost(queue []status.Event) []status.Event {
	n := map[string]int{}
	most := queue[0].Cluster
	for i := range queue {
		cluster := queue[i].Cluster
		if n[cluster]++; n[cluster] > n[most] {
			most = cluster
		}
	}
	at := slices.IndexFunc(queue, func(ev status.Event) bool { return ev.Cluster == most })
	copy(queue[1:at+1], queue[:at])
	return queue[1:]
}

// drop counts dropped events. why may contain text of a program or a server. The caller holds mu.
func (h *hook) drop(n int, why string) {
	h.dropped += uint64(n)
	h.unlogged += uint64(n)
	h.failing, h.lastError, h.lastErrorAt = true, printable.Clip(why, printable.MaxLine), time.Now()
}

// retire lets the hook deliver the queued events for up to within, then stops it.
func (h *hook) retire(within time.Duration) {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	h.wakeUp()
	time.AfterFunc(within, h.stop)
}

func (h *hook) status() status.Hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := status.Hook{
		Name: h.name, Kind: "url", On: append([]string{}, h.spec.On...), Queued: len(h.queue), Delivered: h.delivered, Dropped: h.dropped,
		Failing: h.failing, LastError: h.lastError,
	}
	if h.spec.Exec != nil {
		s.Kind = "exec"
	}
	if h.delivering {
		s.Queued++
	}
	if h.lastError != "" {
		s.LastErrorAt = new(h.lastErrorAt)
	}
	return s
}

// next removes the oldest event. over reports that no more will come.
func (h *hook) next() (ev status.Event, spec conf.Hook, ok, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil && len(h.queue) > 0 {
		h.drop(len(h.queue), "drain timeout expired")
		h.queue = nil
	}
	if len(h.queue) == 0 {
		h.queue = nil // free its memory
		return ev, spec, false, h.draining
	}
	ev, h.queue = h.queue[0], h.queue[1:]
	h.delivering = true
	return ev, h.spec, true, false
}

// run is the goroutine of the hook.
func (h *hook) run() {
	defer h.stop()
	for {
		ev, spec, ok, over := h.next()
		switch {
		case over:
			h.logDropped(true)
			return
		case ok:
			h.recordDelivery(h.deliver(&spec, &ev))
			h.logDropped(false)
		default:
			h.wait()
		}
	}
}

// wait waits for a change.
func (h *hook) wait() {
	var later <-chan time.Time
	h.mu.Lock()
	if h.unlogged > 0 {
		later = time.After(time.Until(h.loggedAt.Add(logEvery)))
	}
	h.mu.Unlock()
	select {
	case <-h.wake:
	case <-later:
	case <-h.ctx.Done():
	}
	h.logDropped(false)
}

// recordDelivery counts an event that was delivered or dropped.
func (h *hook) recordDelivery(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delivering = false
	if err == nil {
		h.delivered++
		h.failing = false
		return
	}
	if h.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("drain timeout expired")
	}
	h.drop(1, err.Error())
}

// logDropped logs the events dropped since the last message, at most once per logEvery unless now is set.
func (h *hook) logDropped(now bool) {
	h.mu.Lock()
	dropped, why := h.unlogged, h.lastError
	if dropped == 0 || !now && (time.Since(h.loggedAt) < logEvery || h.ctx.Err() != nil) {
		h.mu.Unlock()
		return
	}
	h.unlogged = 0
	h.mu.Unlock()
	h.loggedAt = time.Now()
	h.log.Warn("event hook: events dropped", "hook", h.name, "dropped", dropped, "error", why)
}

// deliver delivers one event and retries after temporary errors.
func (h *hook) deliver(spec *conf.Hook, ev *status.Event) error {
	body, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	for try := 1; ; try++ {
		err, again := h.deliverOnce(spec, ev, body)
		if err == nil || !again || try == maxAttempts || h.ctx.Err() != nil {
			return err
		}
		sleepContext(h.ctx, backoff(try))
	}
}

// deliverOnce delivers one event. again reports that an error may be temporary.
func (h *hook) deliverOnce(spec *conf.Hook, ev *status.Event, body []byte) (err error, again bool) {
	ctx, cancel := context.WithTimeout(h.ctx, spec.Timeout)
	defer cancel()
	if spec.Exec != nil {
		return runExec(ctx, spec, ev, body)
	}
	return post(ctx, spec, body)
}
