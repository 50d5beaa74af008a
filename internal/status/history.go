package status

import "time"

// History is what a server, a cluster or the whole process has done in the last hour. All lists have the same length; an element
// is about the time until its element of Times.
type History struct {
	Cluster     string  `json:"cluster,omitempty"` // "" = all clusters
	Server      string  `json:"server,omitempty"`  // "" = all servers of the cluster
	StepSeconds float64 `json:"step_seconds"`      // between two points
	Omitted     bool    `json:"omitted,omitempty"` // no points are kept: the memory for them is used up

	Times        []time.Time `json:"times"`    // oldest first
	Sessions     []float64   `json:"sessions"` // current; of a server, the highest of the samples of the step
	NewSessions  []float64   `json:"new_sessions_per_second"`
	BytesUp      []float64   `json:"bytes_up_per_second"` // client to server
	BytesDown    []float64   `json:"bytes_down_per_second"`
	DialFailures []float64   `json:"dial_failures_per_second"`
	DialP50      []*float64  `json:"dial_p50_ms"` // of successful dials; nil = there was none
	DialP99      []*float64  `json:"dial_p99_ms"`
}
