package engine

// Limits that the nodes of a fleet share: what this node uses of them, and the parts that it may use.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/fleet/limits"
	"weir/internal/printable"
	"weir/internal/status"
	"weir/l4"
)

// fleetLimits are the limits that are shared.
type fleetLimits struct {
	keeper atomic.Pointer[limits.Keeper] // nil = limits are not shared
	shared atomic.Pointer[sharedLimits]

	applying sync.Mutex // held while parts are put in force

	mu    sync.Mutex // guards saved
	saved json.RawMessage
}

// sharedLimits is where the limits of a configuration are. It is immutable.
type sharedLimits struct {
	clusters  map[string]*balance.Cluster // those that have left and still have sessions included
	listeners []limitedListener
}

type limitedListener struct {
	name            string
	state           *l4.AdmissionState
	rate, perSource int
	open            []*l4.Listener
}

// sharesLimits reports whether the nodes of the fleet share limits.
func sharesLimits(f *conf.Fleet) bool { return f != nil && slices.Contains(f.Share, fleet.ShareLimits) }

// divideAdmission makes the listeners of a configuration use nothing of limits that are shared from now on, until the fleet
// says more, and all of those that are not.
func (r *reload) divideAdmission() {
	for i := range r.next.cfg.Listeners {
		ln := &r.next.cfg.Listeners[i]
		if len(ln.Addresses) == 0 {
			continue
		}
		state := r.admission[listenerID(ln.Protocol, ln.Addresses[0])]
		rate, perSource := state.Parts()
		shared := sharesLimits(r.next.cfg.Fleet)
		state.SetParts(divided(rate, shared && ln.MaxSessionRate > 0), divided(perSource, shared && ln.MaxSessionsPerSource > 0))
	}
}

// divided returns the part of a limit: the one before if there is one.
func divided(part int, shared bool) int {
	if !shared {
		return l4.AllOf
	}
	return max(0, part)
}

// publishLimits tells the keeper about the limits of the configuration. It comes before the listeners accept clients.
func (r *reload) publishLimits() {
	s := &sharedLimits{clusters: maps.Clone(r.e.retiredClusters)}
	if s.clusters == nil {
		s.clusters = map[string]*balance.Cluster{}
	}
	maps.Copy(s.clusters, r.next.clusters)
	for i := range r.next.cfg.Listeners {
		ln := &r.next.cfg.Listeners[i]
		if len(ln.Addresses) == 0 || ln.MaxSessionRate == 0 && ln.MaxSessionsPerSource == 0 {
			continue
		}
		l := limitedListener{name: ln.Name, state: r.admission[listenerID(ln.Protocol, ln.Addresses[0])], rate: ln.MaxSessionRate, perSource: ln.MaxSessionsPerSource}
		for _, at := range ln.Addresses {
			id := listenerID(ln.Protocol, at)
			if open := cmp.Or(r.e.listeners[id], r.opened[id]); open != nil {
				l.open = append(l.open, open)
			}
		}
		s.listeners = append(s.listeners, l)
	}
	r.e.limits.shared.Store(s)
	if r.old.cfg == nil && sharesLimits(r.next.cfg.Fleet) { // the new process of an upgrade serves at once
		r.e.newLimitKeeper(r.fleet, nil, nil, r.e.applyLimits).ApplySaved()
	}
}

// startLimits returns the keeper of a member that shares limits, which is in force from now on.
func (e *Engine) startLimits(spec fleetSpec, store fleet.Store, m *fleet.Member) *limits.Keeper {
	var k *limits.Keeper
	k = e.newLimitKeeper(spec, store, m, func(allowed map[string]limits.Allowed, deadline time.Duration) {
		e.limits.applying.Lock()
		defer e.limits.applying.Unlock()
		if e.limits.keeper.Load() == k {
			e.applyLimits(allowed, deadline)
		}
	})
	e.limits.keeper.Store(k)
	return k
}

func (e *Engine) newLimitKeeper(spec fleetSpec, store fleet.Store, m *fleet.Member, apply func(map[string]limits.Allowed, time.Duration)) *limits.Keeper {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it nothing that expires is restored
	e.limits.mu.Lock()
	saved := e.limits.saved
	e.limits.mu.Unlock()
	counted := map[string]countedListener{}
	return limits.NewKeeper(limits.KeeperOptions{
		Node: spec.node, Prefix: spec.conf.Prefix, Reserve: spec.conf.LimitReserve, Store: store, Boot: strings.TrimSpace(string(boot)), Saved: saved, Log: e.log,
		Clock:   func() time.Duration { return e.plane.Now() + e.plane.ClockOrigin() },
		Claimed: func() bool { return m.Brief().Connected },
		Usage:   func() map[string]limits.Usage { return e.limitUsage(counted) },
		Apply:   apply, Changed: e.limitEvent,
	})
}

