package admin

// Metrics for Prometheus: one snapshot for each scrape. README.md has the table.

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weir/internal/status"
)

// metricsOf answers with the metrics of a weir, from a registry of its own.
func metricsOf(w Weir, missed func() uint64) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(w, missed))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
}

// states are those that a server may be in, one gauge each.
func states() []string {
	return []string{"up", "probation", "failing", "down", "unresolved", "drain", "maint", "unstable"}
}

// collector makes metrics of a snapshot.
type collector struct {
	weir   Weir
	missed func() uint64
	descs  map[string]*prometheus.Desc
}

// metric is a line of the table: a name, the labels, and what it tells.
type metric struct {
	name, labels, help string
}

func metrics() []metric {
	return []metric{
		{"weir_build_info", "version", "Always 1; the version is a label."},
		{"weir_start_time_seconds", "", "When the process started, since the epoch."},
		{"weir_ready", "", "1 while clients are served, 0 while weir stops."},
		{"weir_config_loaded_timestamp_seconds", "", "When the configuration in force was loaded, since the epoch."},
		{"weir_config_last_reload_successful", "", "0 if the last reload was refused."},
		{"weir_reloads_total", "result", "Reloads: done or refused."},

		{"weir_sessions", "listener", "Sessions now."},
		{"weir_sessions_limit", "", "The limit on sessions in force."},
		{"weir_sessions_total", "listener", "Sessions begun."},
		{"weir_sessions_ended_total", "listener, end", "Sessions ended, by phase and party or by what cut them."},
		{"weir_sessions_refused_total", "listener, reason", "Clients turned away by allow and deny or by a limit."},
		{"weir_session_seconds", "listener", "How long sessions took, a histogram."},
		{"weir_bytes_up_total", "listener", "Bytes from clients to servers."},
		{"weir_bytes_down_total", "listener", "Bytes from servers to clients."},
		{"weir_dial_seconds", "", "How long dials took that succeeded, a histogram."},

		{"weir_cluster_level_in_use", "cluster, level", "1 for the level that sessions go to."},
		{"weir_cluster_eligible_servers", "cluster, level", "Servers that may be given sessions."},
		{"weir_cluster_empty", "cluster", "1 while no server is in service on its own merits."},
		{"weir_cluster_queue", "cluster", "Sessions that wait for room."},

		{"weir_server_state", "cluster, server, state", "1 for the state that the server is in."},
		{"weir_server_weight", "cluster, level, server", "The weight, by override or configuration and agent."},
		{"weir_server_effective_weight", "cluster, level, server", "The weight after slow start and failed attempts."},
		{"weir_server_sessions", "cluster, server", "Sessions now."},
		{"weir_server_sessions_total", "cluster, server", "Sessions connected."},
		{"weir_server_bytes_up_total", "cluster, server", "Bytes from clients."},
		{"weir_server_bytes_down_total", "cluster, server", "Bytes to clients."},
		{"weir_server_dials_total", "cluster, server", "Attempts to connect."},
		{"weir_server_dial_failures_total", "cluster, server", "Attempts that failed by the server's fault."},
		{"weir_server_retries_total", "cluster, server", "Attempts after a session's first."},

		{"weir_check_results_total", "cluster, server, check, result", "Results of checks: pass or fail."},
		{"weir_check_seconds", "cluster, server, check", "How long checks took, a histogram."},

		{"weir_events_total", "", "Events told."},
		{"weir_events_delivered_total", "hook", "Events that a hook took."},
		{"weir_events_dropped_total", "hook", "Events that a hook missed: it failed, or was too slow."},
		{"weir_events_queued", "hook", "Events that a hook has not been told of yet."},
		{"weir_event_stream_dropped_total", "", "Events that a client of the stream was too slow for."},
		{"weir_session_records_dropped_total", "", "Session records that were left out: the log was not taking them."},

		{"weir_loop_busy_seconds_total", "loop", "Time that an event loop has worked."},
		{"weir_loop_sessions", "loop", "Sessions of an event loop now."},
		{"weir_pipes", "", "Pipes open for splicing."},
		{"weir_descriptors", "", "Descriptors open."},
		{"weir_descriptors_limit", "", "Descriptors that may be open."},
	}
}

func newCollector(w Weir, missed func() uint64) *collector {
	c := &collector{weir: w, missed: missed, descs: map[string]*prometheus.Desc{}}
	for _, m := range metrics() {
		var labels []string
		if m.labels != "" {
			labels = strings.Split(m.labels, ", ")
		}
		c.descs[m.name] = prometheus.NewDesc(m.name, m.help, labels, nil)
	}
	return c
}

