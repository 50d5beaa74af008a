package history

import (
	"time"
)

// Points are the points of a series, oldest first. All slices have the same length.
type Points struct {
	Step         time.Duration   // between two points
	Kept         bool            // false = there is no room for this series
	At           []time.Duration // end of the step
	Sessions     []float64       // at that time; of a server the highest of two samples
	NewSessions  []float64       // per second, as all rates
	BytesUp      []float64
	BytesDown    []float64
	DialFailures []float64
	DialP50      []float64 // in milliseconds; NaN = no dial
	DialP99      []float64
}

// Read returns the points after a time of a server, of a cluster if server is "", or of all clusters if both are "". An object that
// was never sampled has none.
func (h *History) Read(cluster, server string, after time.Duration) Points {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, step := h.find(cluster, server)
	p := Points{Step: time.Duration(step) * Interval, Kept: s != nil}
	if s == nil {
		return p
	}
	for i := s.from; i < s.next; i++ {
		sample := (i+1)*s.step - 1 // the last one of the point
		at := h.times[sample%Span]
		if h.samples-sample > Span || at <= after {
			continue
		}
		v := s.slot(i)
		p.At = append(p.At, at)
		for _, column := range []struct {
			to   *[]float64
			from int
		}{
			{&p.Sessions, sessions}, {&p.NewSessions, newSessions}, {&p.BytesUp, bytesUp}, {&p.BytesDown, bytesDown},
			{&p.DialFailures, dialFailures}, {&p.DialP50, dialP50}, {&p.DialP99, dialP99},
		} {
			*column.to = append(*column.to, v[column.from].value())
		}
	}
	return p
}

// find returns the series of an object, or nil, and its step.
func (h *History) find(cluster, server string) (s *series, step int) {
	switch c := h.clusters[cluster]; {
	case cluster == "":
		return h.node.series, 1
	case server == "" && c != nil:
		return c.series, 1
	case server == "":
		return nil, 1
	case c != nil && c.servers[server] != nil:
		return c.servers[server].series, serverStep
	}
	return nil, serverStep
}

// Sampled reports whether the last sample had an object.
func (h *History) Sampled(cluster, server string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clusters[cluster]
	return cluster == "" || c != nil && (server == "" || c.servers[server] != nil)
}