// stopLimits freezes the keeper, which is about to end, and keeps what it has.
func (e *Engine) stopLimits() {
	if k := e.limits.keeper.Swap(nil); k != nil {
		k.Freeze(true)
		e.limits.mu.Lock()
		e.limits.saved = k.Save()
		e.limits.mu.Unlock()
		e.limits.applying.Lock() // wait for the last parts
		defer e.limits.applying.Unlock()
	}
}

// freezeLimits stops, or continues, the division of limits during an upgrade.
func (e *Engine) freezeLimits(frozen bool) {
	if k := e.limits.keeper.Load(); k != nil {
		k.Freeze(frozen)
	}
}

// limitState returns what a later process continues with; nil = nothing.
func (e *Engine) limitState() json.RawMessage {
	if k := e.limits.keeper.Load(); k != nil {
		return k.Save()
	}
	return nil
}

// applyLimits puts parts in force.
func (e *Engine) applyLimits(allowed map[string]limits.Allowed, deadline time.Duration) {
	s := e.limits.shared.Load()
	if s == nil {
		return
	}
	if deadline > 0 {
		deadline = max(1, deadline-e.plane.ClockOrigin())
	}
	for name, b := range s.clusters {
		parts := map[string]int{}
		var over []string
		for _, server := range b.Names() {
			if a, ok := allowed[limits.ServerKey(name, server)]; ok {
				if parts[server] = a.Part; a.End {
					over = append(over, server)
				}
			}
		}
		b.SetParts(parts, deadline, e.plane.Now())
		for _, server := range over {
			e.endLost(name, b, server, parts[server])
		}
	}
	for i := range s.listeners {
		l := &s.listeners[i]
		part := func(k limits.Kind, limit int) int {
			if limit == 0 {
				return l4.AllOf
			}
			return allowed[limits.ListenerKey(k, l.name)].Part
		}
		l.state.SetParts(part(limits.Rate, l.rate), part(limits.PerSource, l.perSource))
	}
}

// endLost ends the sessions of a server above a part that has become smaller, not by this node.
func (e *Engine) endLost(cluster string, b *balance.Cluster, server string, part int) {
	s := b.Server(server)
	if s == nil {
		return
	}
	var over atomic.Int64
	over.Store(int64(s.Sessions() - part))
	cut := 0
	e.published.withLoops(func() {
		cut = e.plane.Cut(func(id l4.SessionIdentity) bool { return id.Server == s && over.Add(-1) >= 0 }, l4.ReasonCutLimit)
	})
	if cut == 0 {
		return
	}
	e.putFleetEvent(status.Event{Time: time.Now(), Event: eventLimitLost, Cluster: cluster, Server: server, Count: uint64(cut), Reason: "the part of max_sessions is lost"})
}

const (
	eventLimitLost = "limit_lost"
	eventNodeGone  = "node_gone"
)

// limitEvent publishes that the parts of a node pass to others.
func (e *Engine) limitEvent(ev limits.Event) {
	node := printable.Clip(ev.Node, printable.MaxQuote)
	e.putFleetEvent(status.Event{Time: time.Now(), Event: eventNodeGone, Reason: fmt.Sprintf("node %s is %s: its parts of limits pass to others", node, ev.Why)})
}

func (e *Engine) putFleetEvent(ev status.Event) {
	e.log.Warn(ev.Event, "event", ev.Event, "cluster", ev.Cluster, "server", ev.Server, "count", ev.Count, "reason", ev.Reason)
	if !e.published.handedOver.Load() {
		e.published.eventLog.put(ev)
	}
}

// FleetForget declares a node gone, so that its parts of limits pass to others. by names who asks.
func (e *Engine) FleetForget(ctx context.Context, by, node string) error {
	k := e.limits.keeper.Load()
	if k == nil {
		return &status.RequestError{Kind: status.NotFound, Text: "the configuration has no [fleet] that shares limits"}
	}
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	switch err := k.Forget(ctx, node); {
	case errors.Is(err, limits.ErrUnknownNode):
		return &status.RequestError{Kind: status.NotFound, Field: "node", Text: fmt.Sprintf("node %s %s, or it is this one", printable.Clip(node, printable.MaxQuote), err)}
	case err != nil:
		return &status.RequestError{Kind: status.Unavailable, Text: fmt.Sprintf("fleet forget: %s", err)}
	}
	e.log.Info("fleet node forgotten", "node", printable.Clip(node, printable.MaxQuote), "by", by)
	return nil
}
