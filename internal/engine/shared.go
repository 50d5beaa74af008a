package engine

import (
	"context"
	"slices"
	"time"

	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/state"
)

// SavedShared returns the shared configuration that was in force: in the old process of an upgrade, if there is one, else
// according to the state file at path. It returns nil if there was none.
func SavedShared(path string, old *OldProcess) *conf.Shared {
	var saved *state.Snapshot
	if p, err := decodeOldProcess(old); err == nil && p != nil && p.state != nil {
		saved = &p.saved
	} else if path != "" {
		saved = state.Peek(path)
	}
	if saved == nil || saved.Shared == nil {
		return nil
	}
	return &conf.Shared{Prefix: saved.Shared.Prefix, Revision: saved.Shared.Revision, Text: []byte(saved.Shared.Text)}
}

// RunningShared returns the shared configuration in force; nil = none.
func (e *Engine) RunningShared() *conf.Shared { return e.running.Load().file.Shared }

// FleetNode is a node that shares its configuration with a fleet.
type FleetNode struct {
	Node   string
	Prefix string
	TTL    time.Duration
	Store  fleet.Store
}

// shareConfig takes part in the roll-outs of a fleet until ctx ends, if the node shares its configuration.
func (e *Engine) shareConfig(ctx context.Context, spec fleetSpec, store fleet.Store) {
	if e.rollOuts != nil && slices.Contains(spec.conf.Share, "config") {
		e.rollOuts(ctx, FleetNode{Node: spec.node, Prefix: spec.conf.Prefix, TTL: spec.conf.TTL, Store: store})
	}
}
