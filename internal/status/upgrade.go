package status

// Upgrade is the result of an upgrade.
type Upgrade struct {
	PID      int     `json:"pid"` // of the new process
	Previous int     `json:"previous_pid"`
	Version  string  `json:"version"`
	Moved    int     `json:"sessions_moved"`
	Left     int     `json:"sessions_left"` // sessions that end in the old process
	TookMS   float64 `json:"took_ms"`
}
