package engine

// Servers that are dialled from their clients' own addresses: what the kernel has to be told for their replies to come
// back here.

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"weir/conf"
	"weir/internal/route"
	"weir/l4"
)

// replyRoutesOf are the ways back that a configuration needs: one for each address of each such server.
func replyRoutesOf(cfg *conf.Config, known addresses) map[route.ReplyRoute]bool {
	want := map[route.ReplyRoute]bool{}
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		c := cfg.Cluster(ln.Cluster)
		if c == nil {
			continue
		}
		for _, level := range c.Levels {
			for j := range level.Servers {
				s := &level.Servers[j]
				if !s.Source.Client {
					continue
				}
				for _, at := range serverAddresses(s.Address, known) {
					want[route.ReplyRoute{Server: at, UDP: ln.Protocol == "udp"}] = true
				}
			}
		}
	}
	return want
}

// serverAddresses are the addresses that a server has at the moment; a unix socket has none.
func serverAddresses(at conf.Address, known addresses) []netip.AddrPort {
	switch {
	case at.Host != "":
		var all []netip.AddrPort
		for _, ip := range known[at.Host] {
			all = append(all, netip.AddrPortFrom(ip, at.Port))
		}
		return all
	case at.Addr.IsValid():
		return []netip.AddrPort{at.Addr}
	}
	return nil
}

// addReplyRoutes adds the reply routes that the configuration needs. Existing ones stay for the sessions that use them.
func (r *reload) addReplyRoutes() (err error) {
	r.next.replyRoutes = replyRoutesOf(r.next.cfg, r.next.addresses)
	if len(r.next.replyRoutes) == 0 {
		return nil
	}
	if err = l4.CheckTransparent(); errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: neither the capability CAP_NET_RAW nor CAP_NET_ADMIN is there", err)
	}
	if err == nil {
		r.newRoutes, err = r.e.routes.Ensure(r.next.replyRoutes)
	}
	if err != nil {
		return fmt.Errorf("source = \"client\": %w", err)
	}
	return nil
}

// How often the ways back are looked after: soon after a change, so that what is not needed any more goes, and less and
// less often until the next one.
const (
	minRouteInterval = 250 * time.Millisecond
	maxRouteInterval = 5 * time.Second
)

// maintainRoutes restores what others have taken away, as network managers do that want all rules to be theirs, and takes
// away what no session needs any more.
func (e *Engine) maintainRoutes() {
	wait, broken := minRouteInterval, ""
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.routesChanged:
			wait = minRouteInterval
		case <-timer.C:
			wait = min(2*wait, maxRouteInterval)
		}
		e.mu.Lock()
		want := e.running.Load().replyRoutes
		waiting := e.routes.RemoveUnused(want)
		added, err := e.routes.Ensure(want)
		e.mu.Unlock()
		switch {
		case err != nil && err.Error() != broken:
			broken = err.Error()
			e.log.Error("replies to clients' own addresses may not come back", "error", err)
		case err == nil:
			broken = ""
		}
		if len(added) > 0 {
			e.log.Warn("somebody removed policy rules of weir: restored", "rules", len(added))
		}
		if len(want) == 0 && !waiting {
			timer.Stop() // nothing to look after until the next change
			continue
		}
		timer.Reset(wait)
	}
}
