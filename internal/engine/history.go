package engine

// The history of the last hour, for charts.

import (
	"math"
	"slices"
	"time"

	"weir/balance"
	"weir/internal/history"
	"weir/internal/overlay"
	"weir/internal/status"
	"weir/l4"
)

// newHistory returns an empty history for the dial times of the data plane.
func newHistory() *history.History { return history.New(l4.DialTimeBounds(), history.Budget) }

// keepHistory samples the history until the engine closes.
func (e *Engine) keepHistory() {
	ticks := time.NewTicker(history.Interval)
	defer ticks.Stop()
	for {
		e.sampleHistory()
		select {
		case <-ticks.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// sampleHistory reads the counters of all servers. It takes the lock of each cluster once, for a shorter time than a scrape of
// the metrics.
func (e *Engine) sampleHistory() {
	running := e.running.Load()
	var loads []balance.ServerLoad
	var servers []history.Server
	e.history.Sample(e.plane.Now(), func(yield func(history.Cluster) bool) {
		for i := range running.cfg.Clusters {
			c := history.Cluster{Name: running.cfg.Clusters[i].Name}
			loads, c.Sessions = running.clusters[c.Name].Loads(loads[:0])
			servers = slices.Grow(servers[:0], len(loads))
			for j := range loads {
				servers = append(servers, history.Server{Name: loads[j].Name, Sessions: loads[j].Sessions})
				if t, ok := loads[j].Handle.(*l4.Target); ok {
					countServer(&servers[j].Counters, t.Stats())
				}
			}
			c.Servers = servers
			if !yield(c) {
				return
			}
		}
	})
}

func countServer(c *history.Counters, stats *l4.ServerStats) {
	sum := stats.Counters()
	c.Sessions, c.BytesUp, c.BytesDown, c.DialFailures = sum.Sessions, sum.BytesUp, sum.BytesDown, sum.DialFails
	stats.AddDialTimes((*l4.DialTimes)(&c.Dials))
}

// History returns what a server has done in the last hour, or a cluster if server is "", or all clusters. after, if it is not
// zero, omits the points until then.
func (e *Engine) History(cluster, server string, after time.Time) (status.History, error) {
	s := e.snapshot()
	switch {
	case cluster == "" && server != "":
		return status.History{}, &status.RequestError{Kind: status.Invalid, Field: "server", Text: "want cluster too"}
	case cluster != "" && (s.cfg == nil || s.cfg.Cluster(cluster) == nil):
		return status.History{}, overlay.NoCluster(cluster)
	case server != "" && s.clusters[cluster].Server(server) == nil:
		return status.History{}, overlay.NoServer(cluster, server)
	}
	since := time.Duration(math.MinInt64)
	if !after.IsZero() {
		since = s.clock.plane(after) + time.Millisecond // times in answers have milliseconds
	}
	p := e.history.Read(cluster, server, since)
	h := status.History{
		Cluster: cluster, Server: server, StepSeconds: p.Step.Seconds(), Omitted: !p.Kept && e.history.Sampled(cluster, server),
		Times: make([]time.Time, len(p.At)), Sessions: rounded(p.Sessions), NewSessions: rounded(p.NewSessions),
		BytesUp: rounded(p.BytesUp), BytesDown: rounded(p.BytesDown), DialFailures: rounded(p.DialFailures),
		DialP50: optional(p.DialP50), DialP99: optional(p.DialP99),
	}
	for i, at := range p.At {
		h.Times[i] = s.clock.wall(at)
	}
	return h, nil
}

// rounded returns the values with four significant digits, which are all that the history has.
func rounded(list []float64) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = fourDigits(v)
	}
	return out
}

// optional is rounded, with nil for NaN.
func optional(list []float64) []*float64 {
	out := make([]*float64, len(list))
	for i, v := range list {
		if !math.IsNaN(v) {
			out[i] = new(fourDigits(v))
		}
	}
	return out
}

func fourDigits(v float64) float64 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-3)
	if unit < 1 {
		per := math.Round(1 / unit)
		return math.Round(v*per) / per
	}
	return math.Round(v/unit) * unit
}
