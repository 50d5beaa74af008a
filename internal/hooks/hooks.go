package hooks

// The set of hooks and its changes by a reload.

import (
	"context"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/conf"
	"weir/internal/status"
)

// Set is the hooks of a running weir. It is safe for concurrent use.
type Set struct {
	log     *slog.Logger
	current atomic.Pointer[[]*hook] // in the order of the file; the slice is immutable
	stopped atomic.Bool
	running sync.WaitGroup // one goroutine per hook, including retired ones

	mu     sync.Mutex // held while current changes
	closed bool
}

// New returns a set without hooks. The log must not block.
func New(log *slog.Logger) *Set {
	s := &Set{log: log}
	s.current.Store(new([]*hook))
	return s
}

// Check returns an error if a hook can never work: its program cannot be found.
func Check(spec *conf.Hook) error {
	if len(spec.Exec) == 0 {
		return nil
	}
	if _, err := exec.LookPath(spec.Exec[0]); err != nil {
		return err
	}
	return nil
}

// Update replaces the hooks. A hook that keeps its name keeps its queue and its counters; queued events are delivered
// with the new settings. A removed hook has drainTimeout to deliver its queued events.
func (s *Set) Update(specs []conf.Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	before := *s.current.Load()
	var next []*hook
	for _, spec := range specs {
		i := slices.IndexFunc(before, func(h *hook) bool { return h.name == spec.Name })
		if i >= 0 {
			before[i].setSpec(spec)
			next = append(next, before[i])
			continue
		}
		h := newHook(spec, s.log)
		s.running.Go(h.run)
		next = append(next, h)
	}
	s.current.Store(&next)
	for _, h := range before {
		if !slices.Contains(next, h) {
			h.retire(drainTimeout)
		}
	}
}

// drainTimeout is how long a removed hook may deliver its queued events.
const drainTimeout = time.Second

// Enqueue queues an event for every hook that selects it. It does not block.
func (s *Set) Enqueue(ev status.Event) {
	if s.stopped.Load() {
		return
	}
	for _, h := range *s.current.Load() {
		h.enqueue(ev)
	}
}

// StopAccepting discards further events, because the process that has taken over sends them. Queued events are still
// delivered.
func (s *Set) StopAccepting() { s.stopped.Store(true) }

// Status returns a copy of the state of the hooks.
func (s *Set) Status() []status.Hook {
	list := []status.Hook{}
	for _, h := range *s.current.Load() {
		list = append(list, h.status())
	}
	return list
}

// Close gives all hooks drainTimeout to deliver their queued events, and returns when they and their programs have
// ended.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	for _, h := range *s.current.Load() {
		h.retire(drainTimeout)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// ShortenDrain gives the hooks less time than Close does.
func (s *Set) ShortenDrain(within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range *s.current.Load() {
		h.retire(within)
	}
}

// sleepContext sleeps until d has passed or ctx ends.
func sleepContext(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
