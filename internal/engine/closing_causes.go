package engine

// The causes for which sessions are closed, each as a closing.

import (
	"time"

	"weir/balance"
	"weir/l4"
)

// closeServerDown closes the sessions of a server that is down or in maintenance: at once, or at the pace of close_rate. If
// the server returns, the rest continue.
func (k *closings) closeServerDown(cluster string, s *balance.Server, deadline time.Duration, awaited bool) {
	k.request(func() {
		// Sessions that are still dialling pick another server.
		k.plane.Cut(func(id l4.SessionIdentity) bool { return id.Server == s && id.Phase == l4.PhaseDial }, l4.ReasonCutServerDown)
		k.add(&closing{
			key:   closingKey{cluster: cluster, server: s.Name(), reason: l4.ReasonCutServerDown},
			order: k.order(cluster, l4.ReasonCutServerDown, true), deadline: deadline, gentle: true, awaited: awaited,
			update: func(c *closing, _ time.Duration) bool { return c.countServer(s) && s.OutOfService() },
		})
	})
}

// closeDraining closes the sessions of servers in drain that have a deadline.
func (k *closings) closeDraining(cluster string, list []balance.DrainDeadline) {
	if len(list) == 0 {
		return
	}
	k.request(func() {
		for _, d := range list {
			s, at := d.Server, d.At
			closer := k.closer(cluster)
			k.add(&closing{
				key:   closingKey{cluster: cluster, server: s.Name(), reason: l4.ReasonCutDrain},
				order: k.order(cluster, l4.ReasonCutDrain, false), deadline: at,
				update: func(c *closing, _ time.Duration) bool {
					c.gentle = closer.Gentle()
					return c.countServer(s) && s.DrainDeadline() == at
				},
			})
		}
	})
}

// closeRemoved closes the sessions of a server that was removed, or at an address that it has left, if sessions of its
// cluster are closed gently. Without that, and at the latest at its deadline, drains cuts them.
func (k *closings) closeRemoved(left balance.Departure, r *retired) {
	cluster, deadline, awaited, now := left.Server.Cluster(), r.closeBy, r.awaited, k.plane.Now()
	if deadline == 0 {
		deadline = now + min(r.timeout, k.closer(cluster).Deadline())
	}
	k.request(func() {
		if !k.closer(cluster).Gentle() {
			return
		}
		order := k.order(cluster, l4.ReasonCutServerRemoved, false)
		order.Match = func(id *l4.SessionIdentity) bool { return id.Address == left.Address && !id.Listener.UDP() }
		k.add(&closing{
			key:   closingKey{cluster, left.Server.Name(), left.Address, l4.ReasonCutServerRemoved},
			order: order, deadline: deadline, gentle: true, awaited: awaited, at: left.AddressText(),
			update: func(c *closing, now time.Duration) bool {
				if !left.Lasts() {
					return false
				}
				if left.Moved() { // the server has sessions at another address too
					c.servers = []*balance.Server{left.Server}
					k.count(c, now)
					return true
				}
				return c.countServer(left.Server)
			},
		})
	})
}

// closeBehind closes the sessions of lower levels that began before a better level could be used again.
func (k *closings) closeBehind(cluster string, b *balance.Cluster, deadline time.Duration, awaited bool) {
	k.add(&closing{
		key: closingKey{cluster: cluster, reason: l4.ReasonCutFailback}, deadline: deadline, gentle: true, awaited: awaited,
		order: k.order(cluster, l4.ReasonCutFailback, false),
		update: func(c *closing, now time.Duration) bool {
			if moves := b.Moves(); moves != c.moves || c.order.Match == nil {
				servers, _, leaves := b.Behind()
				c.servers, c.moves, c.counted = servers, moves, 0
				c.order = k.order(cluster, l4.ReasonCutFailback, false) // the loops may have the old one
				c.order.Match = func(id *l4.SessionIdentity) bool {
					return !id.Listener.UDP() && leaves(id.Level, id.Levels, id.Started)
				}
			}
			k.count(c, now)
			return true
		},
	})
}

// failbackWatch is what was last known about a cluster with on_failback = "close".
type failbackWatch struct {
	moves uint64        // Cluster.Moves
	since time.Duration // since when the level that came back last can be used
}

// watchFailback looks for levels that can be used again, in clusters with on_failback = "close".
func (k *closings) watchFailback() {
	running := k.running()
	if running.cfg == nil {
		return
	}
	for i := range running.cfg.Clusters {
		spec := &running.cfg.Clusters[i]
		if spec.OnFailback != "close" {
			delete(k.watched, spec.Name)
			continue
		}
		b := running.clusters[spec.Name]
		before, known := k.watched[spec.Name]
		moves := b.Moves()
		if known && moves == before.moves {
			continue
		}
		_, since, _ := b.Behind()
		k.watched[spec.Name] = failbackWatch{moves, since}
		if known && since > before.since {
			k.closeBehind(spec.Name, b, k.plane.Now()+spec.CloseDeadline, false)
		}
	}
}

