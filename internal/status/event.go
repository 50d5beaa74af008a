package status

import "time"

// Event is one transition. Fields that do not apply are empty.
type Event struct {
	ID       uint64    `json:"id"` // consecutive from 1, across upgrades
	Time     time.Time `json:"time"`
	Event    string    `json:"event"` // server_up, server_down, server_state, level_change, cluster_empty, cluster_back, reload, reload_failed, reload_stale, upgrade, upgrade_failed, session_refused, rebalance_begin, rebalance_end
	Listener string    `json:"listener,omitempty"`
	Cluster  string    `json:"cluster"`
	Level    string    `json:"level"`
	Server   string    `json:"server"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Layer    string    `json:"layer"`
	Reason   string    `json:"reason"`
	By       string    `json:"by,omitempty"`    // who asked, for the layer override
	Count    uint64    `json:"count,omitempty"` // of session_refused: clients since the last such event of the listener and reason
}
