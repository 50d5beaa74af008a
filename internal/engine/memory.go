package engine

// What a weir leaves to its successor, and how that one takes it up: overrides, what agents, checks and sessions have
// said, and what was changed at run time.

import (
	"maps"
	"slices"
	"time"

	"weir/agentcheck"
	"weir/balance"
	"weir/checks"
	"weir/conf"
	"weir/internal/state"
)

// staleAfter is how old a memory may be for its verdicts to stand as they are. When weir was away for longer, they still
// hold at first, but the next result of each check decides alone, whatever rise and fall are: much may have happened.
const staleAfter = 3 * time.Minute

// SavedState returns what another process needs to go on where this one is. It is a copy, made without holding up what runs.
func (e *Engine) SavedState() state.Snapshot {
	running := e.running.Load()
	m := state.Snapshot{SavedAt: time.Now().UTC(), Clusters: []state.Cluster{}}
	if running.cfg == nil {
		return m
	}
	clock := e.clock()
	remembered := running.overlay.Save()
	for i := range running.cfg.Clusters {
		c := &running.cfg.Clusters[i]
		known := running.clusters[c.Name].Save(e.plane.Now())
		r := remembered[c.Name]
		r.Name, r.Level, r.ProtectedServer = c.Name, known.Level, known.ProtectedServer
		for i := range known.Servers {
			r.Servers = append(r.Servers, e.savedServer(running, c, &known.Servers[i], clock)...)
		}
		if r.Level != "" || r.ProtectedServer != "" || len(r.Servers) > 0 || running.overlay[c.Name] != nil {
			remembered[c.Name] = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(remembered)) {
		m.Clusters = append(m.Clusters, remembered[name])
	}
	return m
}

// savedServer describes what is known of one server; nothing if that is what everybody assumes anyway.
func (e *Engine) savedServer(running *runningState, c *conf.Cluster, known *balance.SavedServer, clock clock) []state.Server {
	s := state.Server{Name: known.Name, Address: known.Address, Since: clock.wall(known.Since)}
	if o := known.Override; o.State != nil || o.Weight != nil || o.MaxSessions != nil {
		s.Override = &state.Override{Weight: o.Weight, MaxSessions: o.MaxSessions, Reason: short(o.Note), At: clock.wall(known.OverrideAt)}
		if o.State != nil {
			s.Override.State = o.State.String()
		}
	}
	for i := range c.Checks {
		key := checks.Key{Cluster: c.Name, Server: known.Name, Check: c.Checks[i].ID}
		if j := running.jobs[key]; j != nil && j.agent != nil {
			if says, at, ok := j.agent.report(); ok {
				s.Agent = &state.Agent{Check: key.Check, Reply: says, At: clock.wall(at)}
			}
		}
	}
	for _, v := range known.Checks {
		key := checks.Key{Cluster: c.Name, Server: known.Name, Check: v.ID}
		k := state.Check{ID: v.ID, Down: !v.Up, Reason: short(v.Reason), At: clock.wall(v.At)}
		if verdict, ok := e.runner.Verdict(key); ok && verdict.Down == k.Down {
			k.Streak = verdict.Streak
		}
		if k.Down || k.Streak > 0 {
			s.Checks = append(s.Checks, k)
		}
	}
	if p := &known.Passive; p.State != balance.PassiveUp || p.Fails > 0 {
		s.Passive = &state.Passive{State: p.State.String(), Failures: p.Fails, Reason: short(p.Reason), At: clock.wall(p.At)}
		if p.Fails > 0 {
			first := clock.wall(p.First)
			s.Passive.First = &first
		}
		if p.State == balance.PassiveFailing {
			until := clock.wall(p.Until)
			s.Passive.Until = &until
		}
	}
	if s.Override == nil && s.Agent == nil && s.Checks == nil && s.Passive == nil {
		return nil
	}
	return []state.Server{s}
}

// short cuts a text to what a memory takes.
func short(s string) string {
	const most = 500
	if len(s) > most {
		return s[:most]
	}
	return s
}

// report are all that an agent's words amount to, as one line, and when it last spoke; false = it is silent.
func (a *agent) report() (says string, at time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	total := a.advice
	if says = total.String(); len(says) >= agentcheck.MaxReply {
		total.Text = ""
		says = total.String()
	}
	return says, a.reportedAt, !a.expired && !a.removed && total.HasEffect()
}

// restorer is what a memory has to say about a configuration, in terms of those who are to begin with it.
type restorer struct {
	saved *state.Snapshot
	stale bool
	now   time.Time
	clock clock
}

// restoreState gives the new clusters and checks of a first configuration the state of an earlier process.
func (ch *reload) restoreState() {
	e, m := ch.e, ch.e.savedState
	if m == nil {
		return
	}
	e.savedState = nil
	r := restorer{saved: m, now: time.Now(), clock: e.clock()}
	r.stale = r.now.Sub(m.SavedAt) > staleAfter
	known := map[checks.Key]*checks.Job{}
	for i := range ch.jobs {
		known[jobKey(&ch.jobs[i])] = &ch.jobs[i]
	}
	servers := 0
	for i := range m.Clusters {
		c := &m.Clusters[i]
		b := ch.created[c.Name]
		if b == nil {
			continue
		}
		to := balance.SavedState{Level: c.Level, ProtectedServer: c.ProtectedServer}
		for j := range c.Servers {
			s := &c.Servers[j]
			if at := b.Server(s.Name); at != nil {
				to.Servers = append(to.Servers, r.server(c.Name, s, at.Address() == s.Address, known, ch.next.jobs))
				servers++
			}
		}
		b.Restore(to, e.plane.Now())
	}
	e.log.Info("state restored", "saved_at", m.SavedAt, "servers", servers, "runtime_changes", len(ch.next.overlay), "stale", r.stale)
}

// server takes up what is known of one server: the runner's part goes into its jobs, the agent's into its own.
func (r *restorer) server(cluster string, s *state.Server, same bool, known map[checks.Key]*checks.Job, jobs map[checks.Key]*job) balance.SavedServer {
	to := balance.SavedServer{Name: s.Name, Address: s.Address, Since: r.at(s.Since)}
	if o := s.Override; o != nil {
		to.OverrideAt = r.at(o.At)
		to.Override = balance.Override{Weight: o.Weight, MaxSessions: o.MaxSessions, Note: o.Reason}
		if o.State != "" {
			word, _ := balance.ParseAdminState(o.State)
			to.Override.State = &word
		}
	}
	for _, k := range s.Checks {
		job := known[checks.Key{Cluster: cluster, Server: s.Name, Check: k.ID}]
		if job == nil || job.Advisory || !same {
			continue
		}
		job.InitialVerdict = checks.Verdict{Down: k.Down, Streak: r.streak(&job.Spec, k)}
		to.Checks = append(to.Checks, balance.Verdict{ID: k.ID, Up: !k.Down, Reason: k.Reason, At: r.at(k.At)})
	}
	if a := s.Agent; a != nil {
		if j := jobs[checks.Key{Cluster: cluster, Server: s.Name, Check: a.Check}]; j != nil && j.agent != nil {
			// The time between the two processes does not count: nobody listened.
			if to.AgentAt = r.at(r.now.Add(-r.saved.SavedAt.Sub(a.At))); j.agent.recall(a.Reply, to.AgentAt, same) {
				to.Agent = j.agent.layer()
			} else {
				to.AgentAt = 0
			}
		}
	}
	if p := s.Passive; p != nil {
		to.Passive = balance.PassiveRecord{Fails: p.Failures, Reason: p.Reason, At: r.at(p.At)}
		for _, state := range []balance.PassiveState{balance.PassiveUp, balance.PassiveFailing, balance.PassiveProbation} {
			if p.State == state.String() {
				to.Passive.State = state
			}
		}
		if p.First != nil {
			to.Passive.First = r.at(*p.First)
		}
		if p.Until != nil {
			to.Passive.Until = r.clock.plane(*p.Until)
		}
	}
	return to
}

// streak is how many results spoke against a verdict. One that is stale takes one more to fall.
func (r *restorer) streak(check *conf.Check, k state.Check) int {
	need := check.Fall
	if k.Down {
		need = check.Rise
	}
	if r.stale {
		return max(0, need-1)
	}
	return max(0, min(k.Streak, need-1))
}

// at is a time of the wall on the plane's clock; one that is yet to come is now.
func (r *restorer) at(t time.Time) time.Duration {
	if t.After(r.now) {
		t = r.now
	}
	return r.clock.plane(t)
}

// restore has an agent begin with words of an earlier process, and reports whether they say anything.
func (a *agent) recall(says string, spoke time.Duration, same bool) bool {
	line, err := agentcheck.Parse([]byte(says + "\n"))
	if err != nil || !line.HasEffect() {
		return false
	}
	a.merge(line)
	a.reportedAt, a.expired = spoke, false
	if !same {
		a.dropHealth()
	}
	return a.advice.HasEffect()
}

// stateFilePath returns the configured path of the state file, or "".
func (e *Engine) stateFilePath() string {
	if cfg := e.running.Load().cfg; cfg != nil {
		return cfg.Runtime.StateFile
	}
	return ""
}
