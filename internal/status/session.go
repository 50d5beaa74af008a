package status

// Session is one client's passage under way.
type Session struct {
	ID         uint64  `json:"id"`
	Listener   string  `json:"listener"`
	Client     string  `json:"client"` // "unix" on a unix socket
	Cluster    string  `json:"cluster"`
	Level      string  `json:"level"` // "" while no server is chosen
	Server     string  `json:"server"`
	Phase      string  `json:"phase"`
	BytesUp    uint64  `json:"bytes_up"`
	BytesDown  uint64  `json:"bytes_down"`
	AgeSeconds float64 `json:"age_seconds"`
}

// SessionFilter chooses sessions; empty fields choose all.
type SessionFilter struct {
	Listener, Cluster, Server string
	Limit                     int // how many at most
}

// Matches tells whether a session is chosen.
func (f SessionFilter) Matches(s *Session) bool {
	return (f.Listener == "" || f.Listener == s.Listener) && (f.Cluster == "" || f.Cluster == s.Cluster) &&
		(f.Server == "" || f.Server == s.Server)
}
