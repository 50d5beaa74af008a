package admin

// Metrics for Prometheus. README.md has the table.

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"weir/internal/status"
)

// snapshot is what the metrics of one scrape show.
type snapshot struct {
	status.Metrics
	missedEvents uint64 // that clients of the event stream did not take
	refused      uint64 // requests to the API
}

// metrics answers with the metrics in the text format of Prometheus.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", expositionType)
	if r.Method == http.MethodHead {
		return
	}
	_ = writeMetrics(w, &snapshot{s.weir.Metrics(), s.missed.Load(), s.refusals.total.Load()}) // an error means that the client has gone
}

// serverStates returns the states of a server. weir_server_state has one gauge for each.
func serverStates() []string {
	return []string{"up", "standby", "probation", "failing", "full", "down", "unresolved", "drain", "maint", "unstable"}
}

// metricType is the type of a metric in the exposition format.
type metricType string

const (
	counter       metricType = "counter"
	gauge         metricType = "gauge"
	histogramType metricType = "histogram"
)

// metric is a row of the table in README.md and the function that writes its samples.
type metric struct {
	name   string
	kind   metricType
	labels string // separated by ", "
	help   string
	write  func(f *family, s *snapshot)
}

// onFleet writes samples if there is a fleet.
func onFleet(write func(f *family, s *snapshot)) func(f *family, s *snapshot) {
	return func(f *family, s *snapshot) {
		if s.Fleet != nil {
			write(f, s)
		}
	}
}

// onPromotion writes samples where sessions may be promoted.
func onPromotion(write func(f *family, p *status.Promotion)) func(f *family, s *snapshot) {
	return func(f *family, s *snapshot) {
		if s.Promotion != nil {
			write(f, s.Promotion)
		}
	}
}

// eachLimit writes a sample for each limit that is shared.
func eachLimit(value func(l *status.FleetLimit) int) func(f *family, s *snapshot) {
	return func(f *family, s *snapshot) {
		for i := range s.FleetLimits {
			l := &s.FleetLimits[i]
			f.value(float64(value(l)), l.Kind, l.Of())
		}
	}
}

