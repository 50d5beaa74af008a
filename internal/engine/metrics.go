package engine

import (
	"os"
	"runtime"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/internal/status"
	"weir/l4"
)

// histogram makes the buckets cumulative.
func histogram(count uint64, sum time.Duration, bounds []time.Duration, buckets []uint64) status.Histogram {
	h := status.Histogram{Count: count, Sum: sum.Seconds(), Buckets: make(map[float64]uint64, len(bounds))}
	total := uint64(0)
	for i, bound := range bounds {
		total += buckets[i]
		h.Buckets[bound.Seconds()] = total
	}
	h.Count = max(h.Count, total) // a count and its bucket are not read at the same moment
	return h
}

// Metrics returns the values of one scrape, each read or added up once.
func (e *Engine) Metrics() status.Metrics {
	s := e.snapshot()
	m := status.Metrics{
		Version: s.version, StartedAt: s.startedAt, Ready: e.Ready(), Node: e.nodeState(), VIPs: e.vipStates(), Config: s.lastReload(),
		MaxSessions: int(s.maxSessions.Load()), Hooks: e.hooks.Status(), Checks: s.checks.metrics(), ChecksSkipped: s.checks.skips(),
		Events: s.eventLog.count(), RecordsDropped: e.sessionLog.Dropped(),
		OpenDescriptors: openDescriptors(), MaxDescriptors: l4.DescriptorLimit(), Goroutines: runtime.NumGoroutine(),
	}
	if s.cfg != nil {
		m.StateFile = e.stateFileStatus(s.cfg.Runtime.StateFile)
		m.Fleet, m.FleetConflicts, m.FleetRestores = e.fleetLinkStatus(), e.fleet.conflicts.Load(), e.fleet.restores.Load()
		m.FleetLimits, m.Promotion = e.fleetLimitStatus(), e.promotionStatus()
		for i := range s.cfg.Listeners {
			m.Listeners = append(m.Listeners, s.listenerMetrics(&s.cfg.Listeners[i], s.listeners))
		}
		for i := range s.cfg.Clusters {
			name := s.cfg.Clusters[i].Name
			c := clusterMetrics(name, s.clusters[name], s.now)
			c.Closing, c.Closed = s.closings.metrics(name)
			c.Topology = s.topologyMetrics(name, s.clusters[name])
			c.Discovery = s.discoveryMetrics(&s.cfg.Clusters[i])
			m.Clusters = append(m.Clusters, c)
		}
	}
	var dials l4.Histogram
	if old := s.baseline.Load(); old != nil {
		m.RecordsDropped += old.RecordsLost
		dials = old.Dials.histogram()
	}
	for _, c := range e.plane.Counters() {
		m.Loops = append(m.Loops, status.LoopMetrics{Sessions: c.Sessions, BusySeconds: max(0, s.now-c.Slept).Seconds()})
		m.Pipes += c.Pipes
		dials.Merge(&c.DialTime)
	}
	m.DialDurations = histogram(dials.Count, dials.Sum, l4.HistogramBounds(), dials.Buckets[:])
	return m
}

// listenerMetrics adds up the counters of the addresses of a listener.
func (s *snapshot) listenerMetrics(ln *conf.Listener, open map[string]*l4.Listener) status.ListenerMetrics {
	m := status.ListenerMetrics{Name: ln.Name}
	var sum l4.Counters
	for _, at := range ln.Addresses {
		if opened := open[listenerID(ln.Protocol, at)]; opened != nil {
			m.Routes = routeStatus(ln, opened.Settings())
			c := opened.Counters()
			m.Sessions += max(0, c.Live)
			s.withLoops(func() { m.Waiting += opened.Waiting() })
			sum.Add(&c)
		}
	}
	m.SessionsTotal, m.BytesUp, m.BytesDown = sum.Sessions, sum.BytesUp, sum.BytesDown
	m.Durations = histogram(sum.Lifetime.Count, sum.Lifetime.Sum, l4.HistogramBounds(), sum.Lifetime.Buckets[:])
	for i, end := range l4.Terminations() {
		m.Ended = append(m.Ended, status.Ended{Phase: end.Phase.String(), Reason: end.Reason.String(), Count: sum.Ended[i]})
	}
	for _, r := range l4.Rejections() {
		m.Rejected = append(m.Rejected, status.ReasonCount{Reason: r.String(), Count: sum.Rejected[r]})
	}
	if ln.Protocol == "udp" {
		for _, d := range l4.Drops() {
			m.Dropped = append(m.Dropped, status.ReasonCount{Reason: d.String(), Count: sum.Dropped[d]})
		}
		m.Datagrams = &status.DatagramCounts{Up: sum.DatagramsUp, Down: sum.DatagramsDown}
	}
	return m
}

func clusterMetrics(name string, b *balance.Cluster, now time.Duration) status.ClusterMetrics {
	state := b.Snapshot(now)
	m := status.ClusterMetrics{Name: name, Level: state.Level, Held: state.Held, Empty: state.Empty, Sessions: state.Leases, Queue: state.Waiting, HeldSessions: state.Hold.Now, HeldTotal: state.Hold.Total}
	for _, o := range balance.HoldOutcomes() {
		m.HoldsEnded = append(m.HoldsEnded, status.ReasonCount{Reason: o.String(), Count: state.Hold.Ended[o]})
	}
	seen := map[string]bool{}
	for i := range state.Levels {
		l := &state.Levels[i]
		level := status.LevelMetrics{Name: l.Name, InUse: l.InUse, Eligible: l.Eligible, Impaired: l.Impaired, Weights: make([]status.ServerWeight, 0, len(l.Servers))}
		for j := range l.Servers {
			s := &l.Servers[j]
			level.Weights = append(level.Weights, status.ServerWeight{Server: s.Name, Weight: s.Weight, Effective: s.EffectiveWeight})
			if !seen[s.Name] {
				seen[s.Name] = true
				c := serverCounters(b, s.Name)
				role := ""
				if s.Layers.Wanted != balance.AnyRole {
					role = s.Layers.Role.String()
				}
				m.Servers = append(m.Servers, status.ServerMetrics{
					Name: s.Name, State: s.State.String(), Role: role, Sessions: s.Sessions, SessionsTotal: c.Sessions,
					BytesUp: c.BytesUp, BytesDown: c.BytesDown, Dials: c.Dials, DialFailures: c.DialFails, Retries: c.Retries,
				})
			}
		}
		m.Levels = append(m.Levels, level)
	}
	return m
}

// serverCounters returns what the data plane has counted of a server; zero if the cluster no longer has it.
func serverCounters(b *balance.Cluster, name string) l4.ServerCounters {
	if server := b.Server(name); server != nil {
		if t, ok := server.Handle().(*l4.Target); ok {
			return t.Stats().Counters()
		}
	}
	return l4.ServerCounters{}
}

// openDescriptors returns the number of open descriptors. Kernels since 6.2 give it as the size of the directory (proc(5));
// with older ones its entries are counted.
func openDescriptors() int {
	const dir = "/proc/self/fd"
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}
