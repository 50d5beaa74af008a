package balance

import "time"

// measure is a server's smoothed connect time.
type measure struct {
	took float64 // nanoseconds; 0 = never measured
	at   time.Duration
}

func (m *measure) add(now, took time.Duration) {
	m.at = now
	m.took = float64(max(1, took))
}