// watchAges looks for sessions that have reached their maximum age. The loops close them; this shows the progress.
func (k *closings) watchAges() {
	running := k.running()
	if running.cfg == nil {
		return
	}
	for i := range running.cfg.Clusters {
		name := running.cfg.Clusters[i].Name
		key := closingKey{cluster: name, reason: l4.ReasonCutAge}
		closer := k.closer(name)
		if closer.Expired() == 0 || k.active[key] != nil {
			continue
		}
		quiet, forced := closer.Closed(l4.ReasonCutAge)
		k.add(&closing{key: key, order: k.order(name, l4.ReasonCutAge, false), gentle: true, update: func(c *closing, _ time.Duration) bool {
			q, f := closer.Closed(l4.ReasonCutAge)
			c.left = closer.Expired()
			c.total = max(c.total, c.left+int(q-quiet)+int(f-forced))
			return true
		}})
	}
}

// closeSurplus closes the surplus of a rebalance. It has no deadline: a session is closed by force only after none was quiet
// for as long as close_deadline.
func (k *closings) closeSurplus(cluster string, b *balance.Cluster) {
	k.request(func() {
		order := k.order(cluster, l4.ReasonCutRebalance, false)
		order.Surplus = b
		k.add(&closing{
			key: closingKey{cluster: cluster, reason: l4.ReasonCutRebalance}, order: order, gentle: true, progressed: k.plane.Now(),
			update: func(c *closing, now time.Duration) bool {
				state, active := b.Rebalance(now)
				if !active {
					c.left = 0
					return false
				}
				if state.Left != c.left || state.Left == 0 {
					c.progressed = now
				}
				c.servers, c.left, c.total = state.Above, state.Left, state.Surplus
				order.Force.Store(now-c.progressed >= order.Closer.Deadline() || order.Force.Load() && state.Left > 0)
				return true
			},
		})
	})
}

func (k *closings) order(cluster string, reason l4.Reason, atOnce bool) *l4.CloseOrder {
	return &l4.CloseOrder{Reason: reason, Closer: k.closer(cluster), AtOnce: atOnce}
}

// countServer counts the sessions of a server.
func (c *closing) countServer(s *balance.Server) bool {
	c.left, c.servers = s.Sessions(), []*balance.Server{s}
	return true
}

// countInterval is the time between two counts that visit all sessions.
const countInterval = 500 * time.Millisecond

// count counts the sessions of a closing by its order, now and then.
func (k *closings) count(c *closing, now time.Duration) {
	if c.counted != 0 && now-c.counted < countInterval && (c.deadline == 0 || now < c.deadline) {
		return
	}
	c.counted = max(now, 1)
	concerned := map[*balance.Server]bool{}
	for _, s := range c.servers {
		concerned[s] = true
	}
	c.left = k.plane.Count(func(id l4.SessionIdentity) bool {
		return id.Phase != l4.PhaseAbort && concerned[id.Server] && c.order.Match(&id)
	})
}

// transferredClosing is a closing that the new process of an upgrade continues. Drains and rebalances follow from other state.
type transferredClosing struct {
	Cluster  string        `json:"cluster"`
	Server   string        `json:"server,omitempty"` // "" = failback
	At       string        `json:"at,omitempty"`     // the address of a server that was removed or has moved; "" = on_down
	Deadline time.Duration `json:"deadline"`
	Pace     l4.ClosePace  `json:"pace"` // for a cluster that was removed
}

func (c *closing) transfer() (t transferredClosing, ok bool) {
	switch c.key.reason {
	case l4.ReasonCutServerDown, l4.ReasonCutFailback, l4.ReasonCutServerRemoved:
		return transferredClosing{c.key.cluster, c.key.server, c.at, c.deadline, c.order.Closer.Pace()}, true
	}
	return t, false
}

// resume continues the closings of the old process. Those of servers that were removed or have moved continue when their sessions
// arrive (departedObjects).
func (k *closings) resume(list []transferredClosing, running *runningState) {
	for _, t := range list {
		b := running.clusters[t.Cluster]
		if b == nil {
			k.closer(t.Cluster).SetPace(t.Pace)
		}
		if b == nil || t.At != "" {
			continue
		}
		if t.Server == "" {
			k.request(func() { k.closeBehind(t.Cluster, b, t.Deadline, true) })
		} else if s := b.Server(t.Server); s != nil {
			k.closeServerDown(t.Cluster, s, t.Deadline, true)
		}
	}
}

// transfer returns the closings that the new process of an upgrade continues.
func (k *closings) transfer() []transferredClosing {
	if s := k.published.Load(); s != nil {
		return s.transfer
	}
	return nil
}
