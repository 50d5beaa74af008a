package engine

// Host names that sources announce for their members.

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// memberHosts are the addresses of the host names that sources have announced.
type memberHosts struct {
	mu    sync.Mutex
	known addresses // a name that does not resolve has none
}

// lookup returns the addresses of an announced name; none if it is not known.
func (h *memberHosts) lookup(host string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known[host]
}

// set replaces the addresses, and reports whether they have changed. Names without an answer keep their last addresses.
func (h *memberHosts) set(names []string, found addresses) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := make(addresses, len(names))
	for _, name := range names {
		old, known := h.known[name]
		next[name] = old
		if list, ok := found[name]; ok {
			next[name] = list
		}
		changed = changed || !known || !slices.Equal(old, next[name])
	}
	h.known = next
	return changed
}

// update sets the addresses of known names.
func (h *memberHosts) update(found addresses) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := maps.Clone(h.known)
	for name := range next {
		if list, ok := found[name]; ok {
			next[name] = list
		}
	}
	h.known = next
}

// resolveMembers looks up the names of members that are new, or all, and reports whether addresses have changed.
func (e *Engine) resolveMembers(all bool) bool {
	var names, due []string
	for _, t := range e.topologies.all() {
		t.mu.Lock()
		for i := range t.view.Members {
			if host := memberHost(t.view.Members[i].Address); host != "" {
				names = append(names, host)
			}
		}
		t.mu.Unlock()
	}
	for _, list := range providedNow(e.running.Load().providers) {
		for i := range list {
			if host := list[i].Address.Host; host != "" {
				names = append(names, host)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	e.memberHosts.mu.Lock()
	for _, host := range names {
		if _, known := e.memberHosts.known[host]; all || !known {
			due = append(due, host)
		}
	}
	forgotten := len(names) == 0 && len(e.memberHosts.known) > 0
	known := e.memberHosts.known
	e.memberHosts.mu.Unlock()
	if len(due) == 0 && !forgotten {
		return false
	}
	found, failed := resolve(e.ctx, due, known, e.lookup)
	for name, err := range failed {
		e.log.Debug("host name of a topology not resolved", "name", name, "error", err)
	}
	return e.memberHosts.set(names, found)
}

// resolveFound looks up the names in the first answers of providers.
func (r *reload) resolveFound(ctx context.Context, fresh []*provider) {
	h := &r.e.memberHosts
	var names []string
	for _, p := range fresh {
		for i := range p.servers {
			if host := p.servers[i].Address.Host; host != "" && len(r.old.addresses[host]) == 0 && len(h.lookup(host)) == 0 {
				names = append(names, host)
			}
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return
	}
	found, _ := resolve(ctx, names, nil, r.e.lookup)
	h.mu.Lock()
	defer h.mu.Unlock()
	next := maps.Clone(h.known)
	if next == nil {
		next = addresses{}
	}
	for _, name := range names {
		next[name] = found[name]
	}
	h.known = next
}

// memberHost returns the host name in the address of a member, or "" if it is an IP address.
func memberHost(address string) string {
	if _, err := netip.ParseAddrPort(address); err == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}
