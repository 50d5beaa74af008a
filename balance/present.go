package balance

// State returns the state that the server is shown in now.
func (s *Server) State() State {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.shown.State
}
