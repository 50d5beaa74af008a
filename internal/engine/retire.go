package engine

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/balance"
	"weir/l4"
)

// retired are listeners and servers that have left the configuration. Their sessions drain.
type retired struct {
	listeners []*l4.Listener
	servers   map[*balance.Server]bool
	timeout   time.Duration // after which their sessions are cut
	awaited   bool          // more of their sessions may arrive from the old process
}

// prune removes what has no sessions and cannot get any.
func (r *retired) prune() {
	if r.awaited {
		return
	}
	r.listeners = slices.DeleteFunc(r.listeners, func(ln *l4.Listener) bool { return ln.Reopened() || ln.Counters().Live <= 0 })
	maps.DeleteFunc(r.servers, func(s *balance.Server, _ bool) bool { return s.Sessions() <= 0 })
}

// drains cut the sessions of retired objects at their deadlines. Waiting costs no goroutine.
type drains struct {
	plane *l4.Plane
	log   *slog.Logger

	work sync.WaitGroup // timers that run

	mu      sync.Mutex // guards what follows
	timers  map[*time.Timer]bool
	stopped bool
}

// after calls do after a time, unless stop is called first.
func (d *drains) after(wait time.Duration, do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	if d.timers == nil {
		d.timers = map[*time.Timer]bool{}
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		late := d.stopped
		delete(d.timers, timer)
		if !late {
			d.work.Add(1)
		}
		d.mu.Unlock()
		if !late {
			defer d.work.Done()
			do()
		}
	})
	d.timers[timer] = true
}

// stop cancels the timers and waits for those that run.
func (d *drains) stop() {
	d.mu.Lock()
	d.stopped = true
	for timer := range d.timers {
		timer.Stop()
	}
	d.timers = nil
	d.mu.Unlock()
	d.work.Wait()
}

// Retired objects are pruned periodically, so that many reloads do not fill the memory until the deadline.
const (
	firstPrune       = time.Second // longer than a client takes from one loop to another
	maxPruneInterval = time.Minute // the interval doubles up to this
)

// start closes the listeners that have left, and gives the sessions of what has left until the drain deadline.
func (d *drains) start(left retired) {
	for _, ln := range left.listeners {
		ln.Stop()
	}
	if len(left.listeners) > 0 || len(left.servers) > 0 {
		d.wait(left, time.Now().Add(left.timeout), firstPrune)
	}
}

// wait waits until all sessions of what has left have ended. At the deadline it cuts the others.
func (d *drains) wait(left retired, deadline time.Time, interval time.Duration) {
	remaining := time.Until(deadline)
	if interval < remaining {
		d.after(interval, func() {
			if left.prune(); len(left.listeners)+len(left.servers) > 0 {
				d.wait(left, deadline, min(2*interval, maxPruneInterval))
			}
		})
		return
	}
	d.after(remaining, func() {
		cut := d.plane.Cut(func(s l4.SessionIdentity) bool { return left.servers[s.Server] }, l4.ReasonCutServerRemoved)
		cut += d.plane.Cut(func(s l4.SessionIdentity) bool {
			return slices.Contains(left.listeners, s.Listener) && !s.Listener.Reopened()
		}, l4.ReasonCutListenerRemoved)
		if cut > 0 {
			d.log.Info("drain deadline", "sessions_cut", cut)
		}
	})
}
