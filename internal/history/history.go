package history

import (
	"iter"
	"sync"
	"time"
)

const (
	// Interval is the time between two calls of Sample.
	Interval = 10 * time.Second
	// Span is the number of samples in an hour.
	Span = int(time.Hour / Interval)
	// serverStep is the number of samples in a point of a server. Clusters have a point for each sample.
	serverStep = 2

	// Budget is the memory for series, in bytes. A cluster takes 5,040 and a server 2,520, so it holds 10,000 servers in 500
	// clusters. Others have no history until there is room; their sessions count for their cluster all the same. What is
	// kept of each server besides is in TestMemory, which finds less than 32 MiB for all of 10,000 servers.
	Budget = 27 << 20

	// Buckets is the number of buckets in which dial times are counted.
	Buckets = 36
)

// Counters grow while their object exists. One that falls has begun again.
type Counters struct {
	Sessions     uint64 // connected
	BytesUp      uint64
	BytesDown    uint64
	DialFailures uint64
	Dials        [Buckets]uint32 // successful dials by the time they took; may overflow
}

// since returns the growth from an earlier value.
func (c *Counters) since(before *Counters) Counters {
	grown := Counters{
		Sessions: growth(c.Sessions, before.Sessions), BytesUp: growth(c.BytesUp, before.BytesUp),
		BytesDown: growth(c.BytesDown, before.BytesDown), DialFailures: growth(c.DialFailures, before.DialFailures),
	}
	if c.Sessions >= before.Sessions { // else the buckets have begun again too
		for i := range c.Dials {
			grown.Dials[i] = c.Dials[i] - before.Dials[i]
		}
	}
	return grown
}

func growth(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

func (c *Counters) add(o *Counters) {
	c.Sessions += o.Sessions
	c.BytesUp += o.BytesUp
	c.BytesDown += o.BytesDown
	c.DialFailures += o.DialFailures
	for i := range c.Dials {
		c.Dials[i] += o.Dials[i]
	}
}

// Cluster is a cluster at a moment.
type Cluster struct {
	Name     string
	Sessions int // now, including those of removed servers
	Servers  []Server
}

// Server is a server at a moment.
type Server struct {
	Name     string
	Sessions int // now
	Counters
}

// History keeps the points of the last hour. It is safe for concurrent use.
type History struct {
	bounds [Buckets - 1]time.Duration // immutable
	budget int                        // immutable

	mu sync.Mutex
	// Guarded by mu.
	used     int                 // of budget
	begun    bool                // there was a first sample
	samples  int                 // points of series with step 1 so far
	times    [Span]time.Duration // of the last samples, by number
	node     cluster             // the sum of all clusters
	clusters map[string]*cluster
}

// cluster is the state of a cluster. series is nil while there is no room.
type cluster struct {
	series  *series
	pending pending
	servers map[string]*server
	seen    bool // in the current sample
}

// server is the state of a server. series is nil while there is no room.
type server struct {
	series  *series
	pending pending
	last    Counters
	seen    bool // in the current sample
}

// New returns an empty history. bounds are the upper bounds of Counters.Dials; the last bucket has none. Series take at most
// budget bytes.
func New(bounds [Buckets - 1]time.Duration, budget int) *History {
	return &History{bounds: bounds, budget: budget - seriesSize(1), node: cluster{series: newSeries(1)}, clusters: map[string]*cluster{}}
}

// Sample adds the state at a time. It does nothing if that is not later than the time of the call before. Servers must stay valid only until the
// next cluster is asked for. What clusters omits is dropped. The first sample of an object is where its growth begins.
func (h *History) Sample(at time.Duration, clusters iter.Seq[Cluster]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun && at <= h.node.pending.since {
		return
	}
	for c := range clusters {
		h.sampleCluster(at, &c)
	}
	for name, c := range h.clusters {
		if !c.seen {
			h.dropCluster(name, c)
		}
		c.seen = false
	}
	if h.begun {
		h.node.series.add(h.samples, &h.node.pending, at, &h.bounds)
		h.times[h.samples%Span] = at
		h.samples++
	}
	h.begun = true
	h.node.pending.reset(at)
}

func (h *History) sampleCluster(at time.Duration, now *Cluster) {
	c := h.clusters[now.Name]
	if c == nil {
		c = &cluster{servers: make(map[string]*server, len(now.Servers))}
		c.pending.reset(at)
		h.clusters[now.Name] = c
	}
	c.seen = true
	if c.series == nil {
		c.series = h.reserve(1)
	}
	c.pending.sessions = now.Sessions
	h.node.pending.sessions += now.Sessions
	for i := range now.Servers {
		h.sampleServer(at, c, &now.Servers[i])
	}
	for name, s := range c.servers {
		if !s.seen {
			h.release(s.series)
			delete(c.servers, name)
		}
		s.seen = false
	}
	if c.series != nil && at > c.pending.since {
		c.series.add(h.samples, &c.pending, at, &h.bounds)
	}
	c.pending.reset(at)
}

func (h *History) sampleServer(at time.Duration, c *cluster, now *Server) {
	s := c.servers[now.Name]
	if s == nil {
		s = &server{last: now.Counters}
		s.pending.reset(at)
		c.servers[now.Name] = s
	}
	s.seen = true
	if s.series == nil {
		s.series = h.reserve(serverStep)
	}
	grown := now.Counters.since(&s.last)
	s.last = now.Counters
	c.pending.grown.add(&grown)
	h.node.pending.grown.add(&grown)
	s.pending.grown.add(&grown)
	s.pending.sessions = max(s.pending.sessions, now.Sessions)
	if h.samples%serverStep != serverStep-1 {
		return
	}
	if s.series != nil && at > s.pending.since {
		s.series.add(h.samples/serverStep, &s.pending, at, &h.bounds)
	}
	s.pending.reset(at)
}

// reserve returns an empty series, or nil if there is no room.
func (h *History) reserve(step int) *series {
	if h.used+seriesSize(step) > h.budget {
		return nil
	}
	h.used += seriesSize(step)
	return newSeries(step)
}

func (h *History) release(s *series) {
	if s != nil {
		h.used -= seriesSize(s.step)
	}
}

func (h *History) dropCluster(name string, c *cluster) {
	h.release(c.series)
	for _, s := range c.servers {
		h.release(s.series)
	}
	delete(h.clusters, name)
}
