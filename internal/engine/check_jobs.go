package engine

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/hooks"
)

// Monitors are the monitors of a configuration, by check.
type Monitors map[*conf.Check]checks.Monitor

// Check tests what a configuration needs of this host: files with passwords and certificates, environment variables,
// programs and users. It returns the monitors, for Start or Reload, and all that is missing. It opens no socket.
func Check(cfg *conf.Config) (Monitors, conf.Errors) {
	monitors, errs := buildMonitors(cfg, nil)
	return monitors, slices.Concat(checkUser(cfg), checkUnixFiles(cfg), errs, checkHooks(cfg))
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
	failing  atomic.Bool   // the last result contradicts the verdict
}

// programSockets is the number of descriptors of a check that runs a program: pipes, process, null device.
const programSockets = 6

func newJob(j *checks.Job, old *job) *job {
	n := &job{target: j.Target, identity: j.Identity, ttl: j.Spec.TTL, sockets: 1}
	if old != nil {
		n.failing.Store(old.failing.Load())
	}
	if j.Spec.Type == "exec" {
		n.sockets = programSockets
	}
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
