package hooks

// One hook: a bounded queue, and the goroutine that empties it.

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir/conf"
	"weir/internal/status"
)

const (
	// queueSize is how many events may wait for a hook; beyond it the oldest are given up, since the newest tell how
	// things are.
	queueSize = 1000
	// maxAttempts is how often an event is told to a hook that may have been unable to take it.
	maxAttempts = 4
	// logEvery bounds what a failing hook writes to the log.
	logEvery = 10 * time.Second
)

// backoff is the time before a further try.
func backoff(try int) time.Duration { return 500 * time.Millisecond << (try - 1) }

type hook struct {
	// Immutable.
	name string
	log  *slog.Logger
	ctx  context.Context // ends when the hook has to be over
	stop context.CancelFunc
	wake chan struct{} // holds one: something below has changed

	// Owned by run.
	loggedAt time.Time // when the log was last told of a failure

	// Guarded by mu.
	mu          sync.Mutex
	spec        conf.Hook
	queue       []status.Event
	delivering  bool // one more is being told
	draining    bool
	delivered   uint64
	dropped     uint64
	unlogged    uint64 // of those dropped that the log has not been told of
	failing     bool   // the last one was dropped
	lastError   string // why the last one that was dropped was
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
			h.queue = h.queue[1:]
			h.drop(1, "the hook is too slow")
		}
		h.queue = append(h.queue, ev)
	}
	h.mu.Unlock()
	if wanted {
		h.wakeUp()
	}
}

// drop counts events that the hook has missed; mu is held.
func (h *hook) drop(n int, why string) {
	h.dropped += uint64(n)
	h.unlogged += uint64(n)
	h.failing, h.lastError, h.lastErrorAt = true, why, time.Now()
}

// retire lets the hook tell what is queued, for a time.
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
		at := h.lastErrorAt
		s.LastErrorAt = &at
	}
	return s
}

// next takes the oldest event; over reports that there will be none.
func (h *hook) next() (ev status.Event, spec conf.Hook, ok, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil && len(h.queue) > 0 {
		h.drop(len(h.queue), "it had to end")
		h.queue = nil
	}
	if len(h.queue) == 0 {
		h.queue = nil // what it grew to is given back
		return ev, spec, false, h.draining
	}
	ev, h.queue = h.queue[0], h.queue[1:]
	h.delivering = true
	return ev, h.spec, true, false
}

// run is the hook's goroutine.
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

// wait waits for something to do.
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

// recordDelivery counts an event that was told, or not.
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
		err = errors.New("it had to end")
	}
	h.drop(1, err.Error())
}

// logDropped tells the log what was missed since it was last told, unless that was a moment ago.
func (h *hook) logDropped(now bool) {
	h.mu.Lock()
	missed, why := h.unlogged, h.lastError
	if missed == 0 || !now && (time.Since(h.loggedAt) < logEvery || h.ctx.Err() != nil) {
		h.mu.Unlock()
		return
	}
	h.unlogged = 0
	h.mu.Unlock()
	h.loggedAt = time.Now()
	h.log.Warn("event hook: events were missed", "hook", h.name, "missed", missed, "error", why)
}

// deliver tells the hook of one event, and again if that may help.
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
		pause(h.ctx, backoff(try))
	}
}

// deliverOnce tells the hook of one event. again reports that an error may go away.
func (h *hook) deliverOnce(spec *conf.Hook, ev *status.Event, body []byte) (err error, again bool) {
	ctx, cancel := context.WithTimeout(h.ctx, spec.Timeout)
	defer cancel()
	if spec.Exec != nil {
		return runExec(ctx, spec, ev, body)
	}
	return post(ctx, spec, body)
}
