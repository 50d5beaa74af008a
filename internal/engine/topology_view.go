package engine

// What a view of a source does: the roles of the servers, the report of another primary, and cuts.

import (
	"slices"

	"weir/internal/topology"
)

// applyView puts a view of a watcher in force. It is called by the watcher.
func (e *Engine) applyView(t *clusterTopology, v topology.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old := t.view
	t.view = v
	decided := !v.DecidedAt.IsZero() && v.Stale.IsZero()
	roles := t.roles()
	roles.New = decided && v.Primary != "" && (v.Primary != old.Primary || v.Epoch > old.Epoch)
	if from, changed := t.announce(decided); changed {
		e.reportPrimary(t, from)
	}
	t.balance.SetRoles(roles, e.plane.Now())
	e.clustersToCut.add(t.cluster)
	notify(e.membersChanged)
	if v.Primary != old.Primary || v.Epoch != old.Epoch || !slices.Equal(v.Members, old.Members) {
		e.stateFile.Changed()
	}
	e.logView(t, &old, &v)
}

// announce records the primary of the view as reported, and returns the one before. It returns false if there is nothing to
// report: no decision, or the same as before. After a start, the first decision is reported even if it is the saved one,
// with an empty predecessor. mu is held.
func (t *clusterTopology) announce(decided bool) (from string, changed bool) {
	a, primary := &t.announced, t.view.Primary
	moved := primary != a.address
	if !decided || !moved && (a.any || primary == "") {
		return "", false
	}
	if moved {
		from = a.name
		if a.address != "" || a.any {
			a.changes++
		}
	}
	a.any, a.name, a.address = true, t.primaryName(), primary
	return from, true
}

// logView logs what changes in the quality of a decision.
func (e *Engine) logView(t *clusterTopology, old, v *topology.View) {
	if e.published.handedOver.Load() {
		return
	}
	switch {
	case old.Stale.IsZero() && !v.Stale.IsZero():
		e.log.Warn("topology stale: the last decision stays in force", "cluster", t.cluster, "source", v.Source, "problem", v.Problem)
	case !old.Stale.IsZero() && v.Stale.IsZero() && !v.DecidedAt.IsZero():
		e.log.Info("topology confirmed", "cluster", t.cluster, "source", v.Source)
	case v.Problem != "" && v.Problem != old.Problem:
		e.log.Warn("topology problem", "cluster", t.cluster, "problem", v.Problem)
	}
}

// cutRoleLost cuts the sessions of servers that have lost the role that their cluster wants, where on_down = "close". Elsewhere
// only those that are still dialling there leave.
func (e *Engine) cutRoleLost(clusters map[string]bool) {
	running := e.running.Load()
	for name := range clusters {
		c, b := running.cfg.Cluster(name), running.clusters[name]
		n := 0
		if c != nil && b.SessionsWithoutRole() > 0 {
			n = e.cutDemoted(b, c.OnDown == "close")
		}
		if n > 0 {
			e.log.Info("sessions cut", "cluster", name, "sessions", n, "reason", "server lost its role")
		}
		e.failovers.closed(name, n)
	}
}