// Describe tells which metrics there are.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect makes all metrics of one snapshot.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	t := c.weir.Totals()
	p := point{c.descs, out}
	p.put("weir_build_info", 1, t.Version)
	p.put("weir_start_time_seconds", seconds(t.StartedAt))
	p.put("weir_ready", bit(c.weir.Ready()))
	p.put("weir_config_loaded_timestamp_seconds", seconds(t.Config.LoadedAt))
	p.put("weir_config_last_reload_successful", bit(t.Config.LastError == ""))
	p.put("weir_reloads_total", float64(t.Config.Reloads-t.Config.Failed), "done")
	p.put("weir_reloads_total", float64(t.Config.Failed), "refused")
	p.put("weir_sessions_limit", float64(t.MaxSessions))
	p.put("weir_events_total", float64(t.Events))
	p.put("weir_event_stream_dropped_total", float64(c.missed()))
	for i := range t.Hooks {
		h := &t.Hooks[i]
		p.put("weir_events_delivered_total", float64(h.Delivered), h.Name)
		p.put("weir_events_dropped_total", float64(h.Dropped), h.Name)
		p.put("weir_events_queued", float64(h.Queued), h.Name)
	}
	p.put("weir_session_records_dropped_total", float64(t.RecordsLost))
	p.put("weir_pipes", float64(t.Pipes))
	p.put("weir_descriptors", float64(t.Descriptors))
	p.put("weir_descriptors_limit", float64(t.MaxFiles))
	p.histogram("weir_dial_seconds", t.Dials)
	for i, l := range t.Loops {
		p.put("weir_loop_busy_seconds_total", l.BusySeconds, strconv.Itoa(i))
		p.put("weir_loop_sessions", float64(l.Sessions), strconv.Itoa(i))
	}
	p.listeners(&t)
	for i := range t.Clusters {
		p.cluster(&t.Clusters[i])
	}
	for _, k := range t.Checks {
		p.put("weir_check_results_total", float64(k.Passed), k.Cluster, k.Server, k.Check, "pass")
		p.put("weir_check_results_total", float64(k.Failed), k.Cluster, k.Server, k.Check, "fail")
		p.histogram("weir_check_seconds", k.Took, k.Cluster, k.Server, k.Check)
	}
}

// point puts numbers behind names.
type point struct {
	descs map[string]*prometheus.Desc
	out   chan<- prometheus.Metric
}

func (p point) put(name string, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(name, "_total") {
		kind = prometheus.CounterValue
	}
	p.out <- prometheus.MustNewConstMetric(p.descs[name], kind, value, labels...)
}

func (p point) histogram(name string, h status.Histogram, labels ...string) {
	p.out <- prometheus.MustNewConstHistogram(p.descs[name], h.Count, h.Sum, h.Buckets, labels...)
}

// listeners adds up the addresses of each listener.
func (p point) listeners(t *status.Totals) {
	var order []string
	sum := map[string]*status.Listener{}
	for _, l := range t.Listeners {
		s := sum[l.Name]
		if s == nil {
			s = &status.Listener{}
			sum[l.Name] = s
			order = append(order, l.Name)
		}
		s.Sessions += l.Sessions
		s.SessionsTotal += l.SessionsTotal
		s.BytesUp += l.BytesUp
		s.BytesDown += l.BytesDown
	}
	for _, name := range order {
		s := sum[name]
		p.put("weir_sessions", float64(s.Sessions), name)
		p.put("weir_sessions_total", float64(s.SessionsTotal), name)
		p.put("weir_bytes_up_total", float64(s.BytesUp), name)
		p.put("weir_bytes_down_total", float64(s.BytesDown), name)
	}
	for _, e := range t.Ends {
		p.put("weir_sessions_ended_total", float64(e.Sessions), e.Listener, e.End)
	}
	for _, r := range t.Refused {
		p.put("weir_sessions_refused_total", float64(r.Clients), r.Listener, r.Reason)
	}
	for _, l := range t.Lifetimes {
		p.histogram("weir_session_seconds", l.Took, l.Listener)
	}
}

func (p point) cluster(c *status.Cluster) {
	p.put("weir_cluster_empty", bit(c.Empty), c.Name)
	p.put("weir_cluster_queue", float64(c.Queue), c.Name)
	seen := map[string]bool{}
	for _, l := range c.Levels {
		p.put("weir_cluster_level_in_use", bit(l.InUse), c.Name, l.Name)
		p.put("weir_cluster_eligible_servers", float64(l.Eligible), c.Name, l.Name)
		for i := range l.Servers {
			s := &l.Servers[i]
			p.put("weir_server_weight", float64(s.Weight), c.Name, l.Name, s.Name)
			p.put("weir_server_effective_weight", s.EffectiveWeight, c.Name, l.Name, s.Name)
			if seen[s.Name] { // in another level: one server, one count
				continue
			}
			seen[s.Name] = true
			for _, state := range states() {
				p.put("weir_server_state", bit(s.State == state), c.Name, s.Name, state)
			}
			p.put("weir_server_sessions", float64(s.Sessions), c.Name, s.Name)
			for name, n := range map[string]uint64{
				"sessions": s.SessionsTotal, "bytes_up": s.BytesUp, "bytes_down": s.BytesDown,
				"dials": s.Dials, "dial_failures": s.DialFailures, "retries": s.Retries,
			} {
				p.put("weir_server_"+name+"_total", float64(n), c.Name, s.Name)
			}
		}
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
