package engine

import (
	"net/netip"

	"weir/internal/status"
	"weir/l4"
)

// CutServer cuts the sessions of a server and returns their number.
func (e *Engine) CutServer(cluster, server string) (int, error) {
	b, err := e.running.Load().findServer(cluster, server)
	if err != nil {
		return 0, err
	}
	s := b.Server(server)
	cut := 0
	e.published.withLoops(func() {
		cut = e.plane.Cut(func(id l4.SessionIdentity) bool { return id.Server == s && s != nil }, l4.ReasonCutOperator)
	})
	e.log.Info("sessions cut", "sessions", cut, "cluster", cluster, "server", server, "reason", "operator")
	return cut, nil
}

// CutSession cuts one session.
func (e *Engine) CutSession(id uint64) error {
	found := false
	e.published.withLoops(func() { found = e.plane.CutID(id, l4.ReasonCutOperator) })
	if !found {
		return &status.RequestError{Kind: status.NotFound, Field: "id", Text: "no such session"}
	}
	return nil
}

// ListSessions returns the sessions that match a filter, in no particular order.
func (e *Engine) ListSessions(f status.SessionFilter) []status.Session {
	limit := f.Limit
	if (f != status.SessionFilter{Limit: f.Limit}) {
		limit = maxListed // the filter selects from these
	}
	var all []l4.SessionInfo
	e.published.withLoops(func() { all = e.plane.List(limit) })
	at, anyServer := e.running.Load().serversAt(f.Server), f
	anyServer.Server = ""
	list := []status.Session{}
	for _, i := range all {
		client := "unix"
		if i.Client.IsValid() {
			client = i.Client.String()
		}
		s := status.Session{ID: i.ID, Listener: i.Listener, Client: client, SNI: i.SNI, Route: i.Route, Cluster: i.Cluster, Level: i.Level, Server: i.Server,
			Phase: i.Phase.String(), BytesUp: i.BytesUp, BytesDown: i.BytesDown, AgeSeconds: i.Age.Seconds(), Forward: "user"}
		if i.Promoted {
			s.Forward = "kernel"
		}
		if (f.Matches(&s) || at[serverID{s.Cluster, s.Server}] && anyServer.Matches(&s)) && len(list) < f.Limit {
			list = append(list, s)
		}
	}
	return list
}

// maxListed bounds the memory of a session list.
const maxListed = 1 << 18

// serverID identifies a server.
type serverID struct{ cluster, server string }

// serversAt returns the servers with an address: host and port, the host alone, or an address that a host name resolves to.
func (s *runningState) serversAt(text string) map[serverID]bool {
	found := map[serverID]bool{}
	if text == "" || s.cfg == nil {
		return found
	}
	for i := range s.cfg.Clusters {
		c := &s.cfg.Clusters[i]
		for server := range c.Servers() {
			at := &server.Address
			matches := text == at.String() || text == at.Host || at.Addr.IsValid() && text == at.Addr.Addr().String()
			for _, ip := range s.addresses[at.Host] {
				matches = matches || text == ip.String() || text == netip.AddrPortFrom(ip, at.Port).String()
			}
			if matches {
				found[serverID{c.Name, server.Name}] = true
			}
		}
	}
	return found
}
