package engine

import (
	"fmt"

	"weir/balance"
	"weir/conf"
	"weir/internal/fleet"
	"weir/internal/overlay"
	"weir/internal/status"
)

// Override changes the override of a server, given in JSON: {"state": "drain", "weight": null}. Null removes a value; a
// missing key keeps it. by names who asks. In a fleet that shares overrides it is shared, unless local is true.
func (e *Engine) Override(by, cluster, server string, text []byte) error {
	p, err := conf.ParseOverride(text)
	if err != nil {
		return overlay.Invalid(err)
	}
	if err := e.setOverride(by, cluster, server, p); err != nil {
		return err
	}
	e.stateFile.Sync()
	return nil
}

func (e *Engine) setOverride(by, cluster, server string, p conf.Override) error {
	e.published.overrides.Lock() // from read to write
	defer e.published.overrides.Unlock()
	if e.published.handedOver.Load() {
		return stopping()
	}
	b, err := e.running.Load().findServer(cluster, server)
	if err != nil {
		return err
	}
	o := b.Override(server)
	m, key := e.sharing(), fleet.ServerKey(cluster, server)
	if m != nil && !p.Local {
		if said, local := m.Current(key); local { // the local override stays out of what is shared
			if o, err = e.overrideOf(said, e.fleetNode()); err != nil {
				return &status.RequestError{Kind: status.Conflict, Text: err.Error()}
			}
		}
	}
	if p.Reason != "" || p.State != nil { // a new state does not inherit the reason of the old one
		o.Note = p.Reason
	}
	if p.State != nil { // nor its deadline
		o.State, o.Deadline = nil, 0
		if s, ok := balance.ParseAdminState(*p.State); ok && *p.State != "" {
			o.State = &s
		}
	}
	if p.Deadline != nil {
		if *p.Deadline > 0 && (o.State == nil || *o.State != balance.Drain) {
			return &status.RequestError{Kind: status.Conflict, Field: "deadline", Text: "only a drain that an operator has set has a deadline; set state = \"drain\" too"}
		}
		o.Deadline = 0
		if *p.Deadline > 0 {
			o.Deadline = e.plane.Now() + *p.Deadline
		}
	}
	if p.Weight != nil {
		o.Weight = orNil(*p.Weight)
	}
	if p.MaxSessions != nil {
		o.MaxSessions = orNil(*p.MaxSessions)
	}
	o.By = by
	if m != nil {
		switch o, err = e.share(m, key, o, p.Local); {
		case err == errHidden:
			e.log.Info("override for other nodes", "cluster", cluster, "server", server, "state", deref(o.State), "by", by)
			return nil
		case err != nil:
			return err
		}
	}
	e.installOverride(b, cluster, server, o)
	return nil
}

// installOverride puts an override in force. published.overrides is held.
func (e *Engine) installOverride(b *balance.Cluster, cluster, server string, o balance.Override) {
	e.published.overrideBy.Store([2]string{cluster, server}, o.By)
	b.SetOverride(server, o, e.plane.Now())
	e.closings.closeDraining(cluster, b.DrainDeadlines())
	e.stateFile.Changed()
	e.log.Info("override", "cluster", cluster, "server", server, "state", deref(o.State), "weight", deref(o.Weight),
		"max_sessions", deref(o.MaxSessions), "reason", o.Note, "by", o.By)
}

// orNil returns a pointer to n, or nil if n is negative.
func orNil(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// deref formats *p, or returns "" if p is nil.
func deref[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// Feedback counts a failure or a success of a server that was observed outside of weir.
func (e *Engine) Feedback(cluster, server string, text []byte) error {
	failed, err := conf.ParseFeedback(text)
	if err != nil {
		return overlay.Invalid(err)
	}
	b, err := e.running.Load().findServer(cluster, server)
	if err != nil {
		return err
	}
	b.Feedback(server, failed, e.plane.Now())
	return nil
}

// Failback ends the use of a lower level that failback = "manual" keeps. It is a conflict if no better level can be used.
func (e *Engine) Failback(cluster string) error {
	b := e.running.Load().clusters[cluster]
	if b == nil {
		return overlay.NoCluster(cluster)
	}
	if err := b.Failback(e.plane.Now()); err != nil {
		return &status.RequestError{Kind: status.Conflict, Text: "failback: " + err.Error()}
	}
	e.stateFile.Sync()
	return nil
}

// Rebalance closes the sessions of a cluster that are above the fair shares of its servers, or with dry_run only tells which.
// text is empty or an object with dry_run.
func (e *Engine) Rebalance(cluster string, text []byte) (status.Rebalance, error) {
	dryRun, err := conf.ParseRebalance(text)
	if err != nil {
		return status.Rebalance{}, overlay.Invalid(err)
	}
	e.published.overrides.Lock() // no upgrade meanwhile
	defer e.published.overrides.Unlock()
	if e.published.handedOver.Load() {
		return status.Rebalance{}, stopping()
	}
	b := e.running.Load().clusters[cluster]
	if b == nil {
		return status.Rebalance{}, overlay.NoCluster(cluster)
	}
	start := b.StartRebalance
	if dryRun {
		start = b.PlanRebalance
	}
	plan, err := start(e.plane.Now())
	if err != nil {
		return status.Rebalance{}, &status.RequestError{Kind: status.Conflict, Text: "rebalance: " + err.Error()}
	}
	r := status.Rebalance{Cluster: cluster, DryRun: dryRun, Servers: []status.ServerShare{}}
	for _, s := range plan {
		r.Servers = append(r.Servers, status.ServerShare{Level: s.Level, Server: s.Server, Sessions: s.Sessions, Share: s.Share, Surplus: s.Surplus})
		r.Surplus += s.Surplus
	}
	return r, nil
}

// findServer returns the cluster of a server.
func (s *runningState) findServer(cluster, server string) (*balance.Cluster, error) {
	b := s.clusters[cluster]
	if b == nil {
		return nil, overlay.NoCluster(cluster)
	}
	if b.Server(server) == nil {
		return nil, overlay.NoServer(cluster, server)
	}
	return b, nil
}
