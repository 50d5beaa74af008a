package balance

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A rebalance moves sessions to servers that have fewer than their fair share by weight. Sessions cannot move, so those
// above the share of a server are closed by the caller (AboveShare, ReleaseSurplus), and their clients connect again: until
// the end of the rebalance, new sessions go to servers below their share.
//
// Shares are computed from the sessions of a level at the beginning. A session that is closed and does not come back lowers
// no share, so a rebalance closes no more than the surplus at its beginning, whatever its clients do. Shares follow the
// weights (slow start too) and the servers that are eligible. Nor does one that comes back to its server, because those below
// their share are full or refuse it: after as many closes as there was surplus, none follows before shares change. When a server is lost, the sum of sessions on the others stays
// the same or grows: there is no surplus any more, and nothing is closed.

// rebalance is a rebalance in progress.
type rebalance struct {
	auto        bool          // ends when no share is more than tolerance above fair
	since       time.Duration // its start
	settleSince time.Duration // since when there is no surplus; 0 = there is one
	surplus     int           // sessions to close when it began, with what changes of weights and states have added since
	closed      int
	begun       map[int]int // sessions of each level when it began, by key
	base        map[int]int // and those that shares are computed from: the most since then
	stale       bool        // weights or states have changed
}

// levelShares are the shares of a level's slots during a rebalance.
type levelShares struct {
	share []int // fair
	keep  []int // sessions above this are closed
}

const (
	// tolerance is how far the largest share may be above fair, in percent, before an automatic rebalance begins.
	tolerance = 10
	// autoMargin is how far above fair it ends. It is slightly less than tolerance: sessions come and go.
	autoMargin = 9
	// defaultSettle is how long sessions that were closed are expected to come back.
	defaultSettle = 30 * time.Second
)

// errNoShares is why a cluster cannot be rebalanced.
func (c *Cluster) errNoShares() error {
	switch m := c.spec.Method; m {
	case Hash, Maglev:
		return fmt.Errorf("balance = %q: the keys of the sessions decide about their servers", m.String())
	case First:
		return fmt.Errorf("balance = %q: servers are filled in their order", m.String())
	}
	if c.retired {
		return errors.New("the cluster has been removed")
	}
	return nil
}

// ServerShare is what a rebalance means for a server of a level.
type ServerShare struct {
	Level, Server string
	Sessions      int
	Share         int // fair share of the sessions of the level
	Surplus       int // sessions that are closed
}

// PlanRebalance returns what StartRebalance would do now, for the servers that have a share.
func (c *Cluster) PlanRebalance(now time.Duration) ([]ServerShare, error) {
	c.lock(now)
	defer c.unlock()
	return c.planRebalance()
}

func (c *Cluster) planRebalance() (plan []ServerShare, err error) {
	if err := c.errNoShares(); err != nil {
		return nil, err
	}
	for _, l := range c.levels {
		sh := l.shares
		if sh == nil || c.rebalance.auto {
			base := l.shared()
			if c.rebalance != nil {
				base = max(base, c.rebalance.base[l.key])
			}
			sh = l.computeShares(base, false, false)
		}
		for i := range l.slots {
			if l.hasShare(i) {
				n := l.slots[i].server.sessions
				plan = append(plan, ServerShare{Level: l.name, Server: l.slots[i].server.name, Sessions: n, Share: sh.share[i], Surplus: max(0, n-sh.keep[i])})
			}
		}
	}
	return plan, nil
}

// StartRebalance begins a rebalance and returns its plan. Without a surplus there is nothing to do. One that was begun
// automatically continues until all servers have their fair share.
func (c *Cluster) StartRebalance(now time.Duration) ([]ServerShare, error) {
	c.lock(now)
	defer c.unlock()
	plan, err := c.planRebalance()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(plan, func(s ServerShare) bool { return s.Surplus > 0 }) {
		c.beginRebalance(false, "requested by an operator")
	}
	return plan, nil
}

func (c *Cluster) beginRebalance(auto bool, why string) {
	again := c.rebalance != nil
	if !again {
		c.rebalance = &rebalance{auto: auto, since: c.now, begun: map[int]int{}, base: map[int]int{}}
		for _, l := range c.levels {
			c.rebalance.begun[l.key] = l.shared()
		}
	}
	c.rebalance.auto = c.rebalance.auto && auto
	c.updateShares(true)
	if !again && c.rebalance != nil {
		c.emit(Event{Kind: EventRebalanceBegin, Level: c.lastLevel, Reason: fmt.Sprintf("%s: %d sessions above the fair shares", why, c.rebalance.surplus)})
	}
}

