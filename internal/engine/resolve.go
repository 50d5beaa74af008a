package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/conf"
)

// addresses are the last known addresses of host names.
type addresses map[string][]netip.Addr

// of returns the addresses of a server; none for a unix socket and a name that is not resolved.
func (a addresses) of(at conf.Address) (list []netip.AddrPort) {
	if at.Addr.IsValid() {
		return []netip.AddrPort{at.Addr}
	}
	for _, ip := range a[at.Host] {
		list = append(list, netip.AddrPortFrom(ip, at.Port))
	}
	return list
}

// lookupTimeout bounds all look-ups of a start or a reload, so that a dead resolver does not block them.
const lookupTimeout = 4 * time.Second

// otherFamilyWait is how long a look-up waits for the addresses of one family once it has those of the other.
const otherFamilyWait = time.Second

// lookupFunc resolves a host name. With an incompleteError, the addresses are valid.
type lookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// incompleteError is the error of a look-up that has found addresses of one family and got no answer for the other.
type incompleteError struct {
	network string // that got no answer: ip4 or ip6
	err     error
}

func (e *incompleteError) Error() string { return e.network + ": " + e.err.Error() }

// systemLookup looks up both families at the same time. If one gets no answer, the addresses of the other are used.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return lookupFamilies(ctx, host, net.DefaultResolver.LookupNetIP)
}

func lookupFamilies(ctx context.Context, host string, lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		network string
		addrs   []netip.Addr
		err     error
	}
	answers := make(chan answer, 2)
	for _, network := range []string{"ip4", "ip6"} {
		go func() {
			addrs, err := lookup(ctx, network, host)
			answers <- answer{network, addrs, err}
		}()
	}
	first := <-answers
	if len(first.addrs) > 0 {
		defer time.AfterFunc(otherFamilyWait, cancel).Stop()
	}
	second := <-answers
	for _, a := range []*answer{&first, &second} {
		if dns, ok := errors.AsType[*net.DNSError](a.err); ok && dns.IsNotFound {
			a.err = nil // the answer is that there are none
		}
	}
	addrs := append(first.addrs, second.addrs...)
	for _, a := range []*answer{&first, &second} {
		switch {
		case a.err != nil && len(addrs) > 0:
			return addrs, &incompleteError{a.network, a.err}
		case a.err != nil:
			return nil, a.err
		}
	}
	return addrs, nil
}

// resolvedHosts returns the host names of a configuration, with the interval of their look-ups: those of servers, and those
// that checks test instead. The interval of a name is the shortest resolve_interval of its clusters.
func resolvedHosts(cfg *conf.Config) map[string]time.Duration {
	hosts := map[string]time.Duration{}
	add := func(name string, c *conf.Cluster) {
		if i, ok := hosts[name]; name != "" && (!ok || c.ResolveInterval < i) {
			hosts[name] = c.ResolveInterval
		}
	}
	for c, s := range cfg.Servers() {
		add(s.Address.Host, c)
	}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		for j := range c.Checks {
			if _, err := netip.ParseAddr(c.Checks[j].Address); err != nil {
				add(c.Checks[j].Address, c)
			}
		}
	}
	return hosts
}

// resolve looks up names in parallel and returns the addresses and the errors by name. Addresses are sorted, IPv4 first,
// so that a reply in another order is no change. If only one family has answered, the known addresses of the other are
// kept.
func resolve(ctx context.Context, names []string, known addresses, lookup lookupFunc) (addresses, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, failed := addresses{}, map[string]error{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, name := range names {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			addrs, err := lookup(ctx, name)
			if incomplete, ok := errors.AsType[*incompleteError](err); ok {
				for _, a := range known[name] {
					if a.Is4() == (incomplete.network == "ip4") {
						addrs = append(addrs, a)
					}
				}
				err = nil
			}
			if err == nil && len(addrs) == 0 {
				err = fmt.Errorf("lookup %s: no address", name)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[name] = err
				return
			}
			for i := range addrs {
				addrs[i] = addrs[i].Unmap()
			}
			slices.SortFunc(addrs, func(a, b netip.Addr) int { return a.Compare(b) })
			found[name] = slices.Compact(addrs)
		})
	}
	wait.Wait()
	return found, failed
}

