package status

// Session is a current session.
type Session struct {
	ID         uint64  `json:"id"`
	Listener   string  `json:"listener"`
	Client     string  `json:"client"`          // "unix" on a unix socket
	SNI        string  `json:"sni,omitempty"`   // the server name in the client's ClientHello
	Route      string  `json:"route,omitempty"` // that has chosen the cluster
	Cluster    string  `json:"cluster"`
	Level      string  `json:"level"` // "" while no server is chosen
	Server     string  `json:"server"`
	Phase      string  `json:"phase"` // accept, proxy_header, admit, client_hello, hold, queue, dial, unanswered, relay, abort or handover
	BytesUp    uint64  `json:"bytes_up"`
	BytesDown  uint64  `json:"bytes_down"`
	AgeSeconds float64 `json:"age_seconds"`
	Forward    string  `json:"forward"` // what forwards its packets: user (weir) or kernel
}

// SessionFilter selects sessions. Empty fields select all.
type SessionFilter struct {
	Listener, Cluster, Server string
	Limit                     int // maximum number
}

// Matches reports whether the filter selects the session.
func (f SessionFilter) Matches(s *Session) bool {
	return (f.Listener == "" || f.Listener == s.Listener) && (f.Cluster == "" || f.Cluster == s.Cluster) &&
		(f.Server == "" || f.Server == s.Server)
}
