package engine

// What a server's new state sets off: the sessions of one that has gone down are cut, for clusters that want it
// (on_down = "close"), and one that sessions have lost faith in, or that is back from maintenance, is checked at once.

import (
	"sync"

	"weir/balance"
	"weir/checks"
	"weir/l4"
)

// orders are things that something is to be done about. They are taken without blocking, and each once until it is seen
// to.
type orders[T comparable] struct {
	wake chan struct{}

	mu     sync.Mutex
	things map[T]bool
}

func newOrders[T comparable]() orders[T] { return orders[T]{wake: make(chan struct{}, 1)} }

func (o *orders[T]) add(thing T) {
	o.mu.Lock()
	if o.things == nil {
		o.things = map[T]bool{}
	}
	o.things[thing] = true
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *orders[T]) take() map[T]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	things := o.things
	o.things = nil
	return things
}

// follow orders whatever a server's new state sets off.
func (e *Engine) follow(ev balance.Event) {
	e.orderCut(ev)
	if ev.To == balance.Failing.String() || ev.From == balance.InMaint.String() {
		e.doubts.add(checks.Key{Cluster: ev.Cluster, Server: ev.Server})
	}
}

// recheck sees to it that servers are checked of which less is known than it seemed.
func (e *Engine) recheck() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.doubts.wake:
		}
		for server := range e.doubts.take() {
			e.runner.Recheck(server.Cluster, server.Server)
		}
	}
}

// orderCut asks for the sessions of a server to be cut if its new state is one that ends them.
func (e *Engine) orderCut(ev balance.Event) {
	if ev.To != balance.Down.String() && ev.To != balance.InMaint.String() {
		return
	}
	running := e.running.Load()
	if running.cfg == nil {
		return
	}
	for i := range running.cfg.Clusters {
		if c := &running.cfg.Clusters[i]; c.Name == ev.Cluster && c.OnDown == "close" {
			if s := running.clusters[c.Name].Server(ev.Server); s != nil {
				e.cuts.add(s)
			}
		}
	}
}

// cutDown carries the orders out.
func (e *Engine) cutDown() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.cuts.wake:
		}
		servers := e.cuts.take()
		if len(servers) == 0 {
			continue
		}
		if n := e.plane.Cut(func(v l4.SessionIdentity) bool { return servers[v.Server] }, l4.CutServerDown); n > 0 {
			e.log.Info("sessions cut", "sessions", n, "reason", "server down")
		}
	}
}
