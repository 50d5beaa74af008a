package admin

// Metrics for Prometheus: one snapshot for each scrape. README.md has the table.

import (
	"net/http"
	"strconv"
	"time"

	"weir/internal/status"
)

// metricsOf answers with the metrics of a weir.
func metricsOf(w Weir, missed func() uint64) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", expositionType)
		if r.Method == http.MethodHead {
			return
		}
		t := totals{Totals: w.Totals(), ready: w.Ready(), missed: missed()}
		t.gather()
		_ = writeMetrics(rw, &t) // a client that has gone
	}
}

// states are those that a server may be in, one gauge each.
func states() []string {
	return []string{"up", "probation", "failing", "down", "unresolved", "drain", "maint", "unstable"}
}

// totals is what metrics are made of.
type totals struct {
	status.Totals
	ready  bool
	missed uint64 // events that streams were too slow for

	listeners []*status.Listener // the addresses of each added up
	servers   []serverOf         // each once, however many levels it is in
}

type serverOf struct {
	cluster string
	*status.Server
}

// gather adds up what metrics count together.
func (t *totals) gather() {
	sum := map[string]*status.Listener{}
	for i := range t.Listeners {
		l := &t.Listeners[i]
		s := sum[l.Name]
		if s == nil {
			s = &status.Listener{Name: l.Name}
			sum[l.Name] = s
			t.listeners = append(t.listeners, s)
		}
		s.Sessions += l.Sessions
		s.SessionsTotal += l.SessionsTotal
		s.BytesUp += l.BytesUp
		s.BytesDown += l.BytesDown
	}
	for i := range t.Clusters {
		c := &t.Clusters[i]
		seen := map[string]bool{}
		for j := range c.Levels {
			for k := range c.Levels[j].Servers {
				if s := &c.Levels[j].Servers[k]; !seen[s.Name] {
					seen[s.Name] = true
					t.servers = append(t.servers, serverOf{c.Name, s})
				}
			}
		}
	}
}

// metric is a line of the table: a name, the labels, what it tells, and what puts its values.
type metric struct {
	name, labels, help string
	put                func(f *family, t *totals)
}