func (c *Cluster) endRebalance(why string) {
	r := c.rebalance
	if r == nil {
		return
	}
	c.rebalance = nil
	for _, l := range c.levels {
		l.shares = nil
	}
	c.emit(Event{Kind: EventRebalanceEnd, Level: c.lastLevel, Reason: fmt.Sprintf("%s: %d of %d sessions closed", why, r.closed, r.surplus)})
}

// autoRebalance begins a rebalance after a server has joined those that serve, if the largest share is too far above fair.
// A server in slow start counts with its full weight here.
func (c *Cluster) autoRebalance() {
	joined := c.joined
	c.joined = ""
	if joined == "" || !c.spec.AutoRebalance || c.errNoShares() != nil {
		return
	}
	if c.rebalance != nil {
		c.updateShares(true)
		return
	}
	for _, l := range c.levels {
		sh := l.computeShares(l.shared(), false, true)
		for i := range l.slots {
			if n := l.slots[i].server.sessions; l.hasShare(i) && n > sh.share[i]+1 && n*100 > sh.share[i]*(100+tolerance) {
				c.beginRebalance(true, "server "+joined+" has joined")
				return
			}
		}
	}
}

// hasShare reports whether a slot's server takes part in a rebalance: it serves and is not on probation.
func (l *level) hasShare(i int) bool { return l.slots[i].eligible && !l.slots[i].probation }

// shared returns the sessions of the servers that take part.
func (l *level) shared() (sessions int) {
	for i := range l.slots {
		if l.hasShare(i) {
			sessions += l.slots[i].server.sessions
		}
	}
	return sessions
}

// computeShares returns the shares of base sessions. auto leaves servers the margin above fair. full ignores slow start.
func (l *level) computeShares(base int, auto, full bool) *levelShares {
	n := len(l.slots)
	steps, limits := make([]int64, n), make([]int, n)
	var members []int
	for i := range l.slots {
		if !l.hasShare(i) {
			continue
		}
		s := &l.slots[i]
		percent := s.server.percent
		if full {
			percent = fullPercent
		}
		k := len(members)
		steps[k], limits[k] = int64(s.weight)*int64(percent), max(0, s.server.sessionLimit)
		members = append(members, i)
	}
	sh := &levelShares{share: make([]int, n), keep: make([]int, n)}
	for k, share := range fairShares(base, steps[:len(members)], limits[:len(members)]) {
		i := members[k]
		sh.share[i], sh.keep[i] = share, share
		if auto {
			sh.keep[i] = max(share, share*(100+autoMargin)/100)
		}
	}
	return sh
}

// updateShares computes the shares of a rebalance again, and ends it when it is done: there is no surplus, and the sessions
// that were closed have come back or had the time to. changed reports that weights or states have changed, which may add to the
// surplus.
func (c *Cluster) updateShares(changed bool) {
	r := c.rebalance
	if r == nil {
		return
	}
	if c.errNoShares() != nil || r.auto && !c.spec.AutoRebalance {
		c.endRebalance("configuration changed")
		return
	}
	r.stale = false
	surplus, growing, missing := 0, false, 0
	for _, l := range c.levels {
		sessions := l.shared()
		r.base[l.key] = max(r.base[l.key], sessions)
		l.shares = l.computeShares(r.base[l.key], r.auto, false)
		below := 0
		for i := range l.slots {
			if !l.hasShare(i) {
				continue
			}
			s := l.slots[i].server
			surplus += max(0, s.sessions-l.shares.keep[i])
			below += max(0, l.shares.share[i]-s.sessions)
			growing = growing || s.inSlowStart
		}
		missing += max(0, min(below, r.begun[l.key]-sessions))
	}
	if changed {
		r.surplus = max(r.surplus, r.closed+surplus)
	}
	surplus = min(surplus, r.surplus-r.closed)
	switch {
	case surplus > 0 || growing:
		r.settleSince = 0
	case missing <= 0:
		c.endRebalance("done")
	case r.settleSince == 0:
		r.settleSince = max(c.now, 1)
	case c.now-r.settleSince >= c.settleTime():
		c.endRebalance("done")
	}
}

func (c *Cluster) settleTime() time.Duration {
	if c.spec.Settle > 0 {
		return c.spec.Settle
	}
	return defaultSettle
}

