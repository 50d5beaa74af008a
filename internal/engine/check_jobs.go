package engine

// The checks of a configuration: which there are, and what is known of each.

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"weir/checks"
	"weir/conf"
	"weir/internal/hooks"
)

// monitors are those of a configuration, by check.
type monitors map[*conf.Check]checks.Monitor

// Check looks for what a configuration needs of this host: the files with passwords and certificates, the environment,
// the programs that checks run. It tells all that is missing, and opens no socket.
func Check(cfg *conf.Config) conf.Errors {
	_, wrong := monitorsOf(cfg)
	return slices.Concat(checkUser(cfg), wrong, checkHooks(cfg))
}

// checkHooks tells what is wrong with the programs of hooks.
func checkHooks(cfg *conf.Config) (wrong conf.Errors) {
	for i := range cfg.Hooks {
		h := &cfg.Hooks[i]
		if err := hooks.Check(h); err != nil {
			wrong = append(wrong, cfg.HookError(h.Name, "exec", err))
		}
	}
	return wrong
}

func monitorsOf(cfg *conf.Config) (built monitors, wrong conf.Errors) {
	built = monitors{}
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		for j := range c.Checks {
			check := &c.Checks[j]
			monitor, err := checks.NewMonitor(*check)
			if err != nil {
				option := checks.OptionError{Option: "type", Err: err}
				errors.As(err, &option)
				wrong = append(wrong, cfg.CheckError(c.Name, check.ID, option.Option, option.Err))
			}
			built[check] = monitor
		}
	}
	return built, wrong
}

// job is what a state knows of one check of one server.
type job struct {
	target   checks.Target
	identity string
	agent    *agent        // what an agent has said; nil for other checks
	ttl      time.Duration // of what it said; 0 = for ever
	sockets  int           // how many descriptors it needs
	failing  atomic.Bool   // the last result spoke against the verdict, or changed it
}

// programSockets is how many descriptors a check needs that runs a program: pipes, its process, its null device.
const programSockets = 6

func newJob(j *checks.Job, before *job) *job {
	n := &job{target: j.Target, identity: j.Identity, ttl: j.Spec.TTL, sockets: 1}
	if before != nil {
		n.failing.Store(before.failing.Load())
	}
	if j.Spec.Type == "exec" {
		n.sockets = programSockets
	}
	if isAgent(&j.Spec) {
		if before != nil && before.agent != nil {
			n.agent = before.agent
		} else {
			n.agent = newAgent()
		}
	}
	return n
}

func jobKey(j *checks.Job) checks.Key {
	return checks.Key{Cluster: j.Target.Cluster, Server: j.Target.Server, Check: j.Spec.ID}
}

// merge makes checks a state's own. What agents have said is taken over from the state before.
func (s *runningState) take(list []checks.Job, before *runningState) {
	s.jobs = make(map[checks.Key]*job, len(list))
	for i := range list {
		key := jobKey(&list[i])
		j := newJob(&list[i], before.jobs[key])
		s.jobs[key] = j
		if j.agent != nil && j.ttl > 0 {
			s.expiring = append(s.expiring, key)
		}
	}
}

// dropChecks ends the say of checks that a state has no more. Nothing of theirs is on its way any more.
func (e *Engine) dropChecks(before, next *runningState, now time.Duration) {
	for key, was := range before.jobs {
		is := next.jobs[key]
		b := next.clusters[key.Cluster]
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
