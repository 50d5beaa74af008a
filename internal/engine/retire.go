package engine

// What has left the configuration: its sessions go on until the drain deadline, and are then cut.

import (
	"maps"
	"slices"
	"sync"
	"time"

	"weir/balance"
	"weir/l4"
)

// retired is what a commit has left without a place in the configuration.
type retired struct {
	listeners []*l4.Listener
	servers   map[*balance.Server]bool
	after     time.Duration // until their sessions are cut
	awaited   bool          // more of their sessions may still come from another process
}

// prune leaves out what has no session any more, and can get none.
func (d *retired) prune() {
	if d.awaited {
		return
	}
	d.listeners = slices.DeleteFunc(d.listeners, func(ln *l4.Listener) bool { return ln.Reopened() || ln.Counters().Live <= 0 })
	maps.DeleteFunc(d.servers, func(s *balance.Server, _ bool) bool { return s.Sessions() <= 0 })
}

// drains are the drain deadlines that are still to come. Waiting costs no goroutine.
type drainTimers struct {
	work sync.WaitGroup // deadlines that are being carried out

	mu      sync.Mutex // guards what follows
	timers  map[*time.Timer]bool
	stopped bool
}

// after has something done later, unless stop comes first.
func (f *drainTimers) after(wait time.Duration, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	if f.timers == nil {
		f.timers = map[*time.Timer]bool{}
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		f.mu.Lock()
		late := f.stopped
		delete(f.timers, timer)
		if !late {
			f.work.Add(1)
		}
		f.mu.Unlock()
		if !late {
			defer f.work.Done()
			do()
		}
	})
	f.timers[timer] = true
}

// stop forgets what has not begun and waits for what has.
func (f *drainTimers) stop() {
	f.mu.Lock()
	f.stopped = true
	for timer := range f.timers {
		timer.Stop()
	}
	f.timers = nil
	f.mu.Unlock()
	f.work.Wait()
}

// retire closes the listeners that have left, and gives the sessions of what has left until the drain deadline.
func (e *Engine) retire(gone retired) {
	for _, ln := range gone.listeners {
		ln.Stop()
	}
	if len(gone.listeners) == 0 && len(gone.servers) == 0 {
		return
	}
	e.drainUntil(gone, time.Now().Add(gone.after), firstPrune)
}

// What has left is looked after once in a while: it is forgotten as soon as its last session has ended, so that many
// reloads do not fill the memory up to the deadline.
const (
	firstPrune       = time.Second // by now a client that was on its way from one loop to another has arrived
	maxPruneInterval = time.Minute // the longest time between two looks
)

// drainUntil waits for the end of what has left, or for the deadline, and then cuts what is left of it.
func (e *Engine) drainUntil(gone retired, deadline time.Time, look time.Duration) {
	left := time.Until(deadline)
	if look < left {
		e.drains.after(look, func() {
			if gone.prune(); len(gone.listeners)+len(gone.servers) > 0 {
				e.drainUntil(gone, deadline, min(2*look, maxPruneInterval))
			}
		})
		return
	}
	e.drains.after(left, func() {
		cut := e.plane.Cut(func(v l4.SessionIdentity) bool { return gone.servers[v.Server] }, l4.ReasonCutServerRemoved)
		cut += e.plane.Cut(func(v l4.SessionIdentity) bool {
			return slices.Contains(gone.listeners, v.Listener) && !v.Listener.Reopened()
		}, l4.ReasonCutListenerRemoved)
		if cut > 0 {
			e.log.Info("drain deadline", "sessions_cut", cut)
		}
	})
}
