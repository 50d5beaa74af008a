package status

// Upgrade is what became of handing over to another process.
type Upgrade struct {
	PID      int     `json:"pid"` // of the process that serves now
	Previous int     `json:"previous_pid"`
	Version  string  `json:"version"`
	Moved    int     `json:"sessions_moved"`
	Left     int     `json:"sessions_left"` // that end in the old process
	TookMS   float64 `json:"took_ms"`
}
