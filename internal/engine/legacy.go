package engine

// What one process knows and another goes on with: the state that a hand-over carries.

import (
	"encoding/json"
	"time"

	"weir/balance"
	"weir/internal/state"
)

// legacy is that state.
type legacy struct {
	Anchor time.Duration `json:"anchor"`  // where the data plane's clock starts; all other times are on that clock
	LastID uint64        `json:"last_id"` // sessions that begin in the new process have higher ones

	Memory json.RawMessage `json:"memory"` // of servers, and what was changed at run time: a state.Snapshot
	Known  addresses       `json:"known"`  // what names stand for
	Paces  paces           `json:"paces"`  // how servers are getting on
	Counts counts          `json:"counts"` // of everything
	Told   told            `json:"told"`   // the events
}

// paces are those of the servers of each cluster.
type paces map[string][]balance.HandoverState

// legacy is what this process knows. mu is held.
func (e *Engine) legacy() (legacy, error) {
	memory, err := state.Encode(e.Memory())
	running := e.running.Load()
	paces := paces{}
	for name, c := range running.clusters {
		paces[name] = c.HandoverStates(e.plane.Now())
	}
	known := addresses{}
	for name, addrs := range running.addresses {
		if len(addrs) > 0 { // others are asked for again
			known[name] = addrs
		}
	}
	return legacy{
		Anchor: e.plane.Anchor(), LastID: e.plane.LastID(), Memory: memory, Known: known, Paces: paces,
		Counts: e.counts(*e.published.listeners.Load()), Told: e.published.eventLog.told(),
	}, err
}

// inherit takes up what another process knew. mu is held, and nothing is at work yet.
func (e *Engine) inherit(r *reload) {
	if e.oldProcess.state != nil {
		e.restored = &e.oldProcess.memory // of the last moment
	}
	r.restoreState()
	if known := e.oldProcess.state; known != nil {
		for name, c := range r.created {
			c.RestoreHandover(known.Paces[name], e.plane.Now())
		}
	}
}
