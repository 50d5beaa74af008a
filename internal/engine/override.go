package engine

// What an operator says about a server, and what becomes of its sessions.

import (
	"fmt"
	"weir/balance"
	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/status"
	"weir/l4"
)

// Override changes what an operator says about a server: {"state": "drain", "weight": null}. What is null is taken back;
// what is not mentioned stays.
func (e *Engine) Override(cluster, server string, text []byte) error {
	p, err := conf.ParseOverride(text)
	if err != nil {
		return overlay.Invalid(err)
	}
	if err := e.setOverride(cluster, server, p); err != nil {
		return err
	}
	e.stateFile.Sync()
	return nil
}

func (e *Engine) setOverride(cluster, server string, p conf.Override) error {
	e.published.overrides.Lock() // from reading the old one to writing the new one
	defer e.published.overrides.Unlock()
	if e.published.handedOver.Load() {
		return stopping()
	}
	b, err := e.running.Load().findServer(cluster, server)
	if err != nil {
		return err
	}
	o := b.Override(server)
	if p.Reason != "" || p.State != nil { // a new state does not inherit the reason of the old one
		o.Note = p.Reason
	}
	if p.State != nil {
		o.State = nil
		if word, ok := balance.ParseAdminState(*p.State); ok && *p.State != "" {
			o.State = &word
		}
	}
	if p.Weight != nil {
		o.Weight = orNil(*p.Weight)
	}
	if p.MaxSessions != nil {
		o.MaxSessions = orNil(*p.MaxSessions)
	}
	b.SetOverride(server, o, e.plane.Now())
	e.stateFile.Changed()
	e.log.Info("override", "cluster", cluster, "server", server, "state", deref(o.State), "weight", deref(o.Weight),
		"max_sessions", deref(o.MaxSessions), "reason", o.Note)
	return nil
}

func orNil(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

// deref is what a pointer leads to, or nothing.
func deref[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// Feedback counts a failure or a success of a server that somebody else has observed.
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

// Failback ends the stay of a cluster in a lower level that failback = "manual" keeps up.
func (e *Engine) Failback(cluster string) error {
	b := e.running.Load().clusters[cluster]
	if b == nil {
		return overlay.NoCluster(cluster)
	}
	b.Failback(e.plane.Now())
	e.stateFile.Sync()
	return nil
}

// CutServer ends the sessions of a server and returns how many there were.
func (e *Engine) CutServer(cluster, server string) (int, error) {
	b, err := e.running.Load().findServer(cluster, server)
	if err != nil {
		return 0, err
	}
	s := b.Server(server)
	cut := 0
	e.published.withLoops(func() {
		cut = e.plane.Cut(func(v l4.SessionIdentity) bool { return v.Server == s && s != nil }, l4.ReasonCutOperator)
	})
	e.log.Info("sessions cut", "sessions", cut, "cluster", cluster, "server", server, "reason", "operator")
	return cut, nil
}

// CutSession ends one session.
func (e *Engine) CutSession(id uint64) error {
	found := false
	e.published.withLoops(func() { found = e.plane.CutID(id, l4.ReasonCutOperator) })
	if !found {
		return &status.RequestError{Kind: status.NotFound, Field: "id", Text: "no such session"}
	}
	return nil
}

// ListSessions describes the sessions that a filter chooses, in no particular order.
func (e *Engine) ListSessions(f status.SessionFilter) []status.Session {
	most := f.Limit
	if (f != status.SessionFilter{Limit: f.Limit}) {
		most = maxListed // chosen from these
	}
	var all []l4.SessionInfo
	e.published.withLoops(func() { all = e.plane.List(most) })
	list := []status.Session{}
	for _, i := range all {
		client := "unix"
		if i.Client.IsValid() {
			client = i.Client.String()
		}
		s := status.Session{ID: i.ID, Listener: i.Listener, Client: client, Cluster: i.Cluster, Level: i.Level, Server: i.Server,
			Phase: i.Phase.String(), BytesUp: i.BytesUp, BytesDown: i.BytesDown, AgeSeconds: i.Age.Seconds()}
		if f.Matches(&s) && len(list) < f.Limit {
			list = append(list, s)
		}
	}
	return list
}

// maxListed bounds the memory that a list of sessions takes.
const maxListed = 1 << 18

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
