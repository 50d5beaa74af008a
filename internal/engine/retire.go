package engine

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir/balance"
	"weir/l4"
)

// retired are listeners and servers, or addresses of servers, that have left the configuration. Their sessions drain. One
// that returns before the deadline takes its sessions back.
type retired struct {
	listeners []*l4.Listener
	servers   []balance.Departure
	timeout   time.Duration // after which their sessions are cut
	closeBy   time.Duration // end of the gentle closing that the old process has begun, on the data plane's clock; 0 = none
	awaited   bool          // more of their sessions may arrive from the old process

	number   uint64    // in drains.left and drains.open
	deadline time.Time // when its sessions are cut
}

// drains cut the sessions of retired objects at their deadlines. Waiting costs no goroutine.
type drains struct {
	plane    *l4.Plane
	log      *slog.Logger
	closings *closings // close sessions gently before the deadline

	work sync.WaitGroup // timers that run

	mu      sync.Mutex // guards what follows
	timers  map[*time.Timer]bool
	stopped bool
	left    map[*l4.Listener]uint64 // listeners that drain, by the number of the reload that removed them
	open    map[uint64]*retired     // those whose deadline is to come
	number  uint64                  // of the last such reload
}

// returned ends the drain of a listener that is in the configuration again.
func (d *drains) returned(ln *l4.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.left, ln)
}

// prune removes what has returned, or has no sessions and cannot get any. It reports whether something is left.
func (d *drains) prune(r *retired) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.listeners = slices.DeleteFunc(r.listeners, func(ln *l4.Listener) bool {
		switch {
		case d.left[ln] != r.number:
			return true
		case !r.awaited && ln.Counters().Live <= 0:
			delete(d.left, ln)
			return true
		}
		return false
	})
	r.servers = slices.DeleteFunc(r.servers, func(s balance.Departure) bool {
		return !s.Lasts() || !r.awaited && s.Server.Sessions() <= 0
	})
	if len(r.listeners)+len(r.servers) > 0 {
		return true
	}
	delete(d.open, r.number)
	return false
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
	left.deadline = time.Now().Add(left.timeout)
	d.mu.Lock()
	d.number++
	left.number = d.number
	if d.left == nil {
		d.left, d.open = map[*l4.Listener]uint64{}, map[uint64]*retired{}
	}
	if len(left.listeners) > 0 || len(left.servers) > 0 {
		d.open[left.number] = &left
	}
	for _, ln := range left.listeners {
		d.left[ln] = left.number
	}
	d.mu.Unlock()
	for _, ln := range left.listeners {
		ln.Stop()
	}
	for _, s := range left.servers {
		d.closings.closeRemoved(s, &left)
	}
	if len(left.listeners) > 0 || len(left.servers) > 0 {
		d.wait(&left, firstPrune)
	}
}

// wait waits until all sessions of what has left have ended. At the deadline it cuts the others.
func (d *drains) wait(left *retired, interval time.Duration) {
	remaining := time.Until(left.deadline)
	if interval < remaining {
		d.after(interval, func() {
			if d.prune(left) {
				d.wait(left, min(2*interval, maxPruneInterval))
			}
		})
		return
	}
	d.after(remaining, func() {
		d.prune(left)
		type place struct {
			server  *balance.Server
			address balance.AddressID
		}
		servers := map[place]bool{}
		for _, s := range left.servers {
			servers[place{s.Server, s.Address}] = s.Moved()
		}
		cut := 0
		if len(servers) > 0 {
			cut = d.plane.Cut(func(s l4.SessionIdentity) bool {
				moved, left := servers[place{s.Server, s.Address}]
				return left && !(moved && s.Listener.UDP()) // flows follow their server with their next datagram
			}, l4.ReasonCutServerRemoved)
		}
		if len(left.listeners) > 0 {
			cut += d.plane.Cut(func(s l4.SessionIdentity) bool { return slices.Contains(left.listeners, s.Listener) }, l4.ReasonCutListenerRemoved)
		}
		d.mu.Lock()
		for _, ln := range left.listeners {
			delete(d.left, ln)
		}
		delete(d.open, left.number)
		d.mu.Unlock()
		if cut > 0 {
			d.log.Info("drain deadline", "sessions_cut", cut)
		}
	})
}
