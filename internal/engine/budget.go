package engine

import (
	"fmt"
	"log/slog"
	"slices"

	"weir/checks"
	"weir/conf"
	"weir/l4"
)

// budget divides the descriptors of the process, so that checks, the API and reloads never lack one. It is computed at
// the start and at every reload.
type budget struct {
	limit     int // of the process
	listening int // listen sockets, including those of the API
	loops     int // event loops, and clients between accept and admission
	api       int // clients of the API
	checks    int // and sources of topologies
	other     int // standard streams, log, files, look-ups, hooks
	each      int // per session: 2, or 1 if all listeners are udp
	sessions  int // number of sessions that fit into the rest
}

const (
	// baseDescriptors are always open: standard streams, the log file, the poller of the Go runtime.
	baseDescriptors = 8
	// spareDescriptors are for files, look-ups, hooks and a reopened log.
	spareDescriptors   = 32
	descriptorsPerLoop = 2

	// checkShare limits checks to 1/checkShare of all descriptors. Further checks wait.
	checkShare = 4
	// minChecks and maxChecks bound the number of concurrent checks.
	minChecks, maxChecks = 16, 4096
)

// parallelChecks returns the number of concurrent checks for a limit on descriptors.
func parallelChecks(limit int) int { return min(max(limit/checkShare, minChecks), maxChecks) }

// computeBudget returns the budget of a configuration. Reserves take at most half of the descriptors that are not
// permanently in use. It returns an error if not a single session fits.
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
		return b, fmt.Errorf("%s: want at least %d descriptors for one session (%d listen sockets, %d for event loops, %d for the process), got a limit of %d",
			cfg.File, limit-free+b.each, b.listening, b.loops, baseDescriptors, limit)
	}
	for _, j := range jobs {
		b.checks += j.sockets
	}
	b.checks = min(b.checks, parallelChecks(limit)) + topologySockets(cfg)
	b.api = conf.MaxAPIClients * len(cfg.Admin.Listen)
	b.other = spareDescriptors
	pending := loops * (l4.MaxPendingClients + 1)
	if wanted := b.checks + b.api + b.other + pending; wanted > free/2 {
		part := func(n int) int { return n * (free / 2) / wanted }
		b.checks, b.api, b.other, pending = part(b.checks), part(b.api), part(b.other), part(pending)
	}
	b.loops += pending
	b.other += baseDescriptors
	b.sessions = max((limit-b.reserved())/b.each, 1)
	return b, nil
}

// topologySockets returns the descriptors that the sources of topologies need: two per Sentinel, for polls and the
// subscription, or one per server.
func topologySockets(cfg *conf.Config) (n int) {
	for i := range cfg.Clusters {
		switch c := &cfg.Clusters[i]; {
		case c.Topology == nil:
		case c.Topology.Type == "sentinel":
			n += 2 * len(c.Topology.Sentinels)
		default:
			for range c.Servers() {
				n++
			}
		}
	}
	return n
}

// reserved returns the descriptors that are not for sessions.
func (b budget) reserved() int { return b.listening + b.loops + b.api + b.checks + b.other }

// effective returns the limit on sessions in force.
func (b budget) effective(cfg *conf.Config) int {
	if want := cfg.Runtime.MaxSessions; want > 0 {
		return min(want, b.sessions)
	}
	return b.sessions
}

// apiClients returns how many clients each address of the API may have at once.
func (b budget) apiClients(cfg *conf.Config) int { return max(1, b.api/max(1, len(cfg.Admin.Listen))) }

// APIClients returns how many clients each address of the API may have at once: those for which descriptors are reserved.
func (e *Engine) APIClients() int { return int(e.published.apiClients.Load()) }

// planDescriptors computes the budget of the next configuration.
func (r *reload) planDescriptors() (err error) {
	r.budget, err = computeBudget(l4.DescriptorLimit(), r.e.plane.Loops(), r.next.cfg, r.next.jobs)
	return err
}

// loggedBudget is what was logged last.
type loggedBudget struct {
	budget      budget
	limit       int // on sessions
	unreachable []unreachableLimit
}

// unreachableLimit is a limit of the configuration that exceeds the budget.
type unreachableLimit struct {
	key  string
	want int
}

// update logs the budget, and the limits of the configuration that exceed it, if they have changed.
func (l *loggedBudget) update(log *slog.Logger, b budget, cfg *conf.Config) {
	var unreachable []unreachableLimit
	check := func(key string, want int) {
		if want > b.sessions {
			unreachable = append(unreachable, unreachableLimit{key, want})
		}
	}
	check("runtime.max_sessions", cfg.Runtime.MaxSessions)
	for i := range cfg.Listeners {
		check(fmt.Sprintf("listener %s: max_sessions", cfg.Listeners[i].Name), cfg.Listeners[i].MaxSessions)
	}
	if limit := b.effective(cfg); b != l.budget || limit != l.limit {
		l.budget, l.limit = b, limit
		log.Info("descriptors", "limit", b.limit, "listening", b.listening, "event_loops", b.loops, "api", b.api, "checks", b.checks,
			"other", b.other, "room_for_sessions", b.sessions, "max_sessions", limit)
	}
	if !slices.Equal(unreachable, l.unreachable) {
		l.unreachable = unreachable
		for _, u := range unreachable {
			log.Warn("max_sessions exceeds descriptor limit", "key", u.key, "value", u.want,
				"descriptors_needed", u.want*b.each+b.reserved(), "descriptors_limit", b.limit, "room_for_sessions", b.sessions)
		}
	}
}
