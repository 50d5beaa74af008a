package engine

import (
	"encoding/json"
	"time"

	"weir/balance"
	"weir/internal/state"
)

// transferredState is what the new process of an upgrade continues with, besides sockets and sessions.
type transferredState struct {
	ClockOrigin   time.Duration                         `json:"clock_origin"` // of the data plane's clock on CLOCK_MONOTONIC; other durations are on the data plane's clock
	LastSessionID uint64                                `json:"last_session_id"`
	Saved         json.RawMessage                       `json:"saved_state"`             // a state.Snapshot
	Addresses     addresses                             `json:"addresses"`               // of resolved host names
	Balance       map[string][]balance.HandoverState    `json:"balance"`                 // by cluster
	QueueNumbers  map[string]uint64                     `json:"queue_numbers,omitempty"` // the last ones, by cluster
	Rebalances    map[string]*balance.RebalanceHandover `json:"rebalances,omitempty"`    // by cluster
	Closings      []transferredClosing                  `json:"closings,omitempty"`
	Departures    []departure                           `json:"departures,omitempty"`
	FlowListeners map[string]flowListener               `json:"flow_listeners,omitempty"` // by identity; those that drain included
	Counters      counts                                `json:"counters"`
	Events        eventLogState                         `json:"events"`
}

// transferredState returns the state of this process. mu is held.
func (e *Engine) transferredState() (any, error) {
	saved, err := state.Encode(e.stateFor(true))
	running := e.running.Load()
	t := &transferredState{
		ClockOrigin: e.plane.ClockOrigin(), LastSessionID: e.plane.LastID(), Saved: saved, Addresses: addresses{},
		Balance: map[string][]balance.HandoverState{}, QueueNumbers: map[string]uint64{}, Rebalances: map[string]*balance.RebalanceHandover{}, Closings: e.closings.transfer(), Counters: e.counts(*e.published.listeners.Load()), Events: e.published.eventLog.state(),
		Departures: e.drains.departures(), FlowListeners: e.flowListeners(),
	}
	for name, c := range running.clusters {
		t.Balance[name] = c.HandoverStates(e.plane.Now())
		if n := c.LastQueueNumber(); n > 0 {
			t.QueueNumbers[name] = n
		}
		if h := c.HandoverRebalance(); h != nil {
			t.Rebalances[name] = h
		}
	}
	for name, addrs := range running.addresses {
		if len(addrs) > 0 { // the new process resolves the others itself
			t.Addresses[name] = addrs
		}
	}
	return t, err
}