func metrics() []metric {
	return []metric{
		{"weir_build_info", "version", "Always 1; the version is a label.", func(f *family, t *totals) { f.value(1, t.Version) }},
		{"weir_start_time_seconds", "", "When the process started, since the epoch.", func(f *family, t *totals) { f.value(seconds(t.StartedAt)) }},
		{"weir_ready", "", "1 while clients are served, 0 while weir stops.", func(f *family, t *totals) { f.bit(t.ready) }},
		{"weir_config_loaded_timestamp_seconds", "", "When the configuration in force was loaded, since the epoch.", func(f *family, t *totals) { f.value(seconds(t.Config.LoadedAt)) }},
		{"weir_config_last_reload_successful", "", "0 if the last reload was refused.", func(f *family, t *totals) { f.bit(t.Config.LastError == "") }},
		{"weir_reloads_total", "result", "Reloads: done or refused.", func(f *family, t *totals) {
			f.count(t.Config.Reloads-t.Config.Failed, "done")
			f.count(t.Config.Failed, "refused")
		}},
		{"weir_state_file_writable", "", "0 if the state file cannot be written; absent without one.", func(f *family, t *totals) {
			if t.StateFile != nil {
				f.bit(t.StateFile.LastError == "")
			}
		}},

		{"weir_sessions", "listener", "Sessions now.", ofListener(func(l *status.Listener) float64 { return float64(l.Sessions) })},
		{"weir_sessions_limit", "", "The limit on sessions in force.", func(f *family, t *totals) { f.value(float64(t.MaxSessions)) }},
		{"weir_sessions_total", "listener", "Sessions begun.", ofListener(func(l *status.Listener) float64 { return float64(l.SessionsTotal) })},
		{"weir_sessions_ended_total", "listener, phase, reason", "Sessions ended, by phase and reason.", func(f *family, t *totals) {
			for _, e := range t.Ended {
				f.count(e.Sessions, e.Listener, e.Phase, e.Reason)
			}
		}},
		{"weir_datagrams_dropped_total", "listener, reason", "Datagrams of UDP listeners that were not relayed.", func(f *family, t *totals) {
			for _, d := range t.Dropped {
				f.count(d.Datagrams, d.Listener, d.Reason)
			}
		}},
		{"weir_sessions_refused_total", "listener, reason", "Clients turned away by allow and deny, by a limit, or because they are no trusted proxies.", func(f *family, t *totals) {
			for _, r := range t.Rejected {
				f.count(r.Clients, r.Listener, r.Reason)
			}
		}},
		{"weir_session_seconds", "listener", "How long sessions took, a histogram.", func(f *family, t *totals) {
			for i := range t.SessionDurations {
				f.histogram(&t.SessionDurations[i].Took, t.SessionDurations[i].Listener)
			}
		}},
		{"weir_bytes_up_total", "listener", "Bytes from clients to servers.", ofListener(func(l *status.Listener) float64 { return float64(l.BytesUp) })},
		{"weir_bytes_down_total", "listener", "Bytes from servers to clients.", ofListener(func(l *status.Listener) float64 { return float64(l.BytesDown) })},
		{"weir_dial_seconds", "", "How long dials took that succeeded, a histogram.", func(f *family, t *totals) { f.histogram(&t.Dials) }},

		{"weir_cluster_level_in_use", "cluster, level", "1 for the level that sessions go to.", ofLevel(func(l *status.Level) float64 { return bit(l.InUse) })},
		{"weir_cluster_eligible_servers", "cluster, level", "Servers that may be given sessions.", ofLevel(func(l *status.Level) float64 { return float64(l.Eligible) })},
		{"weir_cluster_servers", "cluster, state", "Servers in a state.", serversByState},
		{"weir_cluster_fallback", "cluster", "1 while a level serves that is not the first one with servers.", ofCluster(func(c *status.Cluster) float64 { return bit(fallback(c)) })},
		{"weir_cluster_empty", "cluster", "1 while no server is in service on its own merits.", ofCluster(func(c *status.Cluster) float64 { return bit(c.Empty) })},
		{"weir_cluster_sessions", "cluster", "Sessions now, those of servers that have left included.", ofCluster(func(c *status.Cluster) float64 { return float64(c.Sessions) })},
		{"weir_cluster_queue", "cluster", "Sessions that wait for room.", ofCluster(func(c *status.Cluster) float64 { return float64(c.Queue) })},

		{"weir_server_state", "cluster, server, state", "1 for the state that the server is in.", func(f *family, t *totals) {
			for _, s := range t.servers {
				for _, state := range states() {
					f.bit(s.State == state, s.cluster, s.Name, state)
				}
			}
		}},
		{"weir_server_weight", "cluster, level, server", "The weight, by override or configuration and agent.", ofPlace(func(s *status.Server) float64 { return float64(s.Weight) })},
		{"weir_server_effective_weight", "cluster, level, server", "The weight after slow start and failed attempts.", ofPlace(func(s *status.Server) float64 { return s.EffectiveWeight })},
		{"weir_server_sessions", "cluster, server", "Sessions now.", ofServer(func(s *status.Server) float64 { return float64(s.Sessions) })},
		{"weir_server_sessions_total", "cluster, server", "Sessions connected.", ofServer(func(s *status.Server) float64 { return float64(s.SessionsTotal) })},
		{"weir_server_bytes_up_total", "cluster, server", "Bytes from clients.", ofServer(func(s *status.Server) float64 { return float64(s.BytesUp) })},
		{"weir_server_bytes_down_total", "cluster, server", "Bytes to clients.", ofServer(func(s *status.Server) float64 { return float64(s.BytesDown) })},
		{"weir_server_dials_total", "cluster, server", "Attempts to connect.", ofServer(func(s *status.Server) float64 { return float64(s.Dials) })},
		{"weir_server_dial_failures_total", "cluster, server", "Attempts that failed by the server's fault.", ofServer(func(s *status.Server) float64 { return float64(s.DialFailures) })},
		{"weir_server_retries_total", "cluster, server", "Attempts after a session's first.", ofServer(func(s *status.Server) float64 { return float64(s.Retries) })},

		{"weir_check_results_total", "cluster, server, check, result", "Results of checks: pass or fail.", func(f *family, t *totals) {
			for i := range t.Checks {
				k := &t.Checks[i]
				f.count(k.Passed, k.Cluster, k.Server, k.Check, "pass")
				f.count(k.Failed, k.Cluster, k.Server, k.Check, "fail")
			}
		}},
		{"weir_check_seconds", "cluster, server, check", "How long checks took, a histogram.", func(f *family, t *totals) {
			for i := range t.Checks {
				k := &t.Checks[i]
				f.histogram(&k.Took, k.Cluster, k.Server, k.Check)
			}
		}},

		{"weir_events_total", "", "Events told.", func(f *family, t *totals) { f.count(t.Events) }},
		{"weir_events_delivered_total", "hook", "Events that a hook took.", ofHook(func(h *status.Hook) uint64 { return h.Delivered })},
		{"weir_events_dropped_total", "hook", "Events that a hook missed: it failed, or was too slow.", ofHook(func(h *status.Hook) uint64 { return h.Dropped })},
		{"weir_events_queued", "hook", "Events that a hook has not been told of yet.", ofHook(func(h *status.Hook) uint64 { return uint64(h.Queued) })},
		{"weir_event_stream_dropped_total", "", "Events that a client of the stream was too slow for.", func(f *family, t *totals) { f.count(t.missed) }},
		{"weir_session_records_dropped_total", "", "Session records that were left out: the log was not taking them.", func(f *family, t *totals) { f.count(t.RecordsLost) }},

		{"weir_loop_busy_seconds_total", "loop", "Time that an event loop has worked.", ofLoop(func(l *status.Loop) float64 { return l.BusySeconds })},
		{"weir_loop_sessions", "loop", "Sessions of an event loop now.", ofLoop(func(l *status.Loop) float64 { return float64(l.Sessions) })},
		{"weir_pipes", "", "Pipes open for splicing.", func(f *family, t *totals) { f.value(float64(t.Pipes)) }},
		{"weir_descriptors", "", "Descriptors open.", func(f *family, t *totals) { f.value(float64(t.Descriptors)) }},
		{"weir_descriptors_limit", "", "Descriptors that may be open.", func(f *family, t *totals) { f.value(float64(t.MaxDescriptors)) }},
		{"weir_goroutines", "", "Goroutines: one for each event loop and for what is not sessions.", func(f *family, t *totals) { f.value(float64(t.Goroutines)) }},
	}
}

