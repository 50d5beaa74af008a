package engine

// What a server's new state sets off: the sessions of one that has gone down are cut, for clusters that want it
// (on_down = "close"), and one that sessions have lost faith in, or that is back from maintenance, is checked at once.

import (
	"sync"

	"weir/balance"
	"weir/checks"
	"weir/l4"
)

// pendingSet are things that something is to be done about. They are taken without blocking, and each once until it is seen
// to.
type pendingSet[T comparable] struct {
	wake chan struct{}

	mu    sync.Mutex
	items map[T]bool
}

func newPendingSet[T comparable]() pendingSet[T] { return pendingSet[T]{wake: make(chan struct{}, 1)} }

func (o *pendingSet[T]) add(thing T) {
	o.mu.Lock()
	if o.items == nil {
		o.items = map[T]bool{}
	}
	o.items[thing] = true
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *pendingSet[T]) take() map[T]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	things := o.items
	o.items = nil
	return things
}

// reactTo orders whatever a server's new state sets off.
func (e *Engine) reactTo(ev balance.Event) {
	e.queueCut(ev)
	if ev.To == balance.Failing.String() || ev.From == balance.InMaint.String() {
		e.serversToRecheck.add(checks.Key{Cluster: ev.Cluster, Server: ev.Server})
	}
}

// recheckPending sees to it that servers are checked of which less is known than it seemed.
func (e *Engine) recheckPending() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.serversToRecheck.wake:
		}
		for server := range e.serversToRecheck.take() {
			e.runner.Recheck(server.Cluster, server.Server)
		}
	}
}

// queueCut asks for the sessions of a server to be cut if its new state is one that ends them.
func (e *Engine) queueCut(ev balance.Event) {
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
				e.serversToCut.add(s)
			}
		}
	}
}

// cutPending carries the orders out.
func (e *Engine) cutPending() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.serversToCut.wake:
		}
		servers := e.serversToCut.take()
		if len(servers) == 0 {
			continue
		}
		if n := e.plane.Cut(func(v l4.SessionIdentity) bool { return servers[v.Server] }, l4.ReasonCutServerDown); n > 0 {
			e.log.Info("sessions cut", "sessions", n, "reason", "server down")
		}
	}
}
