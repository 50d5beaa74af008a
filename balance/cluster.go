package balance

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Cluster is a set of servers in levels, at work. It is safe for concurrent use. Times given to its methods are
// monotonic, in one and the same timeline for all of them; a caller a little behind the others is taken to be level.
type Cluster struct {
	// Immutable.
	observe func(Event)
	rng     *rng // itself under the lock

	mu sync.Mutex
	// Under the lock.
	spec      Spec
	levels    []*level
	slots     int // over all levels
	servers   map[string]*Server
	now       time.Duration // the latest time heard of
	nextTimer time.Duration // when time alone next changes something
	timed     []*Server     // whom time changes
	dirty     []*Server     // who is to be settled

	up          int     // servers whose own state is up
	serving     int     // … up or on probation
	protected   *Server // by protection
	outages     uint64  // times that health took a server out of service
	lastResorts uint64  // times that a failing server was picked as a last resort
	level       int     // placementIn use, or -1
	held        bool    // level is in use only because failback is manual
	empty       bool    // no server is in service on its own merits
	lastLevel   string  // the name of the level last in use

	tablesStale bool // some table does not fit the weights in force

	leases leaseTable
	queue  waitQueue

	notifying bool // somebody is making callbacks; whoever comes by leaves theirs to them
	events    []Event
	wakeups   []func()
}

// rng is the cluster's source of randomness; the same seed gives the same picks.
type rng struct{ rand.PCG }

// New returns a cluster at work. The servers of spec are there from the start: no slow start for them. seed is for the
// random method. observe, which may be nil, is called once for each event, in order and outside the lock; it must not
// block, but may call the cluster.
func New(spec Spec, seed uint64, observe func(Event)) *Cluster {
	c := &Cluster{observe: observe, rng: &rng{}, nextTimer: never, level: -1}
	c.rng.Seed(seed, goldenRatio)
	c.mu.Lock()
	c.install(buildLevels(spec.clone(), c.rng, nil, nil))
	c.publishChanges()
	c.events = nil
	c.mu.Unlock()
	return c
}

// Name returns the cluster's name.
func (c *Cluster) Name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec.Name
}

// Server returns the server of that name, or nil.
func (c *Cluster) Server(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[name]
}

// Tick discovers what time alone has changed: a trip that is over, a slow start that has grown. Every other call does so
// too; Tick makes it prompt, for events and for sessions that wait, when nobody calls.
func (c *Cluster) Tick(now time.Duration) {
	c.lock(now)
	c.unlock()
}

// Failback ends the stay in a lower level that failback = "manual" keeps up.
func (c *Cluster) Failback(now time.Duration) {
	c.lock(now)
	c.level, c.held = -1, false
	c.publishChanges()
	c.unlock()
}

// lock takes the lock and brings the cluster up to date with the time.
func (c *Cluster) lock(now time.Duration) {
	c.mu.Lock()
	if now > c.now {
		c.now = now
	}
	if c.now >= c.nextTimer {
		c.applyTimers()
		c.publishChanges()
	}
}

// unlock gives up the lock and makes the callbacks that are due. One goroutine at a time makes them, so that they keep
// their order.
func (c *Cluster) unlock() {
	if c.notifying || len(c.events)+len(c.wakeups) == 0 {
		c.mu.Unlock()
		return
	}
	c.notifying = true
	var events []Event
	var wakes []func()
	for len(c.events)+len(c.wakeups) > 0 {
		events, c.events = c.events, events[:0]
		wakes, c.wakeups = c.wakeups, wakes[:0]
		c.mu.Unlock()
		for _, e := range events {
			c.observe(e)
		}
		for i, wake := range wakes {
			wake()
			wakes[i] = nil
		}
		c.mu.Lock()
	}
	c.notifying = false
	c.mu.Unlock()
}

// emit notes an event.
func (c *Cluster) emit(e Event) {
	if c.observe != nil {
		e.Cluster, e.At = c.spec.Name, c.now
		c.events = append(c.events, e)
	}
}

// levelName returns what a level is called in events and snapshots.
func levelName(name string, index int) string {
	if name == "" {
		return strconv.Itoa(index + 1)
	}
	return name
}