func metricTable() []metric {
	return []metric{
		{"weir_build_info", gauge, "version, go_version", "Always 1. The versions of weir and of the Go that built it are labels.", func(f *family, s *snapshot) {
			f.value(1, s.Version, runtime.Version())
		}},
		{"weir_ready", gauge, "", "1 while clients are served, 0 while weir stops.", func(f *family, s *snapshot) { f.bool(s.Ready) }},
		{"weir_node_drained", gauge, "", "1 while an operator has drained the node, else 0.", func(f *family, s *snapshot) { f.bool(s.Node.State == status.NodeDrain) }},
		{"weir_vip_up", gauge, "address, interface", "1 while the interface has the address of a vip, else 0.", func(f *family, s *snapshot) {
			for _, v := range s.VIPs {
				f.bool(v.State == status.VIPUp, v.Address, v.Interface)
			}
		}},
		{"weir_config_loaded_timestamp_seconds", gauge, "", "Unix time when the running configuration was loaded.", func(f *family, s *snapshot) { f.value(unixSeconds(s.Config.LoadedAt)) }},
		{"weir_config_last_reload_successful", gauge, "", "0 if the last reload failed, else 1.", func(f *family, s *snapshot) { f.bool(s.Config.LastError == "") }},
		{"weir_reloads_total", counter, "result", "Reloads, by result: success or failure.", func(f *family, s *snapshot) {
			f.count(s.Config.Reloads-s.Config.Failed, "success")
			f.count(s.Config.Failed, "failure")
		}},
		{"weir_config_revision", gauge, "", "Revision of the shared configuration that this node runs; 0 = its file. Absent unless it shares one.", func(f *family, s *snapshot) {
			if c := s.SharedConfig; c != nil {
				f.value(float64(c.Revision))
			}
		}},
		{"weir_config_revision_applied", gauge, "", "0 if this node cannot run the revision in force, else 1. Absent unless it shares a configuration.", func(f *family, s *snapshot) {
			if c := s.SharedConfig; c != nil {
				f.bool(c.Error == "")
			}
		}},
		{"weir_rollout_active", gauge, "", "1 during a roll-out of a shared configuration, else 0. Absent unless this node shares one.", func(f *family, s *snapshot) {
			if c := s.SharedConfig; c != nil {
				f.bool(c.Rollout != nil && c.Rollout.Active)
			}
		}},
		{"weir_state_file_writable", gauge, "", "0 if the state file cannot be written, else 1. Absent without a state file.", func(f *family, s *snapshot) {
			if s.StateFile != nil {
				f.bool(s.StateFile.LastError == "")
			}
		}},
		{"weir_fleet_connected", gauge, "", "1 while the store of the fleet can be used, else 0. Absent without [fleet], as all metrics of the fleet.", onFleet(func(f *family, s *snapshot) { f.bool(s.Fleet.Connected) })},
		{"weir_fleet_nodes", gauge, "", "Live nodes of the fleet, with this one.", onFleet(func(f *family, s *snapshot) { f.value(float64(s.Fleet.Nodes)) })},
		{"weir_fleet_pending_overrides", gauge, "", "Overrides that are not in the store yet.", onFleet(func(f *family, s *snapshot) { f.value(float64(s.Fleet.Pending)) })},
		{"weir_fleet_ignored_records", gauge, "", "Records of the store that cannot be used.", onFleet(func(f *family, s *snapshot) { f.value(float64(s.Fleet.Ignored)) })},
		{"weir_fleet_conflicts_total", counter, "", "Pending overrides that lost against one of another node.", onFleet(func(f *family, s *snapshot) { f.count(s.FleetConflicts) })},
		{"weir_fleet_restores_total", counter, "", "Times that the store had lost its data and this node wrote them again.", onFleet(func(f *family, s *snapshot) { f.count(s.FleetRestores) })},

		{"weir_fleet_limit", gauge, "kind, of", "Limits that the nodes of the fleet share, by kind (max_sessions, max_session_rate, max_sessions_per_source) and LISTENER or CLUSTER/SERVER.", eachLimit(func(l *status.FleetLimit) int { return l.Limit })},
		{"weir_fleet_limit_part", gauge, "kind, of", "Part of the limit that this node may use.", eachLimit(func(l *status.FleetLimit) int { return l.Part })},
		{"weir_fleet_limit_reserved", gauge, "kind, of", "Parts of the limit that are reserved for nodes that have left.", eachLimit(func(l *status.FleetLimit) int {
			sum := 0
			for _, n := range l.Reserved {
				sum += n
			}
			return sum
		})},

		{"weir_sessions", gauge, "listener", "Current sessions.", perListener(func(l *status.ListenerMetrics) float64 { return float64(l.Sessions) })},
		{"weir_clients_waiting", gauge, "listener", "Clients in the kernel's queue because a limit is reached (when_full).", perListener(func(l *status.ListenerMetrics) float64 { return float64(l.Waiting) })},
		{"weir_sessions_limit", gauge, "", "Limit on the sessions of the process.", func(f *family, s *snapshot) { f.value(float64(s.MaxSessions)) }},
		{"weir_sessions_total", counter, "listener", "Sessions started.", perListener(func(l *status.ListenerMetrics) float64 { return float64(l.SessionsTotal) })},
		{"weir_route_sessions_total", counter, "listener, route", "Sessions that a route has sent to its cluster. Absent for listeners without routes.", eachListener(func(f *family, l *status.ListenerMetrics) {
			for _, r := range l.Routes {
				f.count(r.SessionsTotal, l.Name, r.Name)
			}
		})},
		{"weir_sessions_ended_total", counter, "listener, phase, reason", "Sessions ended, by phase and reason.", eachListener(func(f *family, l *status.ListenerMetrics) {
			for _, e := range l.Ended {
				f.count(e.Count, l.Name, e.Phase, e.Reason)
			}
		})},
		{"weir_sessions_refused_total", counter, "listener, reason", "Clients rejected before a session began, by reason.", perReason(func(l *status.ListenerMetrics) []status.ReasonCount { return l.Rejected })},
		{"weir_datagrams_dropped_total", counter, "listener, reason", "Datagrams of UDP listeners that were not forwarded, by reason.", perReason(func(l *status.ListenerMetrics) []status.ReasonCount { return l.Dropped })},
		{"weir_session_duration_seconds", histogramType, "listener", "Duration of ended sessions.", eachListener(func(f *family, l *status.ListenerMetrics) { f.histogram(&l.Durations, l.Name) })},
		{"weir_sent_to_servers_bytes_total", counter, "listener", "Bytes forwarded from clients to servers.", perListener(func(l *status.ListenerMetrics) float64 { return float64(l.BytesUp) })},
		{"weir_sent_to_clients_bytes_total", counter, "listener", "Bytes forwarded from servers to clients.", perListener(func(l *status.ListenerMetrics) float64 { return float64(l.BytesDown) })},
		{"weir_sent_to_servers_datagrams_total", counter, "listener", "Datagrams forwarded from clients to servers. Absent for TCP listeners.", perDatagrams(func(d *status.DatagramCounts) uint64 { return d.Up })},
		{"weir_sent_to_clients_datagrams_total", counter, "listener", "Datagrams forwarded from servers to clients. Absent for TCP listeners.", perDatagrams(func(d *status.DatagramCounts) uint64 { return d.Down })},
		{"weir_promoted_sessions", gauge, "", "Sessions whose packets the kernel forwards. Absent without runtime.promote_interfaces.", onPromotion(func(f *family, p *status.Promotion) { f.value(float64(p.Sessions)) })},
		{"weir_promotions_total", counter, "result, reason", "Sessions that the kernel has begun to forward (promoted), that weir relays although promote is auto (refused), or that the kernel forwards no longer (demoted), by reason. Absent without runtime.promote_interfaces.", onPromotion(func(f *family, p *status.Promotion) {
			f.count(p.Promoted, "promoted", "busy")
			for _, r := range p.Refused {
				f.count(r.Count, "refused", r.Reason)
			}
			for _, r := range p.Demoted {
				f.count(r.Count, "demoted", r.Reason)
			}
		})},
		{"weir_dial_duration_seconds", histogramType, "", "Duration of successful dials.", func(f *family, s *snapshot) { f.histogram(&s.DialDurations) }},

		{"weir_cluster_level_in_use", gauge, "cluster, level", "1 for the level in use, else 0.", perLevel(func(l *status.LevelMetrics) float64 { return boolValue(l.InUse) })},
		{"weir_cluster_eligible_servers", gauge, "cluster, level", "Eligible servers of a level.", perLevel(func(l *status.LevelMetrics) float64 { return float64(l.Eligible) })},
		{"weir_cluster_servers", gauge, "cluster, state", "Servers, by state.", eachCluster(func(f *family, c *status.ClusterMetrics) {
			count := map[string]int{}
			for i := range c.Servers {
				count[c.Servers[i].State]++
			}
			for _, state := range serverStates() {
				f.value(float64(count[state]), c.Name, state)
			}
		})},
		{"weir_cluster_fallback", gauge, "cluster", "1 while a better level than the one in use is out of use, for a reason other than standby servers and operators, else 0.", perCluster(func(c *status.ClusterMetrics) float64 { return boolValue(fallback(c)) })},
		{"weir_cluster_empty", gauge, "cluster", "1 while no server is healthy, else 0.", perCluster(func(c *status.ClusterMetrics) float64 { return boolValue(c.Empty) })},
		{"weir_cluster_sessions", gauge, "cluster", "Current sessions, including those of removed servers.", perCluster(func(c *status.ClusterMetrics) float64 { return float64(c.Sessions) })},
		{"weir_cluster_queue", gauge, "cluster", "Sessions in the queue.", perCluster(func(c *status.ClusterMetrics) float64 { return float64(c.Queue) })},
		{"weir_cluster_held_sessions", gauge, "cluster", "Sessions that wait because no server can serve them (hold_timeout).", perCluster(func(c *status.ClusterMetrics) float64 { return float64(c.HeldSessions) })},
		{"weir_sessions_held_total", counter, "cluster", "Sessions that have been held.", perCluster(func(c *status.ClusterMetrics) float64 { return float64(c.HeldTotal) })},
		{"weir_sessions_held_ended_total", counter, "cluster, outcome", "Held sessions that wait no longer, by outcome: connected to a server, hold_timeout, client_reset or other.", eachCluster(func(f *family, c *status.ClusterMetrics) {
			for _, o := range c.HoldsEnded {
				f.count(o.Count, c.Name, o.Reason)
			}
		})},

		{"weir_sessions_closing", gauge, "cluster", "Sessions that wait to be closed: on_down, removed servers, drains with a deadline, failback, rebalancing, age.", perCluster(func(c *status.ClusterMetrics) float64 { return float64(c.Closing) })},
		{"weir_sessions_closed_total", counter, "cluster, cause, kind", "Sessions closed for these causes, at a quiet moment (quiet) or by a reset (forced).", eachCluster(func(f *family, c *status.ClusterMetrics) {
			for _, closed := range c.Closed {
				f.count(closed.Count, c.Name, closed.Cause, closed.Kind)
			}
		})},

		{"weir_topology_stale", gauge, "cluster", "1 while the source of a topology does not confirm its last decision, else 0.", perTopology(func(t *status.TopologyMetrics) float64 { return boolValue(t.Stale) })},
		{"weir_topology_primary", gauge, "cluster", "1 while the topology names a primary, else 0.", perTopology(func(t *status.TopologyMetrics) float64 { return boolValue(t.Primary) })},
		{"weir_topology_epoch", gauge, "cluster", "Epoch of the last decision; 0 for sources without epochs.", perTopology(func(t *status.TopologyMetrics) float64 { return float64(t.Epoch) })},
		{"weir_topology_changes_total", counter, "cluster", "Changes of the primary.", perTopology(func(t *status.TopologyMetrics) float64 { return float64(t.Changes) })},
		{"weir_sessions_on_non_primary", gauge, "cluster", "Current sessions on servers that have lost the role that the cluster wants.", perTopology(func(t *status.TopologyMetrics) float64 { return float64(t.WithoutRole) })},

		{"weir_discovery_servers", gauge, "cluster, level, type", "Servers that the answer of the provider in force lists and weir can use.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.Servers) })},
		{"weir_discovery_failing", gauge, "cluster, level, type", "1 while the provider fails and its last servers stay, else 0.", perProvider(func(d *status.DiscoveryMetrics) float64 { return boolValue(d.Failing) })},
		{"weir_discovery_last_answer_timestamp_seconds", gauge, "cluster, level, type", "Time of the last answer of the provider; 0 = none.", perProvider(func(d *status.DiscoveryMetrics) float64 {
			if d.AnsweredAt.IsZero() {
				return 0
			}
			return unixSeconds(d.AnsweredAt)
		})},
		{"weir_discovery_bad_entries", gauge, "cluster, level, type", "Entries of the last answer that cannot be used.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.BadEntries) })},
		{"weir_discovery_dropped_entries", gauge, "cluster, level, type", "Entries of the last answer beyond the limit of servers.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.Dropped) })},
		{"weir_discovery_questions_total", counter, "cluster, level, type", "Questions to the provider.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.Questions) })},
		{"weir_discovery_failures_total", counter, "cluster, level, type", "Questions to the provider without a usable answer.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.Failures) })},
		{"weir_discovery_changes_total", counter, "cluster, level, type", "Changes of the servers that the provider lists.", perProvider(func(d *status.DiscoveryMetrics) float64 { return float64(d.Changes) })},

		{"weir_server_role", gauge, "cluster, server, role", "1 for the role of the server according to the topology, 0 for every other role. Absent without a topology.", eachServer(func(f *family, cluster string, s *status.ServerMetrics) {
			for _, role := range []string{"primary", "replica", "other", "unknown"} {
				if s.Role != "" {
					f.bool(s.Role == role, cluster, s.Name, role)
				}
			}
		})},
		{"weir_server_state", gauge, "cluster, server, state", "1 for the state of the server, 0 for every other state.", eachServer(func(f *family, cluster string, s *status.ServerMetrics) {
			for _, state := range serverStates() {
				f.bool(s.State == state, cluster, s.Name, state)
			}
		})},
		{"weir_server_weight", gauge, "cluster, level, server", "Weight: override, else configured weight times the agent's percentage.", perWeight(func(w *status.ServerWeight) float64 { return float64(w.Weight) })},
		{"weir_server_effective_weight", gauge, "cluster, level, server", "Weight after slow start and failed attempts.", perWeight(func(w *status.ServerWeight) float64 { return w.Effective })},
		{"weir_server_sessions", gauge, "cluster, server", "Current sessions.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.Sessions) })},
		{"weir_server_sessions_total", counter, "cluster, server", "Sessions connected.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.SessionsTotal) })},
		{"weir_server_sent_bytes_total", counter, "cluster, server", "Bytes sent to the server.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.BytesUp) })},
		{"weir_server_received_bytes_total", counter, "cluster, server", "Bytes received from the server.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.BytesDown) })},
		{"weir_server_dials_total", counter, "cluster, server", "Dial attempts.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.Dials) })},
		{"weir_server_dial_failures_total", counter, "cluster, server", "Dial attempts that the server refused, did not answer in time, or that found it unreachable.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.DialFailures) })},
		{"weir_server_retries_total", counter, "cluster, server", "Dial attempts after the first of a session.", perServer(func(s *status.ServerMetrics) float64 { return float64(s.Retries) })},

		{"weir_check_results_total", counter, "cluster, server, check, result", "Check results: pass or fail.", eachCheck(func(f *family, c *status.CheckMetrics) {
			f.count(c.Passed, c.Cluster, c.Server, c.Check, "pass")
			f.count(c.Failed, c.Cluster, c.Server, c.Check, "fail")
		})},
		{"weir_check_duration_seconds", histogramType, "cluster, server, check", "Duration of checks.", eachCheck(func(f *family, c *status.CheckMetrics) { f.histogram(&c.Durations, c.Cluster, c.Server, c.Check) })},

		{"weir_check_skipped_total", counter, "reason", "Checks that could not run for a local reason, by reason.", func(f *family, s *snapshot) {
			for _, r := range s.ChecksSkipped {
				f.count(r.Count, r.Reason)
			}
		}},

		{"weir_events_total", counter, "", "Events.", func(f *family, s *snapshot) { f.count(s.Events) }},
		{"weir_events_delivered_total", counter, "hook", "Events delivered to a hook.", perHook(func(h *status.Hook) uint64 { return h.Delivered })},
		{"weir_events_dropped_total", counter, "hook", "Events that a hook missed, because it failed or was too slow.", perHook(func(h *status.Hook) uint64 { return h.Dropped })},
		{"weir_events_queued", gauge, "hook", "Events that wait for delivery to a hook.", perHook(func(h *status.Hook) uint64 { return uint64(h.Queued) })},
		{"weir_api_refused_total", counter, "", "Requests to the API that were refused: no valid token, a change on a read-only address, another origin.", func(f *family, s *snapshot) { f.count(s.refused) }},
		{"weir_event_stream_dropped_total", counter, "", "Events that slow clients of the event stream missed.", func(f *family, s *snapshot) { f.count(s.missedEvents) }},
		{"weir_session_records_dropped_total", counter, "", "Session records that the log did not take.", func(f *family, s *snapshot) { f.count(s.RecordsDropped) }},

		{"weir_loop_busy_seconds_total", counter, "loop", "Time that an event loop was busy.", perLoop(func(l *status.LoopMetrics) float64 { return l.BusySeconds })},
		{"weir_loop_sessions", gauge, "loop", "Current sessions of an event loop.", perLoop(func(l *status.LoopMetrics) float64 { return float64(l.Sessions) })},
		{"weir_pipes", gauge, "", "Open pipes for splicing.", func(f *family, s *snapshot) { f.value(float64(s.Pipes)) }},

		{"process_start_time_seconds", gauge, "", "Unix time when the process started.", func(f *family, s *snapshot) { f.value(unixSeconds(s.StartedAt)) }},
		{"process_open_fds", gauge, "", "Open file descriptors.", func(f *family, s *snapshot) { f.value(float64(s.OpenDescriptors)) }},
		{"process_max_fds", gauge, "", "Limit on open file descriptors.", func(f *family, s *snapshot) { f.value(float64(s.MaxDescriptors)) }},
		{"go_goroutines", gauge, "", "Goroutines. Their number does not depend on the number of sessions.", func(f *family, s *snapshot) { f.value(float64(s.Goroutines)) }},
	}
}

// fallback reports whether a better level than the one in use is out of use, for a reason other than standby servers and
// operators.
func fallback(c *status.ClusterMetrics) bool {
	for i := range c.Levels {
		switch l := &c.Levels[i]; {
		case l.InUse:
			return c.Held
		case l.Impaired && c.Level != "":
			return true
		}
	}
	return c.Held
}

// each writes the samples of each element of a list.
func each[T any](list func(*snapshot) []T, write func(f *family, v *T)) func(*family, *snapshot) {
	return func(f *family, s *snapshot) {
		all := list(s)
		for i := range all {
			write(f, &all[i])
		}
	}
}

func eachListener(write func(*family, *status.ListenerMetrics)) func(*family, *snapshot) {
	return each(func(s *snapshot) []status.ListenerMetrics { return s.Listeners }, write)
}

func eachCluster(write func(*family, *status.ClusterMetrics)) func(*family, *snapshot) {
	return each(func(s *snapshot) []status.ClusterMetrics { return s.Clusters }, write)
}

func eachCheck(write func(*family, *status.CheckMetrics)) func(*family, *snapshot) {
	return each(func(s *snapshot) []status.CheckMetrics { return s.Checks }, write)
}

func eachServer(write func(f *family, cluster string, s *status.ServerMetrics)) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) {
		for i := range c.Servers {
			write(f, c.Name, &c.Servers[i])
		}
	})
}

func perListener(value func(*status.ListenerMetrics) float64) func(*family, *snapshot) {
	return eachListener(func(f *family, l *status.ListenerMetrics) { f.value(value(l), l.Name) })
}

// perDatagrams is for values of UDP listeners.
func perDatagrams(value func(*status.DatagramCounts) uint64) func(*family, *snapshot) {
	return eachListener(func(f *family, l *status.ListenerMetrics) {
		if l.Datagrams != nil {
			f.count(value(l.Datagrams), l.Name)
		}
	})
}

func perReason(counts func(*status.ListenerMetrics) []status.ReasonCount) func(*family, *snapshot) {
	return eachListener(func(f *family, l *status.ListenerMetrics) {
		for _, c := range counts(l) {
			f.count(c.Count, l.Name, c.Reason)
		}
	})
}

func perCluster(value func(*status.ClusterMetrics) float64) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) { f.value(value(c), c.Name) })
}

// perTopology is for values of clusters with a topology.
func perTopology(value func(*status.TopologyMetrics) float64) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) {
		if c.Topology != nil {
			f.value(value(c.Topology), c.Name)
		}
	})
}

// perProvider is for values of levels with a provider.
func perProvider(value func(*status.DiscoveryMetrics) float64) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) {
		for i := range c.Discovery {
			f.value(value(&c.Discovery[i]), c.Name, c.Discovery[i].Level, c.Discovery[i].Type)
		}
	})
}

