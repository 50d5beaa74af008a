package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Cluster selects servers for sessions. Its servers stand in ordered levels. It is safe for concurrent use. Times given
// to its methods are monotonic and share one origin. A time before the latest one seen counts as the latest one.
type Cluster struct {
	// Immutable.
	observe func(Event)

	// Read by anyone; changed under mu.
	moves           atomic.Uint64
	measuresAnswers atomic.Bool  // see MeasuresAnswers
	releaseAt       atomic.Int64 // when the next held session is released because of Spec.ReleaseRate; 0 = no one waits for that

	rng *rng // guarded by mu

	mu sync.Mutex
	// Guarded by mu.
	spec       Spec
	roles      Roles
	levels     []*level
	slots      int // number of slots in all levels
	servers    map[string]*Server
	departed   map[string]*Server // servers that have left and still have sessions
	away       away               // state of found servers that have left
	retired    bool               // the cluster has left the configuration
	departures uint64             // number of departures so far
	now        time.Duration      // the latest time seen
	nextTimer  time.Duration      // when a timer is next due
	timed      []*Server          // servers with a timer
	dirty      []*Server          // servers to publish

	up          int     // servers whose merged state is up
	serving     int     // servers whose merged state is up or probation
	protected   *Server // the server that protection keeps in service, or nil
	outages     uint64  // how many times health took a server out of service
	lastResorts uint64  // how many times a failing server was picked as a last resort
	level       int     // index of the level in use, or -1
	held        bool    // the level is in use only because failback is manual
	empty       bool    // no server's merged state is up or probation
	lastLevel   string  // name of the level last in use; "" = none yet

	rebalance *rebalance // in progress; nil = none
	joined    string     // a server that has joined those that serve, for autoRebalance; "" = none

	tablesStale bool // a table does not match the weights in force

	leases     leaseTable
	partsUntil time.Duration // when the parts of SetParts end
	votesUntil time.Duration // when the votes of SetVotes end

	queue waitQueue
	hold  holding

	notifying bool // a goroutine is making callbacks; it also makes those added meanwhile
	events    []Event
	wakeups   []func()
}

// rng is the cluster's random source. The same seed gives the same picks.
type rng struct{ rand.PCG }

// New returns a cluster. The servers of spec exist from the start and have no slow start. seed is for the random
// method. observe, which may be nil, is called once for each event, in order and without the lock. It must not block,
// but may call the cluster.
func New(spec Spec, seed uint64, observe func(Event)) *Cluster {
	c := &Cluster{observe: observe, rng: &rng{}, nextTimer: never, partsUntil: never, votesUntil: never, level: -1}
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

// Server returns the server with that name, or nil.
func (c *Cluster) Server(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[name]
}

// Tick applies timers that are due: the end of fail_timeout, a step of slow start. Every other method does so too. Call
// Tick regularly so that events and waiting sessions do not depend on other calls.
func (c *Cluster) Tick(now time.Duration) {
	c.lock(now)
	c.unlock()
}

// Failback ends the use of a lower level that failback = "manual" keeps. The first better level with min_up servers that
// are up or on probation is used from now on. It returns an error with the reason, and changes nothing, if there is none. If the
// first level is in use already, there is nothing to do.
func (c *Cluster) Failback(now time.Duration) error {
	c.lock(now)
	defer c.unlock()
	better := c.levels
	switch {
	case c.level == 0:
		return nil
	case !c.spec.ManualFailback:
		return errors.New("failback is automatic")
	case c.level > 0:
		better = c.levels[:c.level]
	}
	var reasons []string
	for i, l := range better {
		ready := 0
		for j := range l.slots {
			ready += count(canServe(l.slots[j].server.published.State))
		}
		if ready >= l.minUp {
			c.level = i
			c.publishChanges()
			return nil
		}
		reasons = append(reasons, fmt.Sprintf("level %s has %d of %d servers up or on probation", l.name, ready, l.minUp))
	}
	return errors.New(strings.Join(reasons, "; "))
}

// lock takes the lock and applies timers that are due.
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

// unlock releases the lock and makes the pending callbacks. One goroutine at a time makes them, so their order is kept.
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

// emit queues an event.
func (c *Cluster) emit(e Event) {
	if c.observe != nil {
		e.Cluster, e.At = c.spec.Name, c.now
		c.events = append(c.events, e)
	}
}

// levelName returns the name of a level in events and snapshots.
func levelName(name string, index int) string {
	return cmp.Or(name, strconv.Itoa(index+1))
}
