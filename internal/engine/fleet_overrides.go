package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"weir/balance"
	"weir/internal/fleet"
	"weir/internal/state"
	"weir/internal/status"
)

// writtenWithin is how long an answer to an operator waits for the store.
const writtenWithin = time.Second

// sharedOverride returns the override of a server as the records of the fleet have it.
func (e *Engine) sharedOverride(o balance.Override) fleet.Override {
	shared := fleet.Override{By: short(o.By), Reason: short(o.Note), At: time.Now().UTC()}
	if v := e.savedOverride(o, time.Now().UTC()); v != nil {
		v.By, v.Reason = "", ""
		shared.Value, _ = json.Marshal(v) // it has no value that JSON cannot have
	}
	return shared
}

// savedOverride returns an override as the state file has it, or nil if it is empty.
func (e *Engine) savedOverride(o balance.Override, at time.Time) *state.Override {
	if o.State == nil && o.Weight == nil && o.MaxSessions == nil {
		return nil
	}
	saved := &state.Override{Weight: o.Weight, MaxSessions: o.MaxSessions, Reason: short(o.Note), By: short(o.By), At: at}
	if o.State != nil {
		saved.State = o.State.String()
	}
	if o.Deadline != 0 {
		saved.Deadline = new(e.clock().wall(o.Deadline))
	}
	return saved
}

// overrideOf returns the override that a record of the fleet has for a server. It is an error if the record cannot be used.
func (e *Engine) overrideOf(said *fleet.Override, self string) (o balance.Override, err error) {
	if said == nil || said.Value == nil {
		return o, nil
	}
	var v state.Override
	if err := json.Unmarshal(said.Value, &v); err != nil {
		return o, err
	}
	if err := v.Check(); err != nil {
		return o, err
	}
	o = balance.Override{Weight: v.Weight, MaxSessions: v.MaxSessions, Note: said.Reason, By: said.By}
	if said.Node != self {
		o.By = cmp.Or(said.By, "operator") + " on " + said.Node
	}
	if v.State != "" {
		admin, _ := balance.ParseAdminState(v.State)
		o.State = &admin
	}
	if v.Deadline != nil {
		o.Deadline = e.clock().plane(*v.Deadline)
	}
	return o, nil
}

// share tells the fleet about an override, or marks the server as local, and returns what applies here. published.overrides
// is held.
func (e *Engine) share(m *fleet.Member, key string, o balance.Override, local bool) (balance.Override, error) {
	empty := o.State == nil && o.Weight == nil && o.MaxSessions == nil
	if local && !empty {
		m.SetLocal(key, true)
		return o, nil
	}
	if local {
		return e.overrideOf(m.SetLocal(key, false), e.fleetNode())
	}
	applies, err := m.Say(key, e.sharedOverride(o))
	if err != nil {
		return o, &status.RequestError{Text: err.Error()}
	}
	if !applies {
		return o, errHidden
	}
	return o, nil
}

// errHidden means that an override holds on other nodes only.
var errHidden = &status.RequestError{Kind: status.Conflict, Text: "a local override hides it here"}

func (e *Engine) fleetNode() string {
	e.fleet.mu.Lock()
	defer e.fleet.mu.Unlock()
	return e.fleet.spec.node
}

// Shared waits a second at most for the store and returns what became of the last override of a server in the fleet, or with
// server = "" of the runtime changes of the cluster: written, pending, conflict, or local for changes that cannot be shared;
// "" without a fleet.
func (e *Engine) Shared(cluster, server string) string {
	m := e.sharing()
	if m == nil {
		return ""
	}
	key := fleet.ServerKey(cluster, server)
	if server == "" {
		key = fleet.ClusterKey(cluster)
		if _, local := m.Current(key); local {
			return status.SharedLocal
		}
	}
	return e.waitShared(m, key)
}

func (e *Engine) waitShared(m *fleet.Member, key string) string {
	ctx, cancel := context.WithTimeout(e.ctx, writtenWithin)
	defer cancel()
	return string(m.Wait(ctx, key))
}

// applyFleet applies what the fleet says about objects. It is called by the member's goroutine.
func (e *Engine) applyFleet(keys []string) {
	m := e.sharing()
	if m == nil {
		return
	}
	self := e.fleetNode()
	for _, key := range keys {
		switch cluster, server, ok := fleet.ParseOverrideKey(key); {
		case !ok:
			e.applySharedNode(m, key)
		case server == "":
			e.fleet.clusters.add(key) // it may wait for look-ups
		default:
			e.applySharedServer(m, key, cluster, server, self)
		}
	}
}

// applySharedServer applies what the fleet says about a server, if there is one.
func (e *Engine) applySharedServer(m *fleet.Member, key, cluster, server, self string) {
	e.published.overrides.Lock()
	defer e.published.overrides.Unlock()
	if e.published.handedOver.Load() {
		return
	}
	said, local := m.Current(key)
	b, err := e.running.Load().findServer(cluster, server)
	if local || err != nil {
		return
	}
	o, err := e.overrideOf(said, self)
	if err != nil {
		e.log.Warn("fleet: override cannot be used", "cluster", cluster, "server", server, "error", err)
		return
	}
	if sameOverride(o, b.Override(server)) {
		return
	}
	e.installOverride(b, cluster, server, o)
}

// sameOverride compares what decides, and not who has said it.
func sameOverride(a, b balance.Override) bool {
	a.By, b.By = "", ""
	if d := a.Deadline - b.Deadline; -time.Second < d && d < time.Second { // clocks differ
		a.Deadline, b.Deadline = 0, 0
	}
	return reflect.DeepEqual(a, b)
}

// existingOverrides returns the overrides of all servers, by the key in the fleet.
func (e *Engine) existingOverrides() map[string]fleet.Override {
	list := map[string]fleet.Override{}
	running := e.running.Load()
	for name := range running.overlay {
		if text := running.overlay.Shared(name); text != nil && unshareable(text) == nil {
			list[fleet.ClusterKey(name)] = fleet.Override{At: time.Now().UTC(), Value: text}
		}
	}
	for c, s := range running.cfg.Servers() {
		if b := running.clusters[c.Name]; b != nil && b.Server(s.Name) != nil {
			if shared := e.sharedOverride(b.Override(s.Name)); shared.Value != nil {
				list[fleet.ServerKey(c.Name, s.Name)] = shared
			}
		}
	}
	return list
}

// reapplyFleet applies what the fleet says about servers and clusters that have come with a reload. Runtime changes of a cluster
// that the old configuration had are not applied again: the file may have superseded some.
func (e *Engine) reapplyFleet(m *fleet.Member, old *runningState) {
	keys := slices.DeleteFunc(m.Applied(), func(key string) bool {
		cluster, server, ok := fleet.ParseOverrideKey(key)
		return !ok || server == "" && old.cfg != nil && old.cfg.Cluster(cluster) != nil
	})
	e.work.Go(func() { e.applyFleet(keys) })
}

// FleetReset removes all overrides of the fleet. by names who asks.
func (e *Engine) FleetReset(ctx context.Context, by string) error {
	m := e.sharing()
	if m == nil {
		return noFleet()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := m.Reset(ctx, by); err != nil {
		return &status.RequestError{Kind: status.Unavailable, Text: fmt.Sprintf("fleet reset: %s", err)}
	}
	e.log.Info("fleet reset", "by", by)
	return nil
}

func noFleet() error {
	return &status.RequestError{Kind: status.NotFound, Text: "the configuration has no [fleet] that shares overrides"}
}
