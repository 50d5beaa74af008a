package engine

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
)

// checkJobs returns the jobs of a cluster: one for each server and check. A server in several levels is checked once. A
// server without an address, or that a check does not name, is not checked. isNew reports whether a server was added or
// has another address: the first result of its checks decides alone.
func checkJobs(c *conf.Cluster, known addresses, built Monitors, isNew func(*conf.Server) bool) []checks.Job {
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
				if !check.Tests(server.Name) {
					continue
				}
				target, ok := checkTarget(c, check, &server, known)
				if ok {
					jobs = append(jobs, checks.Job{
						Monitor: built[check], Target: target, Spec: *check, Identity: server.Address.String(),
						OnlyConnects: checks.OnlyConnects(check), Advisory: isAgent(check), RunInMaint: isAgent(check), InitialVerdict: checks.Verdict{First: isNew(&server)},
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
	if check.Address == "" && (check.Port == 0 || check.Port == int(at.Port) || at.SamePort) && !isAgent(check) {
		t.SendProxy = server.SendProxy // other ports and agents are other services
	}
	if at.Path != "" && check.Address == "" {
		t.Network, t.Address = "unix", at.Path
		return t, true
	}
	port := cmp.Or(check.Port, int(at.Port))
	var hosts []netip.Addr
	switch ip, err := netip.ParseAddr(check.Address); {
	case check.Address != "" && err == nil:
		hosts = []netip.Addr{ip}
	case check.Address != "":
		t.Host, hosts = check.Address, known[check.Address]
	case at.Host != "":
		if len(known[at.Host]) == 0 {
			return t, false // the server is unresolved
		}
		t.Host, hosts = at.Host, known[at.Host]
	default:
		hosts = []netip.Addr{at.Addr.Addr()}
	}
	hosts = reachable(hosts, server.Source)
	if len(hosts) == 0 {
		return t, true // without an address: the check cannot run
	}
	t.Source, t.Interface = server.Source.AddrFor(hosts[0]), server.Interface
	texts := make([]string, len(hosts))
	for i, host := range hosts {
		texts[i] = net.JoinHostPort(host.String(), strconv.Itoa(port))
	}
	t.Address, t.More = texts[0], strings.Join(texts[1:], " ")
	return t, true
}

// reachable returns the addresses that can be dialed from the source, at most maxCheckedAddresses; if there are none, the
// first one. With a source, they are all of one family.
func reachable(addrs []netip.Addr, source conf.Source) (list []netip.Addr) {
	for _, a := range addrs {
		switch {
		case len(source.Ranges) > 0 && (len(source.RangesFor(a)) == 0 || len(list) > 0 && list[0].Is4() != a.Is4()):
		case len(list) < maxCheckedAddresses:
			list = append(list, a)
		}
	}
	if len(list) == 0 && len(addrs) > 0 {
		return addrs[:1]
	}
	return list
}

// maxCheckedAddresses is how many addresses of one name are checked.
const maxCheckedAddresses = 16

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
	job.skipped.Store(nil)
	if job.own && job.setFailed(r.Failed, r.Pass) {
		running.skipAddresses(c, r.Cluster, r.Server)
	}
	switch {
	case job.agent != nil:
		if job.agent.handleResult(e.log, c, r, now) {
			e.stateFile.Changed()
		}
		return
	case r.Pass: // one before rise keeps the reason for down
		c.CheckPassed(r.Server, r.Check, r.State == checks.Passed, r.Detail, now-time.Since(r.Began), now)
	case r.Outcome == r.State:
		c.SetVerdict(r.Server, r.Check, stateOf(r.State), r.Detail, now)
	case r.State == checks.Passed:
		c.SetCheckFailing(r.Server, r.Check, failuresSoFar(&r), now)
	}
	if r.Changed && running.quorum[r.Cluster] {
		e.verdictsChanged()
	}
	if failing := r.Streak > 0; job.failing.Swap(failing) || failing || r.Changed {
		e.stateFile.Changed()
	}
}

// stateOf returns the state that the verdict of a check asks for.
func stateOf(o checks.Outcome) balance.State {
	return [...]balance.State{checks.Passed: balance.Up, checks.Full: balance.Full, checks.Standby: balance.Standby, checks.Failed: balance.Down}[o]
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

const (
	// tickInterval is the time between two applications of timers.
	tickInterval = 250 * time.Millisecond
	// minReleaseInterval is the time between two releases of held sessions; each may release several.
	minReleaseInterval = time.Millisecond
)

// tickClusters applies timers: of clusters, of advice and of rejection events. Between two applications it releases held
// sessions on time.
func (e *Engine) tickClusters() {
	var rejected rejections
	for next := time.Duration(0); ; {
		now, running := e.plane.Now(), e.running.Load()
		if now >= next {
			next = now + tickInterval
			e.applyTimers(running, now)
			rejected.report(e, now)
		}
		wake := time.NewTimer(max(minReleaseInterval, e.releaseHeld(running, now, next)-now))
		select {
		case <-e.ctx.Done():
		case <-e.pacingBegan:
		case <-wake.C:
		}
		if wake.Stop(); e.ctx.Err() != nil {
			return
		}
	}
}

// releaseHeld releases the held sessions that are due, and returns when more are due, or next if that is earlier.
func (e *Engine) releaseHeld(running *runningState, now, next time.Duration) time.Duration {
	for _, c := range running.clusters {
		at, ok := c.NextRelease()
		if ok && at <= now {
			c.Tick(now)
			at, ok = c.NextRelease()
		}
		if ok {
			next = min(next, at)
		}
	}
	return next
}

func (e *Engine) applyTimers(running *runningState, now time.Duration) {
	for _, c := range running.clusters {
		c.Tick(now)
	}
	for _, key := range running.expiring {
		j := running.jobs[key]
		if j.agent.expire(running.clusters[key.Cluster], key.Server, j.ttl, now) {
			e.log.Info("agent check: advice expired", "cluster", key.Cluster, "server", key.Server, "check", key.Check, "ttl", j.ttl.String())
			e.stateFile.Changed()
		}
	}
}
