package balance

import (
	pile "container/heap"
	"slices"
	"time"
)

// Sessions that are held because no server can serve them (Attempts.Hold, ErrHold). They wait in order of arrival, in
// groups that may use the same levels. A held session gets a server as soon as one is eligible without protection, has room,
// and has not refused a held session within the last holdRetry. With Spec.ReleaseRate, new sessions queue behind them.

// holdRetry is how long held sessions leave a server alone that has refused one of them. Afterwards one at a time tries it,
// until a session is connected or the server's state changes.
const holdRetry = time.Second

// releaseSlack is how late a release may be without delaying those after it: timers of the caller are not exact.
const releaseSlack = 5 * time.Millisecond

// HoldOutcome is how a hold ended.
type HoldOutcome uint8

// The outcomes of holds.
const (
	HoldConnected   HoldOutcome = iota // to a server
	HoldTimedOut                       // no server in time
	HoldClientReset                    // the client has gone
	HoldEnded                          // another end of the session, or another cluster
	holdOutcomes
)

// String returns the name used in metrics.
func (o HoldOutcome) String() string {
	return [holdOutcomes]string{"connected", "hold_timeout", "client_reset", "other"}[o]
}

// HoldCounts count the held sessions of a cluster.
type HoldCounts struct {
	Now   int                  // held now
	Total uint64               // sessions that have been held
	Ended [holdOutcomes]uint64 // of those, by HoldOutcome
}

// HoldOutcomes returns all outcomes. A HoldOutcome is its own index into HoldCounts.Ended.
func HoldOutcomes() []HoldOutcome {
	return []HoldOutcome{HoldConnected, HoldTimedOut, HoldClientReset, HoldEnded}
}

// holding is the state of a cluster's held sessions.
type holding struct {
	groups      []*holdGroup // those with sessions
	n           int          // sessions in all groups
	places      int          // of Spec.MaxHeld: held sessions, and those that have got a server and are not connected yet
	baseline    HoldCounts   // of another process
	nextRelease time.Duration
	pacing      bool       // a release waits for nextRelease
	refusing    []*Server  // with a retryAt
	counts      HoldCounts // without Now
	paced       func()     // called without the lock when pacing begins; nil = none
}

// holdGroup is the held sessions with the same levels, a heap by order of arrival.
type holdGroup struct {
	levels  []int // Attempts.Levels
	waiting []*Waiter
}

func (g *holdGroup) Len() int           { return len(g.waiting) }
func (g *holdGroup) Less(i, j int) bool { return g.waiting[i].attempts.before(g.waiting[j].attempts) }
func (g *holdGroup) Swap(i, j int) {
	g.waiting[i], g.waiting[j] = g.waiting[j], g.waiting[i]
	g.waiting[i].place, g.waiting[j].place = i, j
}

func (g *holdGroup) Push(x any) {
	w := x.(*Waiter)
	w.group, w.place = g, len(g.waiting)
	g.waiting = append(g.waiting, w)
}

func (g *holdGroup) Pop() any {
	last := len(g.waiting) - 1
	w := g.waiting[last]
	g.waiting[last] = nil
	g.waiting, w.group = g.waiting[:last], nil
	return w
}

// before reports whether a held session has waited longer than another one.
func (t *Attempts) before(than *Attempts) bool {
	if t.heldSince != than.heldSince {
		return t.heldSince < than.heldSince
	}
	return t.queueNumber < than.queueNumber
}

// Held reports whether the session has been held. It then has a place, which EndHold gives back.
func (t *Attempts) Held() bool { return t.held }

// OnPace sets the function that is called, without the lock, when NextRelease has a time and had none. It must not block.
// It is set before the cluster is used.
func (c *Cluster) OnPace(paced func()) { c.hold.paced = paced }

// NextRelease returns when the caller should call Tick because held sessions are released at ReleaseRate, or false if none
// are. It takes no lock.
func (c *Cluster) NextRelease() (time.Duration, bool) {
	at := time.Duration(c.releaseAt.Load())
	return at, at != 0
}

