package topology

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	resolveAgain = 10 * time.Second // after an answer or a failure
	maxNames     = 2 * MaxMembers   // names kept
)

// resolver resolves the names that Sentinels announce, and keeps the last good answer for each.
type resolver struct {
	mu    sync.Mutex
	known map[string]resolved // by name
}

type resolved struct {
	addresses []netip.Addr
	at        time.Time
}

// resolve returns the target of an address. The host is resolved until the deadline at the latest; without an answer, the
// target has the addresses of the last answer, or none.
func (r *resolver) resolve(ctx context.Context, deadline time.Time, address string) target {
	t := targetOf(address)
	if len(t.addresses) > 0 {
		return t
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return t
	}
	number, _ := strconv.ParseUint(port, 10, 16)
	r.mu.Lock()
	entry, found := r.known[host]
	r.mu.Unlock()
	if now := time.Now(); (!found || now.Sub(entry.at) >= resolveAgain) && now.Before(deadline) {
		limited, cancel := context.WithDeadline(ctx, deadline)
		list, err := net.DefaultResolver.LookupNetIP(limited, "ip", host)
		cancel()
		if err == nil {
			entry.addresses = list
		}
		entry.at = now
		r.mu.Lock()
		if len(r.known) >= maxNames {
			clear(r.known)
		}
		r.known[host] = entry
		r.mu.Unlock()
	}
	t.addresses = addPort(entry.addresses, uint16(number))
	return t
}
