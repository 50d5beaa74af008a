package engine

import (
	"log/slog"
	"sync"
	"time"
)

// unprovenEvents limits the events of found servers that have never worked (balance.Event.Unproven): a source outside the file
// names as many as it likes, and could fill logs and drown hooks.
type unprovenEvents struct {
	mu    sync.Mutex
	since time.Time
	n     map[string]int // by cluster, since then
}

const (
	maxUnproven    = 10 // events of a cluster in unprovenWindow
	unprovenWindow = time.Minute
)

// allow reports whether an event of a cluster is reported. The first one that is not is logged.
func (u *unprovenEvents) allow(log *slog.Logger, cluster string, now time.Time) bool {
	u.mu.Lock()
	if now.Sub(u.since) >= unprovenWindow {
		u.since, u.n = now, map[string]int{}
	}
	u.n[cluster]++
	n := u.n[cluster]
	u.mu.Unlock()
	if n == maxUnproven+1 {
		log.Warn("more found servers do not work: their events are left out", "cluster", cluster, "events", maxUnproven, "within", unprovenWindow)
	}
	return n <= maxUnproven
}
