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
	dice    *dice // itself under the lock

	mu sync.Mutex
	// Under the lock.
	spec    Spec
	levels  []*level
	slots   int // over all levels
	servers map[string]*Server
	now     time.Duration // the latest time heard of
	next    time.Duration // when time alone next changes something
	timed   []*Server     // whom time changes
	touched []*Server     // who is to be settled

	up      int     // servers whose own state is up
	able    int     // … up or on probation
	spared  *Server // by protection
	outs    uint64  // times that health took a server out of service
	resorts uint64  // times that a failing server was picked as a last resort
	level   int     // in use, or -1
	held    bool    // level is in use only because failback is manual
	empty   bool    // no server is in service on its own merits
	before  string  // the name of the level last in use

	unfitTables bool // some table does not fit the weights in force

	ledger ledger
	queue  queue

	telling bool // somebody is making callbacks; whoever comes by leaves theirs to them
	events  []Event
	wakes   []func()
}

// dice is the cluster's source of randomness; the same seed gives the same picks.
type dice struct{ rand.PCG }

// New returns a cluster at work. The servers of spec are there from the start: no slow start for them. seed is for the
// random method. observe, which may be nil, is called once for each event, in order and outside the lock; it must not
// block, but may call the cluster.
func New(spec Spec, seed uint64, observe func(Event)) *Cluster {
	c := &Cluster{observe: observe, dice: &dice{}, next: never, level: -1}
	c.dice.Seed(seed, golden)
	c.mu.Lock()
	c.install(build(spec.clone(), c.dice, nil, nil))
	c.settle()
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
	c.settle()
	c.unlock()
}

// lock takes the lock and brings the cluster up to date with the time.
func (c *Cluster) lock(now time.Duration) {
	c.mu.Lock()
	if now > c.now {
		c.now = now
	}
	if c.now >= c.next {
		c.ripen()
		c.settle()
	}
}

// unlock gives up the lock and makes the callbacks that are due. One goroutine at a time makes them, so that they keep
// their order.
func (c *Cluster) unlock() {
	if c.telling || len(c.events)+len(c.wakes) == 0 {
		c.mu.Unlock()
		return
	}
	c.telling = true
	var events []Event
	var wakes []func()
	for len(c.events)+len(c.wakes) > 0 {
		events, c.events = c.events, events[:0]
		wakes, c.wakes = c.wakes, wakes[:0]
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
	c.telling = false
	c.mu.Unlock()
}

// tell notes an event.
func (c *Cluster) tell(e Event) {
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
