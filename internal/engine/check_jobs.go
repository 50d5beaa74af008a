package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/hooks"
	"weir/l4"
)

// Monitors are the monitors of a configuration, by check.
type Monitors map[*conf.Check]checks.Monitor

// Check tests what a configuration needs of this host: files with passwords and certificates, environment variables,
// programs and users. It returns the monitors, for Start or Reload, and all that is missing. It opens no socket.
func Check(cfg *conf.Config) (Monitors, conf.Errors) {
	monitors, errs := buildMonitors(cfg, nil)
	return monitors, slices.Concat(checkUser(cfg), checkUnixFiles(cfg), errs, checkTopologies(cfg), checkProviders(cfg), checkZones(cfg), checkHooks(cfg), checkFleet(cfg))
}

// checkHooks returns the errors of the programs of hooks.
func checkHooks(cfg *conf.Config) (errs conf.Errors) {
	for i := range cfg.Hooks {
		h := &cfg.Hooks[i]
		if err := hooks.Check(h); err != nil {
			errs = append(errs, cfg.HookError(h.Name, "exec", err))
		}
	}
	return errs
}

// buildMonitors returns the monitors of all checks; those in built are used again.
func buildMonitors(cfg *conf.Config, built Monitors) (monitors Monitors, errs conf.Errors) {
	monitors = Monitors{}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		for j := range c.Checks {
			check := &c.Checks[j]
			monitor := built[check]
			if monitor == nil {
				var err error
				if monitor, err = checks.NewMonitor(*check); err != nil {
					option := checks.OptionError{Option: "type", Err: err}
					errors.As(err, &option)
					errs = append(errs, cfg.CheckError(c.Name, check.ID, option.Option, option.Err))
				}
			}
			monitors[check] = monitor
		}
	}
	return monitors, errs
}

// job is the state of one check of one server.
type job struct {
	target   checks.Target
	identity string
	agent    *agent        // nil unless it is an agent check
	ttl      time.Duration // of the advice; 0 = no expiry
	sockets  int           // descriptors that a run needs
	own      bool          // it tests the server's own addresses

	failing atomic.Bool                  // the last result contradicts the verdict
	failed  atomic.Pointer[[]netip.Addr] // addresses that failed in the last run, if others passed; nil = none
	skipped atomic.Pointer[skippedRuns]  // nil = the last run had a result
}

// skippedRuns are the last runs of a check, which this host could not do.
type skippedRuns struct {
	since  time.Time // the first of them
	reason string    // why the last one was skipped
	count  int
}

func (s *skippedRuns) text() string {
	return fmt.Sprintf("not checked since %s: %s", s.since.Format(time.RFC3339), s.reason)
}

// handleSkip records that a check could not run.
func (e *Engine) handleSkip(s checks.Skip) {
	e.resultsMu.RLock()
	defer e.resultsMu.RUnlock()
	j := e.running.Load().jobs[checks.Key{Cluster: s.Cluster, Server: s.Server, Check: s.Check}]
	e.published.checks.countSkip(s.Reason)
	if j == nil {
		return
	}
	runs := &skippedRuns{since: s.At, reason: s.Err.Error(), count: 1}
	if old := j.skipped.Load(); old != nil {
		runs.since, runs.count = old.since, old.count+1
	}
	j.skipped.Store(runs)
	if runs.count == skipProblem {
		e.log.Warn("check cannot run on this host", "cluster", s.Cluster, "server", s.Server, "check", s.Check, "reason", s.Reason, "error", s.Err)
	}
}

// skipProblem is the number of skipped runs in a row from which they are a problem.
const skipProblem = 3

// setFailed records the addresses that failed, and reports whether they are others than before. Sessions use all addresses
// of a server if none has passed.
func (j *job) setFailed(addresses []string, pass bool) bool {
	var failed []netip.Addr
	if pass {
		for _, text := range addresses {
			if at, err := netip.ParseAddrPort(text); err == nil {
				failed = append(failed, at.Addr())
			}
		}
	}
	old := j.failed.Load()
	switch {
	case len(failed) == 0 && old == nil, old != nil && slices.Equal(*old, failed):
		return false
	case len(failed) == 0:
		j.failed.Store(nil)
	default:
		j.failed.Store(&failed)
	}
	return true
}

// skipAddresses makes sessions skip the addresses of a server that failed a check.
func (s *runningState) skipAddresses(b *balance.Cluster, cluster, server string) {
	c, found := s.cfg.Cluster(cluster), b.Server(server)
	if c == nil || found == nil {
		return
	}
	target, ok := found.Handle().(*l4.Target)
	if !ok {
		return
	}
	var failed []netip.Addr
	for i := range c.Checks {
		if j := s.jobs[checks.Key{Cluster: cluster, Server: server, Check: c.Checks[i].ID}]; j != nil {
			if list := j.failed.Load(); list != nil {
				failed = append(failed, *list...)
			}
		}
	}
	target.SkipAddresses(failed)
}

// skipAllAddresses is skipAddresses for all servers that have several addresses, after a reload.
func (s *runningState) skipAllAddresses() {
	for key, j := range s.jobs {
		if j.own && j.target.More != "" && s.clusters[key.Cluster] != nil {
			s.skipAddresses(s.clusters[key.Cluster], key.Cluster, key.Server)
		}
	}
}

// programSockets is the number of descriptors of a check that runs a program: pipes, process, null device.
const programSockets = 6

func newJob(j *checks.Job, old *job) *job {
	n := &job{target: j.Target, identity: j.Identity, ttl: j.Spec.TTL, sockets: 1, own: j.Spec.Address == "" && !isAgent(&j.Spec)}
	if old != nil {
		n.failing.Store(old.failing.Load())
		n.skipped.Store(old.skipped.Load())
		if old.target == n.target {
			n.failed.Store(old.failed.Load())
		}
	}
	if j.Spec.Type == "exec" {
		n.sockets = programSockets
	}
	n.sockets *= 1 + len(strings.Fields(j.Target.More))
	if isAgent(&j.Spec) {
		if old != nil && old.agent != nil {
			n.agent = old.agent
		} else {
			n.agent = newAgent()
		}
	}
	return n
}

func jobKey(j *checks.Job) checks.Key {
	return checks.Key{Cluster: j.Target.Cluster, Server: j.Target.Server, Check: j.Spec.ID}
}

// addJobs sets the jobs of the checks. The state of jobs that old has too is kept.
func (s *runningState) addJobs(list []checks.Job, old *runningState) {
	s.jobs = make(map[checks.Key]*job, len(list))
	for i := range list {
		key := jobKey(&list[i])
		j := newJob(&list[i], old.jobs[key])
		s.jobs[key] = j
		if j.agent != nil && j.ttl > 0 {
			s.expiring = append(s.expiring, key)
		}
	}
}

// dropChecks removes the verdicts and advice of checks that have left. No result of theirs is in progress.
func (r *reload) dropChecks(now time.Duration) {
	for key, was := range r.old.jobs {
		is := r.next.jobs[key]
		b := r.next.clusters[key.Cluster]
		switch {
		case was.agent != nil && (is == nil || is.agent != was.agent):
			was.agent.remove(b, key.Server, now)
		case was.agent != nil && is.identity != was.identity:
			was.agent.dropHealth()
		case was.agent == nil && b != nil && (is == nil || is.agent != nil):
			b.DropCheck(key.Server, key.Check)
		}
	}
}