func perLevel(value func(*status.LevelMetrics) float64) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) {
		for i := range c.Levels {
			f.value(value(&c.Levels[i]), c.Name, c.Levels[i].Name)
		}
	})
}

func perServer(value func(*status.ServerMetrics) float64) func(*family, *snapshot) {
	return eachServer(func(f *family, cluster string, s *status.ServerMetrics) { f.value(value(s), cluster, s.Name) })
}

// perWeight is for values that a server has in each of its levels.
func perWeight(value func(*status.ServerWeight) float64) func(*family, *snapshot) {
	return eachCluster(func(f *family, c *status.ClusterMetrics) {
		for _, l := range c.Levels {
			for i := range l.Weights {
				f.value(value(&l.Weights[i]), c.Name, l.Name, l.Weights[i].Server)
			}
		}
	})
}

func perHook(value func(*status.Hook) uint64) func(*family, *snapshot) {
	return each(func(s *snapshot) []status.Hook { return s.Hooks }, func(f *family, h *status.Hook) { f.count(value(h), h.Name) })
}

func perLoop(value func(*status.LoopMetrics) float64) func(*family, *snapshot) {
	return func(f *family, s *snapshot) {
		for i := range s.Loops {
			f.value(value(&s.Loops[i]), strconv.Itoa(i))
		}
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
