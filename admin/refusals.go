package admin

// Refused requests: counted, and logged at a bounded rate.

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// refusals counts refused requests.
type refusals struct {
	total atomic.Uint64

	mu      sync.Mutex
	waiting map[string]*refusedSince // guarded by mu; by reason
}

// refusedSince is what was not logged yet for one reason.
type refusedSince struct {
	logged time.Time
	count  int
}

// refusalLogInterval is the shortest time between two log records of one reason.
const refusalLogInterval = 5 * time.Second

// add counts a refused request, and logs it unless one with the same reason was logged recently.
func (f *refusals) add(log *slog.Logger, reason, address, peer string) {
	f.total.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil {
		f.waiting = map[string]*refusedSince{}
	}
	since := f.waiting[reason]
	if since == nil {
		since = &refusedSince{}
		f.waiting[reason] = since
	}
	since.count++
	if now := time.Now(); now.Sub(since.logged) >= refusalLogInterval {
		log.Warn("API request refused", "reason", reason, "address", address, "peer", peer, "requests", since.count)
		*since = refusedSince{logged: now}
	}
}
