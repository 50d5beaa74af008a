package engine

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"weir/balance"
)

// clusterNoise limits the events of whole clusters that have found servers: a source outside the file that names other servers all
// the time makes a cluster empty and brings it back, or changes its level, as often as it likes, and could fill logs and drown hooks.
// The last event that is left out is reported when the window ends, so that the last one of a cluster says how it is.
type clusterNoise struct {
	mu       sync.Mutex
	clusters map[string]*noiseWindow
	closed   bool
}

// noiseWindow counts the events of a cluster since a time.
type noiseWindow struct {
	since time.Time
	n     int
	last  balance.Event // the last one that was left out
	flush *time.Timer   // reports last; nil = none was left out
}

const (
	maxNoise    = 10 // events of a cluster in noiseLength
	noiseLength = time.Minute
)

// allow reports whether an event is reported. Otherwise report is called with the last one of the cluster when the window ends.
func (c *clusterNoise) allow(log *slog.Logger, ev balance.Event, now time.Time, report func(balance.Event)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.clusters[ev.Cluster]
	if w == nil || now.Sub(w.since) >= noiseLength && w.flush == nil {
		w = &noiseWindow{since: now}
		if c.clusters == nil {
			c.clusters = map[string]*noiseWindow{}
		}
		maps.DeleteFunc(c.clusters, func(_ string, old *noiseWindow) bool { return now.Sub(old.since) >= noiseLength && old.flush == nil })
		c.clusters[ev.Cluster] = w
	}
	if w.n++; w.n <= maxNoise || c.closed {
		return true
	}
	if w.last = ev; w.flush == nil {
		w.flush = time.AfterFunc(noiseLength-now.Sub(w.since), func() { c.end(ev.Cluster, report) })
		log.Warn("a cluster with found servers changes all the time: events are left out until the window ends", "cluster", ev.Cluster, "events", maxNoise, "within", noiseLength)
	}
	return false
}

// end ends the window of a cluster.
func (c *clusterNoise) end(cluster string, report func(balance.Event)) {
	c.mu.Lock()
	w := c.clusters[cluster]
	closed := c.closed
	delete(c.clusters, cluster)
	c.mu.Unlock()
	if w != nil && !closed {
		report(w.last)
	}
}

// close stops the reports of events that were left out.
func (c *clusterNoise) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, w := range c.clusters {
		if w.flush != nil {
			w.flush.Stop()
		}
	}
}

// ofFoundServers reports whether an event is of a whole cluster that has found servers.
func (e *Engine) ofFoundServers(ev balance.Event) bool {
	switch ev.Kind {
	case balance.EventClusterEmpty, balance.EventClusterBack, balance.EventLevelChange:
	default:
		return false
	}
	cfg := e.running.Load().cfg
	if cfg == nil {
		return false
	}
	c := cfg.Cluster(ev.Cluster)
	if c == nil {
		return false
	}
	found := c.Topology != nil && c.Topology.Discover
	for i := range c.Levels {
		found = found || c.Levels[i].Discover != nil
	}
	return found
}
