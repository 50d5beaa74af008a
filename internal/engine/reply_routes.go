package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"weir/conf"
	"weir/internal/route"
	"weir/l4"
)

// replyRoutesOf returns the reply routes that a configuration needs: one for each address of a server with source =
// "client". They lead replies to client addresses back to this host.
func replyRoutesOf(cfg *conf.Config, known addresses) map[route.ReplyRoute]bool {
	want := map[route.ReplyRoute]bool{}
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		for _, name := range ln.Clusters() {
			c := cfg.Cluster(name)
			if c == nil {
				continue
			}
			for s := range c.Servers() {
				if !s.Source.Client {
					continue
				}
				for _, at := range known.of(s.Address) {
					want[route.ReplyRoute{Server: at, UDP: ln.Protocol == "udp"}] = true
				}
			}
		}
	}
	return want
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

// The interval between two checks of the reply routes. It is short after a change, so that unused routes go soon, and
// doubles until the next one.
const (
	minRouteInterval = 250 * time.Millisecond
	maxRouteInterval = 5 * time.Second
)

// maintainRoutes restores reply routes that other programs have removed, as some network managers do, and removes those
// that no session needs.
func (e *Engine) maintainRoutes() {
	wait, lastError := minRouteInterval, ""
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
		inUse := e.routes.RemoveUnused(want)
		added, err := e.routes.Ensure(want)
		e.mu.Unlock()
		switch {
		case err != nil && err.Error() != lastError:
			lastError = err.Error()
			e.log.Error("replies to client addresses may not be routed to this host", "error", err)
		case err == nil:
			lastError = ""
		}
		if len(added) > 0 {
			e.log.Warn("policy rules restored: another program had removed them", "rules", len(added))
		}
		if len(want) == 0 && !inUse {
			timer.Stop() // until the next change
			continue
		}
		timer.Reset(wait)
	}
}
