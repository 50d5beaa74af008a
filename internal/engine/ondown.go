package engine

// Cutting the sessions of servers that have gone down, for clusters that want it (on_down = "close").

import (
	"sync"

	"weir/balance"
	"weir/l4"
)

// cutList is the servers whose sessions are to be cut. It takes orders without blocking.
type cutList struct {
	wake chan struct{}

	mu      sync.Mutex
	servers map[*balance.Server]bool
}

func (c *cutList) add(s *balance.Server) {
	c.mu.Lock()
	if c.servers == nil {
		c.servers = map[*balance.Server]bool{}
	}
	c.servers[s] = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *cutList) take() map[*balance.Server]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	servers := c.servers
	c.servers = nil
	return servers
}

// orderCut asks for the sessions of a server to be cut if its new state is one that ends them.
func (e *Engine) orderCut(ev balance.Event) {
	if ev.To != balance.Down.String() && ev.To != balance.InMaint.String() {
		return
	}
	running := e.now.Load()
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
		if n := e.plane.Cut(func(v l4.View) bool { return servers[v.Server] }, l4.CutServerDown); n > 0 {
			e.log.Info("sessions cut", "sessions", n, "reason", "server down")
		}
	}
}