// Hold makes a session wait for which Pick returned ErrHold. It forgets the servers that the session has tried: it may try
// them again, at most one session and one attempt per second each. wake is called once, without the lock, possibly before
// Hold returns. Then w.Lease holds a lease, or the session must Pick again. since is when the session was first held,
// possibly in another process or cluster. Hold returns false, and calls nothing, if MaxHeld sessions have a place; a session
// that has one keeps it until EndHold.
func (c *Cluster) Hold(now, since time.Duration, t *Attempts, w *Waiter, wake func()) bool {
	c.lock(now)
	defer c.unlock()
	if !t.held && c.spec.MaxHeld > 0 && c.hold.places >= c.spec.MaxHeld {
		return false
	}
	if !t.held {
		c.takePlace(t, since)
		c.hold.counts.Total++
	}
	for i := range t.n {
		c.refuses(t.at(i).server)
	}
	t.clear()
	w.Lease, w.attempts, w.wake = Lease{}, t, wake
	c.hold.push(w)
	c.releaseHeld()
	return true
}

func (c *Cluster) takePlace(t *Attempts, since time.Duration) {
	t.held, t.heldSince = true, since
	if t.queueNumber == 0 {
		c.queue.issueNumber(t)
	}
	c.hold.places++
}

// AdoptHold gives a place to a session that another process has held since a time, without checking MaxHeld.
func (c *Cluster) AdoptHold(t *Attempts, since time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takePlace(t, since)
}

// DropHold gives back the place of a session that another process has adopted.
func (c *Cluster) DropHold(t *Attempts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.held = false
	c.hold.places--
}

// StopHold ends the wait of a held session because its time is over. If it has got a server meanwhile, StopHold returns the
// lease. paced reports that a server can serve and that only ReleaseRate made the session wait.
func (c *Cluster) StopHold(now time.Duration, w *Waiter) (lease Lease, paced bool) {
	c.lock(now)
	defer c.unlock()
	if w.group != nil {
		paced = c.spec.ReleaseRate > 0 && c.couldServe(w.attempts)
	}
	return c.endWait(w), paced
}

// EndHold gives back the place of a session that has been held.
func (c *Cluster) EndHold(t *Attempts, outcome HoldOutcome) {
	if !t.held {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.held = false
	c.hold.places--
	c.hold.counts.Ended[outcome]++
}

// WakeHeld wakes all held sessions without a server, and for the last time: their Attempts.Hold is cleared.
func (c *Cluster) WakeHeld(now time.Duration) {
	c.lock(now)
	defer c.unlock()
	for w := c.hold.first(func(*holdGroup) bool { return true }); w != nil; w = c.hold.first(func(*holdGroup) bool { return true }) {
		c.hold.remove(w)
		w.attempts.Hold = false
		c.wakeWaiter(w, Lease{})
	}
}

// HoldCounts returns the counts of held sessions.
func (c *Cluster) HoldCounts() HoldCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holdCounts()
}

func (c *Cluster) holdCounts() HoldCounts {
	sum, before := c.hold.counts, &c.hold.baseline
	sum.Now = c.hold.n
	sum.Total += before.Total
	for i := range sum.Ended {
		sum.Ended[i] += before.Ended[i]
	}
	return sum
}

// SetHoldBaseline adds what another process has counted, except the sessions held now. A later call replaces an earlier one.
func (c *Cluster) SetHoldBaseline(before HoldCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold.baseline = before
}

func (h *holding) push(w *Waiter) {
	i := slices.IndexFunc(h.groups, func(g *holdGroup) bool { return slices.Equal(g.levels, w.attempts.Levels) })
	if i < 0 {
		i = len(h.groups)
		h.groups = append(h.groups, &holdGroup{levels: w.attempts.Levels})
	}
	pile.Push(h.groups[i], w)
	h.n++
}

func (h *holding) remove(w *Waiter) {
	g := w.group
	pile.Remove(g, w.place)
	h.n--
	if len(g.waiting) == 0 {
		h.groups = slices.DeleteFunc(h.groups, func(o *holdGroup) bool { return o == g })
	}
}

