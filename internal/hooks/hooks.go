package hooks

// The hooks of a running weir, and what a reload does to them.

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

// Set is the hooks of a weir. Its methods may be called from any goroutine.
type Set struct {
	log     *slog.Logger
	current atomic.Pointer[[]*hook] // in the order of the file; the slice is immutable
	stopped atomic.Bool
	running sync.WaitGroup // a goroutine for each hook, those that are retired included

	mu     sync.Mutex // held while the hooks change
	closed bool
}

// New makes a set without hooks. The log must not block.
func New(log *slog.Logger) *Set {
	s := &Set{log: log}
	s.current.Store(new([]*hook))
	return s
}

// Check tells what keeps a hook from ever working: a program that cannot be found.
func Check(spec *conf.Hook) error {
	if len(spec.Exec) == 0 {
		return nil
	}
	if _, err := exec.LookPath(spec.Exec[0]); err != nil {
		return err
	}
	return nil
}

// Update goes over to other hooks. One whose name stays keeps its queue and its counts; what waits there is told in the
// new way. One that leaves is given farewell for what it has not told yet.
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

// drainTimeout is how long a hook that leaves may take to tell what it has not told yet.
const drainTimeout = time.Second

// Enqueue tells every hook that is for it of an event. It does not block: it takes locks that nobody holds for longer than a
// few instructions.
func (s *Set) Enqueue(ev status.Event) {
	if s.stopped.Load() {
		return
	}
	for _, h := range *s.current.Load() {
		h.enqueue(ev)
	}
}

// StopAccepting leaves the telling of what comes to somebody else: the process that has taken over. What is queued is still told.
func (s *Set) StopAccepting() { s.stopped.Store(true) }

// Status is what there is to see of the hooks. It is a copy.
func (s *Set) Status() []status.Hook {
	list := []status.Hook{}
	for _, h := range *s.current.Load() {
		list = append(list, h.status())
	}
	return list
}

// Close gives all hooks farewell and returns when they have ended, with whatever they have started.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	for _, h := range *s.current.Load() {
		h.retire(drainTimeout)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// ShortenDrain leaves the hooks less time than Close does.
func (s *Set) ShortenDrain(within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range *s.current.Load() {
		h.retire(within)
	}
}

// pause waits for as long as ctx lets it.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
