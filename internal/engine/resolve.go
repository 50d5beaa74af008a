package engine

// Host names of servers: resolved before a configuration is committed, and again from time to time.

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/conf"
)

// addresses are what host names were last known to stand for.
type addresses map[string][]netip.Addr

// lookupLimit bounds a whole round of look-ups: a dead resolver makes a start or a reload slow, not stuck.
const lookupLimit = 4 * time.Second

// lookup is how names are resolved; a field of the engine so that tests can answer.
type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// hostNames are the names that servers of the configuration are given by, each once, sorted.
func hostNames(cfg *conf.Config) []string {
	var names []string
	for _, c := range cfg.Clusters {
		for _, level := range c.Levels {
			for _, s := range level.Servers {
				if s.Address.Host != "" {
					names = append(names, s.Address.Host)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// resolve looks the names up, all at once, and returns what was found and what went wrong by name. IPv4 comes before
// IPv6, and the order is that of the addresses: an answer that is merely shuffled is no change.
func resolve(ctx context.Context, names []string, ask lookup) (addresses, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	found, failed := addresses{}, map[string]error{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, name := range names {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			addrs, err := ask(ctx, name)
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
