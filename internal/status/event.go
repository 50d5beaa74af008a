package status

import "time"

// Event is one transition. Fields that do not apply are empty.
type Event struct {
	ID       uint64    `json:"id"` // consecutive from 1, across upgrades
	Time     time.Time `json:"time"`
	Event    string    `json:"event"` // server_up, server_down, server_state, level_change, cluster_empty, cluster_back, reload, reload_failed, reload_stale, upgrade, upgrade_failed, primary_change, failover, session_refused, rebalance_begin, rebalance_end, rollout_done, rollout_failed, override_conflict, fleet_restored, fleet_connected, fleet_unreachable, limit_lost, node_gone, vip_added, vip_removed, node_drained, node_ready
	Listener string    `json:"listener,omitempty"`
	Address  string    `json:"address,omitempty"` // of a vip
	Cluster  string    `json:"cluster"`
	Level    string    `json:"level"`
	Server   string    `json:"server"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Layer    string    `json:"layer"`
	Reason   string    `json:"reason"`
	By       string    `json:"by,omitempty"` // who asked, for the layer override and for a node

	// Of primary_change and failover.
	Source         string   `json:"source,omitempty"` // type of the topology
	Epoch          uint64   `json:"epoch,omitempty"`
	GTID           string   `json:"gtid,omitempty"`
	DetectedMS     *float64 `json:"detected_ms,omitempty"`      // primary_change: from the last evidence for the old primary to the decision
	Closed         *int     `json:"closed,omitempty"`           // failover: sessions of servers that lost their role
	Held           *uint64  `json:"held,omitempty"`             // failover: sessions held since the decision
	Released       *uint64  `json:"released,omitempty"`         // failover: held sessions that got a server
	FirstSessionMS *float64 `json:"first_session_ms,omitempty"` // failover: from the decision to the first session; none = no session within 10 s

	Count uint64 `json:"count,omitempty"` // of session_refused: clients since the last such event of the listener and reason
}
