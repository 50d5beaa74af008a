package engine

// What becomes of the descriptors that the process may have: worked out at the start and at every reload, so that
// nothing that must go on (checks, the API, reloads) is ever without one, and said in one line of the log.

import (
	"fmt"
	"log/slog"
	"slices"

	"weir/checks"
	"weir/conf"
	"weir/l4"
)

// budget is how the descriptors of a configuration are shared out.
type budget struct {
	limit     int // what the process may have
	listening int // sockets that listen, those of the API included
	loops     int // of the event loops, and of clients between being accepted and being counted
	api       int // clients of the API
	checks    int
	other     int // standard streams, log, files, names, hooks
	each      int // of a session: two sockets, or one where all are flows of UDP
	sessions  int // how many sessions the rest carries
}

const (
	// baseDescriptors are open for as long as weir runs: standard streams, the log file, the runtime's poller.
	baseDescriptors = 8
	// spareDescriptors are for what comes and goes: files that are read, names that are resolved, hooks, a reopened log.
	spareDescriptors = 32
	// apiClients is how many clients at each address of the API find a descriptor at any time.
	apiClients = 32

	descriptorsPerLoop = 2

	// checkShare is which part of all descriptors checks may take at most. More of them wait for each other.
	checkShare = 4
	// minChecks and maxChecks bound how many checks run at the same time.
	minChecks, maxChecks = 16, 4096
)

// parallelChecks is how many checks may run at the same time where the process may have so many descriptors.
func parallelChecks(limit int) int { return min(max(limit/checkShare, minChecks), maxChecks) }

// computeBudget works out the budget of a configuration. What is kept back for a moment of need is at most half of what is
// not in use for certain. The error says what is needed when there is not enough for a single session.
func computeBudget(limit, loops int, cfg *conf.Config, jobs map[checks.Key]*job) (budget, error) {
	b := budget{limit: limit, listening: len(cfg.Admin.Listen), loops: loops * descriptorsPerLoop, each: 1}
	for i := range cfg.Listeners {
		if cfg.Listeners[i].Protocol != "udp" {
			b.each = 2
		}
		for _, at := range cfg.Listeners[i].Addresses {
			if at.Path != "" {
				b.listening++
			} else {
				b.listening += loops
			}
		}
	}
	free := limit - baseDescriptors - b.listening - b.loops
	if free < b.each {
		return b, fmt.Errorf("%s: %d descriptors are needed to serve a single session (%d sockets that listen, %d for event loops, %d for the process), the limit is %d",
			cfg.File, limit-free+b.each, b.listening, b.loops, baseDescriptors, limit)
	}
	for _, j := range jobs {
		b.checks += j.sockets
	}
	b.checks = min(b.checks, parallelChecks(limit))
	b.api = apiClients * len(cfg.Admin.Listen)
	b.other = spareDescriptors
	waiting := loops * (l4.MaxPendingClients + 1)
	if wanted := b.checks + b.api + b.other + waiting; wanted > free/2 {
		part := func(n int) int { return n * (free / 2) / wanted }
		b.checks, b.api, b.other, waiting = part(b.checks), part(b.api), part(b.other), part(waiting)
	}
	b.loops += waiting
	b.other += baseDescriptors
	b.sessions = max((limit-b.reserved())/b.each, 1)
	return b, nil
}

// reserved is everything but sessions.
func (b budget) reserved() int { return b.listening + b.loops + b.api + b.checks + b.other }

// effective is how many sessions there may be at once.
func (b budget) effective(cfg *conf.Config) int {
	if want := cfg.Runtime.MaxSessions; want > 0 {
		return min(want, b.sessions)
	}
	return b.sessions
}

// planDescriptors computes the budget of the next configuration.
func (r *reload) planDescriptors() (err error) {
	r.budget, err = computeBudget(l4.DescriptorLimit(), r.e.plane.Loops(), r.next.cfg, r.next.jobs)
	return err
}

// loggedBudget is what was logged last.
type loggedBudget struct {
	budget      budget
	limit       int // on sessions
	unreachable []string
}

// update logs the budget, and the limits of the file that exceed it, if they have changed.
func (l *loggedBudget) update(log *slog.Logger, b budget, cfg *conf.Config) {
	var unreachable []string
	tooMany := func(key string, want int) {
		if want > b.sessions {
			unreachable = append(unreachable, fmt.Sprintf("%s = %d needs ~%d fds, limit is %d", key, want, want*b.each+b.reserved(), b.limit))
		}
	}
	tooMany("runtime.max_sessions", cfg.Runtime.MaxSessions)
	for i := range cfg.Listeners {
		tooMany(fmt.Sprintf("listener %s: max_sessions", cfg.Listeners[i].Name), cfg.Listeners[i].MaxSessions)
	}
	if limit := b.effective(cfg); b != l.budget || limit != l.limit {
		l.budget, l.limit = b, limit
		log.Info("descriptors", "limit", b.limit, "listening", b.listening, "event_loops", b.loops, "api", b.api, "checks", b.checks,
			"other", b.other, "room_for_sessions", b.sessions, "max_sessions", limit)
	}
	if !slices.Equal(unreachable, l.unreachable) {
		l.unreachable = unreachable
		for _, line := range unreachable {
			log.Warn(line, "room_for_sessions", b.sessions)
		}
	}
}