// pickBelowShare picks the running slot below its share that has the fewest sessions by weight, or returns -1.
func (l *level) pickBelowShare() int {
	best := -1
	for i := l.running.next(0); i >= 0; i = l.running.next(i + 1) {
		if l.load[i] >= int64(l.shares.share[i]) {
			continue
		}
		if best < 0 || l.load[i]*l.steps[best] < l.load[best]*l.steps[i] {
			best = i
		}
	}
	return best
}

// aboveShare reports whether a rebalance closes sessions of the server of a lease.
func (c *Cluster) aboveShare(lease *Lease) bool {
	s := lease.server
	if c.rebalance == nil || s == nil || c.rebalance.closed >= c.rebalance.surplus {
		return false
	}
	for _, p := range s.placements {
		if p.level.key == int(lease.level) && p.level.shares != nil {
			return p.level.hasShare(p.slot) && s.sessions > p.level.shares.keep[p.slot]
		}
	}
	return false
}

// AboveShare reports whether the session of a lease may be closed because a rebalance is in progress and its server has
// more sessions than its share.
func (c *Cluster) AboveShare(lease *Lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aboveShare(lease)
}

// ReleaseSurplus releases a lease if AboveShare, and reports whether it did. Two loops that close sessions of one server at
// the same time close no session too many.
func (c *Cluster) ReleaseSurplus(lease *Lease, now time.Duration) bool {
	c.lock(now)
	if !c.leases.valid(lease.id) || !c.aboveShare(lease) {
		c.unlock()
		return false
	}
	c.rebalance.closed++
	c.release(lease, false, "")
	c.unlock()
	return true
}

// RebalanceState describes a rebalance in progress.
type RebalanceState struct {
	Auto    bool
	Since   time.Duration
	Surplus int       // sessions to close in all
	Left    int       // of them, those that are not closed yet
	Above   []*Server // servers with sessions to close
}

// Rebalance returns the state of the rebalance in progress, which it brings up to date. It reports false if there is none.
func (c *Cluster) Rebalance(now time.Duration) (state RebalanceState, active bool) {
	c.lock(now)
	defer c.unlock()
	c.updateShares(false)
	r := c.rebalance
	if r == nil {
		return state, false
	}
	state = RebalanceState{Auto: r.auto, Since: r.since, Surplus: r.surplus}
	if r.closed >= r.surplus {
		return state, true
	}
	for _, l := range c.levels {
		for i := range l.slots {
			if n := l.slots[i].server.sessions - l.shares.keep[i]; l.hasShare(i) && n > 0 {
				state.Left += n
				state.Above = append(state.Above, l.slots[i].server)
			}
		}
	}
	state.Left = min(state.Left, r.surplus-r.closed)
	return state, true
}

// RebalanceHandover is a rebalance that continues in the new process of an upgrade, on the same timeline.
type RebalanceHandover struct {
	Auto    bool           `json:"auto,omitempty"`
	Since   time.Duration  `json:"since"`
	Surplus int            `json:"surplus"`
	Closed  int            `json:"closed"`
	Begun   map[string]int `json:"begun"` // sessions when it began, by name of the level
	Base    map[string]int `json:"base"`  // and those that the shares are computed from
}

// HandoverRebalance returns the rebalance in progress, or nil.
func (c *Cluster) HandoverRebalance() *RebalanceHandover {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rebalance
	if r == nil {
		return nil
	}
	h := &RebalanceHandover{Auto: r.auto, Since: r.since, Surplus: r.surplus, Closed: r.closed, Begun: map[string]int{}, Base: map[string]int{}}
	for _, l := range c.levels {
		h.Begun[l.name], h.Base[l.name] = r.begun[l.key], r.base[l.key]
	}
	return h
}

// ResumeRebalance continues a rebalance of another process. The sessions may arrive later.
func (c *Cluster) ResumeRebalance(h *RebalanceHandover, now time.Duration) {
	c.lock(now)
	defer c.unlock()
	if h == nil || c.errNoShares() != nil {
		return
	}
	r := &rebalance{auto: h.Auto, since: min(h.Since, c.now), surplus: h.Surplus, closed: h.Closed, begun: map[int]int{}, base: map[int]int{}}
	for _, l := range c.levels {
		r.begun[l.key], r.base[l.key] = h.Begun[l.name], h.Base[l.name]
	}
	c.rebalance = r
	c.updateShares(true)
}
