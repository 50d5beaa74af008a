package engine

// What is learnt about servers, on its way to where sessions are balanced and to the log.

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

// checkJobs are the checks of a cluster, one job for each server and check. A server that several levels name is
// checked once. Servers without a known address, and those that the check does not name, are not checked.
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

// checkTarget is where a check finds a server: at its own address, unless the check names another host or port.
func checkTarget(c *conf.Cluster, check *conf.Check, server *conf.Server, known addresses) (checks.Target, bool) {
	t := checks.Target{Cluster: c.Name, Server: server.Name}
	at := server.Address
	if check.Address == "" && (check.Port == 0 || check.Port == int(at.Port)) && !isAgent(check) {
		t.SendProxy = server.SendProxy // another port is another service, and so is an agent
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
		t.Source = ranges[0].Addr() // the name that the check gives has to have an address of that family
	}
	return t, true
}

// firstReachable is the first of a name's addresses that sessions can dial from the source.
func firstReachable(addrs []netip.Addr, source conf.Source) netip.Addr {
	for _, a := range addrs {
		if len(source.Ranges) == 0 || len(source.RangesFor(a)) > 0 {
			return a
		}
	}
	return addrs[0]
}

// handleResult takes the result of a check.
func (e *Engine) handleResult(r checks.Result) {
	if e.log.Enabled(e.ctx, slog.LevelDebug) {
		e.log.Debug("check", "cluster", r.Cluster, "server", r.Server, "check", r.Check, "pass", r.Pass, "detail", r.Detail, "took", r.Took)
	}
	e.resultsMu.RLock()
	defer e.resultsMu.RUnlock()
	now := e.running.Load()
	c, job := now.clusters[r.Cluster], now.jobs[checks.Key{Cluster: r.Cluster, Server: r.Server, Check: r.Check}]
	if job != nil {
		e.published.checks.count(&r)
	}
	switch {
	case c == nil || job == nil || job.target != r.Target: // of a configuration that has been replaced
	case job.agent != nil:
		e.handleAgentReport(job.agent, c, r)
	default:
		switch {
		case r.Pass == r.Up:
			c.SetCheck(r.Server, r.Check, r.Up, r.Detail, e.plane.Now())
		case r.Up:
			c.SetCheckFailing(r.Server, r.Check, failuresSoFar(&r), e.plane.Now())
		} // else it stays down, for the reason that it is down for
		if doubt := r.Streak > 0; job.failing.Swap(doubt) || doubt || r.Changed {
			e.stateFile.Changed()
		}
	}
}

// failuresSoFar is why a server may go down yet.
func failuresSoFar(r *checks.Result) string {
	if r.Streak == 1 {
		return "1 failure so far: " + r.Detail
	}
	return fmt.Sprintf("%d failures so far: %s", r.Streak, r.Detail)
}

// checkState tells the runner what is thought of a server before it is checked.
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

// tickEvery is how often clusters are asked whether time alone has changed something.
const tickEvery = 250 * time.Millisecond

func (e *Engine) tickClusters() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var turnedAway rejections
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
		e.reportRejections(&turnedAway, now)
		for _, key := range running.expiring {
			j := running.jobs[key]
			e.expireAdvice(j.agent, running.clusters[key.Cluster], key, j.ttl)
		}
	}
}
