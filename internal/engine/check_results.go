package engine

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
)

// checkJobs returns the jobs of a cluster: one for each server and check. A server in several levels is checked once. A
// server without an address, or that a check does not name, is not checked.
func checkJobs(c *conf.Cluster, known addresses, built Monitors) []checks.Job {
	var jobs []checks.Job
	for i := range c.Checks {
		check := &c.Checks[i]
		seen := map[string]bool{}
		for _, level := range c.Levels {
			for _, server := range level.Servers {
				if seen[server.Name] {
					continue
				}
				seen[server.Name] = true
				if check.Servers == "list" && !slices.Contains(check.ServerNames, server.Name) {
					continue
				}
				target, ok := checkTarget(c, check, &server, known)
				if ok {
					jobs = append(jobs, checks.Job{
						Monitor: built[check], Target: target, Spec: *check, Identity: server.Address.String(),
						Advisory: isAgent(check), RunInMaint: isAgent(check),
					})
				}
			}
		}
	}
	return jobs
}

// checkTarget returns the address that a check tests: that of the server, unless the check sets another host or port.
// It returns false if the host name has no address.
func checkTarget(c *conf.Cluster, check *conf.Check, server *conf.Server, known addresses) (checks.Target, bool) {
	t := checks.Target{Cluster: c.Name, Server: server.Name}
	at := server.Address
	if check.Address == "" && (check.Port == 0 || check.Port == int(at.Port)) && !isAgent(check) {
		t.SendProxy = server.SendProxy // other ports and agents are other services
	}
	if at.Path != "" && check.Address == "" {
		t.Network, t.Address = "unix", at.Path
		return t, true
	}
	host, port := check.Address, check.Port
	switch {
	case host != "":
	case at.Host != "":
		t.Host = at.Host
		if len(known[at.Host]) == 0 {
			return t, false
		}
		host = firstReachable(known[at.Host], server.Source).String()
	default:
		host = at.Addr.Addr().String()
	}
	if port == 0 {
		port = int(at.Port)
	}
	t.Address = net.JoinHostPort(host, strconv.Itoa(port))
	if ip, err := netip.ParseAddr(host); err == nil {
		t.Source = server.Source.AddrFor(ip)
	} else if ranges := server.Source.Ranges; len(ranges) > 0 {
		t.Source = ranges[0].Addr() // the host of the check needs an address of that family
	}
	return t, true
}

// firstReachable returns the first address that can be dialed from the source.
func firstReachable(addrs []netip.Addr, source conf.Source) netip.Addr {
	for _, a := range addrs {
		if len(source.Ranges) == 0 || len(source.RangesFor(a)) > 0 {
			return a
		}
	}
	return addrs[0]
}

// handleResult applies a check result to its server.
func (e *Engine) handleResult(r checks.Result) {
	if e.log.Enabled(e.ctx, slog.LevelDebug) {
		e.log.Debug("check", "cluster", r.Cluster, "server", r.Server, "check", r.Check, "pass", r.Pass, "detail", r.Detail, "took", r.Took)
	}
	e.resultsMu.RLock()
	defer e.resultsMu.RUnlock()
	running := e.running.Load()
	c, job := running.clusters[r.Cluster], running.jobs[checks.Key{Cluster: r.Cluster, Server: r.Server, Check: r.Check}]
	if c == nil || job == nil { // a check that has left
		return
	}
	e.published.checks.count(&r)
	if job.target != r.Target { // an address that has been replaced
		return
	}
	now := e.plane.Now()
	switch {
	case job.agent != nil:
		if job.agent.handleResult(e.log, c, r, now) {
			e.stateFile.Changed()
		}
		return
	case r.Pass == r.Up:
		c.SetCheck(r.Server, r.Check, r.Up, r.Detail, now)
	case r.Up:
		c.SetCheckFailing(r.Server, r.Check, failuresSoFar(&r), now)
	} // a pass before rise keeps the reason for down
	if failing := r.Streak > 0; job.failing.Swap(failing) || failing || r.Changed {
		e.stateFile.Changed()
	}
}

// failuresSoFar returns the reason of a server that may go down.
func failuresSoFar(r *checks.Result) string {
	if r.Streak == 1 {
		return "1 failure so far: " + r.Detail
	}
	return fmt.Sprintf("%d failures so far: %s", r.Streak, r.Detail)
}

// checkState returns the state of a server for the runner.
func (e *Engine) checkState(cluster, server string) checks.State {
	c := e.running.Load().clusters[cluster]
	if c == nil {
		return checks.StateUp
	}
	s := c.Server(server)
	if s == nil {
		return checks.StateMaint
	}
	switch s.State() {
	case balance.InMaint:
		return checks.StateMaint
	case balance.Down:
		return checks.StateDown
	}
	return checks.StateUp
}

// tickInterval is the time between two applications of timers.
const tickInterval = 250 * time.Millisecond

// tickClusters applies timers: of clusters, of advice and of rejection events.
func (e *Engine) tickClusters() {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	var rejected rejections
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		now, running := e.plane.Now(), e.running.Load()
		for _, c := range running.clusters {
			c.Tick(now)
		}
		rejected.report(e, now)
		for _, key := range running.expiring {
			j := running.jobs[key]
			if j.agent.expire(running.clusters[key.Cluster], key.Server, j.ttl, now) {
				e.log.Info("agent check: advice expired", "cluster", key.Cluster, "server", key.Server, "check", key.Check, "ttl", j.ttl.String())
				e.stateFile.Changed()
			}
		}
	}
}