// first returns the session that has waited longest in the groups for which ready is true, or nil.
func (h *holding) first(ready func(*holdGroup) bool) *Waiter {
	var first *Waiter
	for _, g := range h.groups {
		if (first == nil || g.waiting[0].attempts.before(first.attempts)) && ready(g) {
			first = g.waiting[0]
		}
	}
	return first
}

// nextTry returns when held sessions may next try a server, because of ReleaseRate or holdRetry, or never.
func (h *holding) nextTry(now time.Duration) time.Duration {
	at := never
	if h.n == 0 {
		return at
	}
	if h.pacing {
		at = h.nextRelease
	}
	for _, s := range h.refusing {
		if s.retryAt > now {
			at = min(at, s.retryAt)
		}
	}
	return at
}

// releaseHeld gives servers to held sessions, in order of arrival and at most ReleaseRate per second.
func (c *Cluster) releaseHeld() {
	h := &c.hold
	if h.n == 0 && !h.pacing {
		return
	}
	wasPacing := h.pacing
	h.pacing = false
	for h.n > 0 {
		w := h.first(func(g *holdGroup) bool { return c.couldServe(g.waiting[0].attempts) })
		if w == nil {
			break
		}
		if c.spec.ReleaseRate > 0 && c.now < h.nextRelease {
			h.pacing = true
			break
		}
		lease, err := c.pick(w.attempts)
		if err == ErrHold { // not by the rules of levels; there is no such case
			break
		}
		h.remove(w)
		c.wakeWaiter(w, lease)
		if rate := c.spec.ReleaseRate; err == nil && rate > 0 {
			if h.nextRelease < c.now-releaseSlack {
				h.nextRelease = c.now
			}
			h.nextRelease += time.Second / time.Duration(rate)
		}
	}
	c.nextTimer = min(c.nextTimer, h.nextTry(c.now))
	switch {
	case !h.pacing:
		c.releaseAt.Store(0)
	case !wasPacing && h.paced != nil:
		c.wakeups = append(c.wakeups, h.paced)
		fallthrough
	default:
		c.releaseAt.Store(int64(h.nextRelease))
	}
}

// mustFollow reports whether a new session must queue behind held ones that may use its servers. They wait because of
// ReleaseRate, or because these servers have just refused one of them. In the latter case the session that has waited
// longest tries them now, in place of the new one.
func (c *Cluster) mustFollow(t *Attempts) bool {
	if c.hold.n == 0 || t.n > 0 || !c.couldServe(t) {
		return false
	}
	behind := slices.ContainsFunc(c.hold.groups, func(g *holdGroup) bool { return overlap(g.levels, t.Levels) && c.couldServe(g.waiting[0].attempts) })
	if behind {
		return true
	}
	if !slices.ContainsFunc(c.hold.groups, func(g *holdGroup) bool { return overlap(g.levels, t.Levels) }) || c.couldServe(&Attempts{Levels: t.Levels, Hold: true, held: true}) {
		return false
	}
	for _, s := range c.hold.refusing {
		s.retryAt = min(s.retryAt, c.now)
	}
	c.releaseHeld()
	return true
}

// overlap reports whether two lists of levels have one in common; an empty list is all levels.
func overlap(a, b []int) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(key int) bool { return slices.Contains(b, key) })
}

// refuses makes held sessions leave a server alone for holdRetry.
func (c *Cluster) refuses(s *Server) {
	if len(s.placements) == 0 {
		return
	}
	if s.retryAt == 0 {
		c.hold.refusing = append(c.hold.refusing, s)
	}
	s.retryAt = c.now + holdRetry
}

// accepts ends that: the server has a new state, or a session was connected to it.
func (c *Cluster) accepts(s *Server) {
	if s.retryAt == 0 {
		return
	}
	s.retryAt = 0
	c.hold.refusing = slices.DeleteFunc(c.hold.refusing, func(o *Server) bool { return o == s })
}
