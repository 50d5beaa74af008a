package engine

// What has left the configuration: its sessions go on until the drain deadline, and are then cut.

import (
	"log/slog"
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
	timeout   time.Duration // until their sessions are cut
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
type drains struct {
	plane *l4.Plane
	log   *slog.Logger

	work sync.WaitGroup // deadlines that are being carried out

	mu      sync.Mutex // guards what follows
	timers  map[*time.Timer]bool
	stopped bool
}

// after has something done later, unless stop comes first.
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

// stop forgets what has not begun and waits for what has.
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

// What has left is looked after once in a while: it is forgotten as soon as its last session has ended, so that many
// reloads do not fill the memory up to the deadline.
const (
	firstPrune       = time.Second // by now a client that was on its way from one loop to another has arrived
	maxPruneInterval = time.Minute // the longest time between two looks
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