// fallback tells whether a cluster is served by another level than it would be if all were well.
func fallback(c *status.Cluster) bool {
	for i := range c.Levels {
		if len(c.Levels[i].Servers) > 0 {
			return c.Level != "" && c.Level != c.Levels[i].Name
		}
	}
	return false
}

func ofListener(v func(*status.Listener) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for _, l := range t.listeners {
			f.value(v(l), l.Name)
		}
	}
}

func ofCluster(v func(*status.Cluster) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for i := range t.Clusters {
			f.value(v(&t.Clusters[i]), t.Clusters[i].Name)
		}
	}
}

func ofLevel(v func(*status.Level) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for i := range t.Clusters {
			c := &t.Clusters[i]
			for j := range c.Levels {
				f.value(v(&c.Levels[j]), c.Name, c.Levels[j].Name)
			}
		}
	}
}

func ofServer(v func(*status.Server) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for _, s := range t.servers {
			f.value(v(s.Server), s.cluster, s.Name)
		}
	}
}

// ofPlace is for what a server has in each of its levels.
func ofPlace(v func(*status.Server) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for i := range t.Clusters {
			c := &t.Clusters[i]
			for j := range c.Levels {
				l := &c.Levels[j]
				for k := range l.Servers {
					f.value(v(&l.Servers[k]), c.Name, l.Name, l.Servers[k].Name)
				}
			}
		}
	}
}

func ofHook(v func(*status.Hook) uint64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for i := range t.Hooks {
			f.count(v(&t.Hooks[i]), t.Hooks[i].Name)
		}
	}
}

func ofLoop(v func(*status.Loop) float64) func(*family, *totals) {
	return func(f *family, t *totals) {
		for i := range t.Loops {
			f.value(v(&t.Loops[i]), strconv.Itoa(i))
		}
	}
}

func serversByState(f *family, t *totals) {
	of := map[[2]string]int{}
	for _, s := range t.servers {
		of[[2]string{s.cluster, s.State}]++
	}
	for i := range t.Clusters {
		for _, state := range states() {
			f.value(float64(of[[2]string{t.Clusters[i].Name, state}]), t.Clusters[i].Name, state)
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
