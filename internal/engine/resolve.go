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

// lookupTimeout bounds all look-ups of a start or a reload, so that a dead resolver does not block them.
const lookupTimeout = 4 * time.Second

// lookupFunc resolves a host name.
type lookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// hostNames returns the host names of the servers of a configuration, sorted.
func hostNames(cfg *conf.Config) []string {
	var names []string
	for _, s := range cfg.Servers() {
		if s.Address.Host != "" {
			names = append(names, s.Address.Host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// resolve looks up names in parallel and returns the addresses and the errors by name. Addresses are sorted, IPv4 first,
// so that a reply in another order is no change.
func resolve(ctx context.Context, names []string, lookup lookupFunc) (addresses, map[string]error) {
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
	if r.next.addresses != nil { // the addresses are what has changed
		return nil
	}
	r.next.addresses = addresses{}
	var unknown []string
	for _, name := range hostNames(r.next.cfg) {
		if a, ok := r.old.addresses[name]; ok {
			r.next.addresses[name] = a
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return r.findLoops()
	}
	ctx, cancel := context.WithCancel(r.e.ctx)
	defer cancel()
	defer context.AfterFunc(r.e.skipLookups, cancel)()
	found, failed := resolve(ctx, unknown, r.e.lookup)
	var errs []error
	for _, name := range unknown {
		r.next.addresses[name] = found[name]
		if err := failed[name]; err != nil {
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
		found, failed := resolve(e.ctx, due, e.lookup)
		for _, name := range due {
			lastLookup[name] = time.Now()
		}
		for name, err := range failed {
			e.log.Debug("host name not resolved", "name", name, "error", err)
		}
		if err := e.applyAddresses(found); err != nil && !errors.Is(err, ErrStopped) {
			e.log.Error("cannot apply resolved addresses", "error", err)
		}
	}
}

// dueNames returns the names that are due for a look-up, and the time until the next one is. The interval of a name is the
// shortest resolve_interval of its clusters. New names count as just looked up; names that have left are removed from
// lastLookup.
func dueNames(cfg *conf.Config, lastLookup map[string]time.Time, now time.Time) (due []string, wait time.Duration) {
	interval := map[string]time.Duration{}
	for c, s := range cfg.Servers() {
		if name := s.Address.Host; name != "" {
			if i, ok := interval[name]; !ok || c.ResolveInterval < i {
				interval[name] = c.ResolveInterval
			}
		}
	}
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

// applyAddresses reloads the running configuration if the addresses of its names have changed.
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
		r.next.cfg, r.next.overlay, r.next.addresses = running.cfg, running.overlay, known
		return r.install()
	})
}