// resolve looks up the host names that are not known yet. A failed look-up is an error on a reload, so that a misspelt
// name is found while the old configuration runs. At the start its servers stay unresolved, so that weir starts without
// a resolver.
func (r *reload) resolve() error {
	given := r.next.addresses // what has changed, or nil
	r.next.addresses = addresses{}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(resolvedHosts(r.next.cfg))) {
		if a, ok := given[name]; ok {
			r.next.addresses[name] = a
		} else if a, ok := r.old.addresses[name]; ok {
			r.next.addresses[name] = a
		} else if a := r.e.memberHosts.lookup(name); len(a) > 0 {
			r.next.addresses[name] = a
		} else if _, own := r.ownHosts[name]; r.ownHosts != nil && !own {
			r.next.addresses[name] = nil // of a found server only, which does not keep a reload waiting
		} else {
			unknown = append(unknown, name)
		}
	}
	if given != nil && len(unknown) == 0 {
		return r.refuseOwnAPI() // l4 drops what circles now
	}
	if len(unknown) == 0 {
		return r.findLoops()
	}
	ctx, cancel := context.WithCancel(r.e.ctx)
	defer cancel()
	defer context.AfterFunc(r.e.skipLookups, cancel)()
	found, failed := resolve(ctx, unknown, nil, r.e.lookup)
	ofServer := map[string]bool{}
	for _, s := range r.next.cfg.Servers() {
		ofServer[s.Address.Host] = true
	}
	var errs []error
	for _, name := range unknown {
		r.next.addresses[name] = found[name]
		if err := failed[name]; err != nil {
			if !ofServer[name] { // but of a check, which cannot run until the name has an address
				r.e.log.Warn("host name of a check not resolved", "error", err)
				continue
			}
			if at := r.next.cfg.HostPosition(name); at != "" {
				err = fmt.Errorf("%s: %w", at, err)
			}
			errs = append(errs, err)
		}
	}
	if r.old.cfg != nil {
		return errors.Join(append(errs, r.findLoops())...)
	}
	for _, err := range errs {
		r.e.log.Warn("host name not resolved", "error", err)
	}
	return r.findLoops()
}

// resolvePeriodically looks up each name at its interval, and reloads if addresses have changed. A name that no longer
// resolves keeps its last addresses.
func (e *Engine) resolvePeriodically() {
	lastLookup := map[string]time.Time{}
	failures := failedLookups{}
	for e.ctx.Err() == nil {
		due, wait := dueNames(e.running.Load().cfg, lastLookup, time.Now())
		if len(due) == 0 {
			timer := time.NewTimer(wait)
			select {
			case <-e.ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			case <-e.namesChanged: // or the intervals
				timer.Stop()
			}
			continue
		}
		found, failed := resolve(e.ctx, due, e.running.Load().addresses, e.lookup)
		for _, name := range due {
			lastLookup[name] = time.Now()
		}
		for name, err := range failed {
			e.log.Debug("host name not resolved", "name", name, "error", err)
		}
		failures.update(e.log, found, e.running.Load().addresses, failed, time.Now())
		e.published.failedLookups.Store(new(failures.problems()))
		e.memberHosts.update(found)
		if !e.published.handedOver.Load() {
			e.logIfFailed("cannot apply the servers that a topology has found", e.applyMembers())
		}
		if err := e.applyAddresses(found); err != nil && !errors.Is(err, ErrStopped) {
			e.log.Error("cannot apply resolved addresses", "error", err)
		}
	}
}

// dueNames returns the names that are due for a look-up, and the time until the next one is. New names count as just
// looked up; names that have left are removed from lastLookup.
func dueNames(cfg *conf.Config, lastLookup map[string]time.Time, now time.Time) (due []string, wait time.Duration) {
	interval := resolvedHosts(cfg)
	maps.DeleteFunc(lastLookup, func(name string, _ time.Time) bool { return interval[name] == 0 })
	wait = time.Hour
	for name, i := range interval {
		if _, ok := lastLookup[name]; !ok {
			lastLookup[name] = now
		}
		if left := lastLookup[name].Add(i).Sub(now); left <= 0 {
			due = append(due, name)
		} else {
			wait = min(wait, left)
		}
	}
	return due, wait
}

// applyAddresses reloads the running configuration if the addresses of its names have changed. A found server whose name now
// leads to an address where it must not be leaves.
func (e *Engine) applyAddresses(found addresses) error {
	return e.locked(func() error {
		running := e.running.Load()
		known, changed := maps.Clone(running.addresses), false
		for name, old := range known {
			if addrs, ok := found[name]; ok && !slices.Equal(addrs, old) {
				e.log.Info("host name resolved", "name", name, "from", old, "to", addrs)
				known[name] = addrs
				changed = true
			}
		}
		if !changed {
			return nil
		}
		r := e.newReload(running.file, running.overlay, running.monitors)
		r.next.addresses, r.sources, r.keepProviders = known, running.sources, true
		if err := r.merge(); err != nil {
			return err
		}
		return r.install()
	})
}
