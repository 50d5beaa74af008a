package engine

// The saved state of the engine, and how a later process restores it at its start. See package state.

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

// SavedState returns a copy of the state that a later process continues with. It does not wait for reloads.
func (e *Engine) SavedState() state.Snapshot { return e.stateFor(false) }

// stateFor is SavedState. For an upgrade it has also the verdicts of checks that pass: the first result of a check without
// a verdict decides alone.
func (e *Engine) stateFor(upgrade bool) state.Snapshot {
	running := e.running.Load()
	m := state.Snapshot{SavedAt: time.Now().UTC(), Clusters: []state.Cluster{}, Fleet: e.fleetState(), FleetLimits: e.limitState()}
	if running.cfg == nil {
		return m
	}
	m.Node = e.savedNode()
	if s := running.file.Shared; s != nil {
		m.Shared = &state.Shared{Prefix: s.Prefix, Revision: s.Revision, Text: string(s.Text)}
	}
	clock := e.clock()
	clusters := running.overlay.Save()
	for i := range running.cfg.Clusters {
		c := &running.cfg.Clusters[i]
		balanced := running.clusters[c.Name].Save(e.plane.Now())
		saved := clusters[c.Name]
		saved.Name, saved.Level, saved.ProtectedServer = c.Name, balanced.Level, balanced.ProtectedServer
		for i := range balanced.Servers {
			saved.Servers = append(saved.Servers, e.savedServer(running, c, &balanced.Servers[i], clock, upgrade)...)
		}
		if t := e.topologies.of(c.Name); t != nil && c.Topology != nil {
			saved.Topology = t.save()
		}
		for j := range c.Levels {
			if p := running.providers[levelID{c.Name, c.LevelName(j)}]; p != nil {
				if d := p.save(); d != nil {
					saved.Discovered = append(saved.Discovered, *d)
				}
			}
		}
		if saved.Topology != nil || saved.Discovered != nil || saved.Level != "" || saved.ProtectedServer != "" || len(saved.Servers) > 0 || running.overlay[c.Name] != nil {
			clusters[c.Name] = saved
		}
	}
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		m.Clusters = append(m.Clusters, clusters[name])
	}
	return m
}

// savedServer returns the state of one server, or nothing if it is the default.
func (e *Engine) savedServer(running *runningState, c *conf.Cluster, b *balance.SavedServer, clock clock, upgrade bool) []state.Server {
	s := state.Server{Name: b.Name, Address: b.Address, Since: clock.wall(b.Since)}
	s.Override = e.savedOverride(b.Override, clock.wall(b.OverrideAt))
	for i := range c.Checks {
		key := checks.Key{Cluster: c.Name, Server: b.Name, Check: c.Checks[i].ID}
		if j := running.jobs[key]; j != nil && j.agent != nil {
			if reply, at, ok := j.agent.report(); ok {
				s.Agent = &state.Agent{Check: key.Check, Reply: reply, At: clock.wall(at)}
			}
		}
	}
	for _, v := range b.Checks {
		key := checks.Key{Cluster: c.Name, Server: b.Name, Check: v.ID}
		if v.Initial {
			continue
		}
		k := state.Check{ID: v.ID, Down: v.State == balance.Down, Reason: short(v.Reason), At: clock.wall(v.At)}
		if v.State == balance.Standby || v.State == balance.Full {
			k.State = v.State.String()
		}
		if verdict, ok := e.runner.Verdict(key); ok && stateOf(verdict.State) == v.State {
			k.Streak = verdict.Streak
		}
		if v.State != balance.Up || k.Streak > 0 || upgrade {
			s.Checks = append(s.Checks, k)
		}
	}
	if p := &b.Passive; p.State != balance.PassiveUp || p.Fails > 0 {
		s.Passive = &state.Passive{State: p.State.String(), Failures: p.Fails, Reason: short(p.Reason), At: clock.wall(p.At)}
		if p.Fails > 0 {
			s.Passive.First = new(clock.wall(p.First))
		}
		if p.State == balance.PassiveFailing {
			s.Passive.Until = new(clock.wall(p.Until))
		}
	}
	if s.Override == nil && s.Agent == nil && s.Checks == nil && s.Passive == nil {
		return nil
	}
	return []state.Server{s}
}

// short truncates a reason to 500 bytes.
func short(s string) string {
	const most = 500
	if len(s) > most {
		return s[:most]
	}
	return s
}

// report returns the advice of an agent as one agent-check line, and the time of its last reply. It returns false if there
// is no advice in effect.
func (a *agent) report() (reply string, at time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	advice := a.advice
	if reply = advice.String(); len(reply) >= agentcheck.MaxReply {
		advice.Text = ""
		reply = advice.String()
	}
	return reply, a.reportedAt, !a.expired && !a.removed && advice.HasEffect()
}

// restorer converts saved state to what balance and checks start with.
type restorer struct {
	saved   *state.Snapshot
	upgrade bool
	now     time.Time
	clock   clock
}

// restoreState restores the state of an earlier process in the new clusters and checks of the first configuration.
func (r *reload) restoreState() {
	e, saved := r.e, r.e.savedState
	if saved == nil {
		return
	}
	r.restoreVotes()
	e.savedState = nil
	restorer := restorer{saved: saved, upgrade: e.oldProcess != nil, now: time.Now(), clock: e.clock()}
	checkJobs := map[checks.Key]*checks.Job{}
	for i := range r.jobs {
		checkJobs[jobKey(&r.jobs[i])] = &r.jobs[i]
	}
	e.restoreNode(saved.Node)
	servers := 0
	r.savedTopologies = map[string]*state.Topology{}
	for i := range saved.Clusters {
		c := &saved.Clusters[i]
		if c.Topology != nil {
			r.savedTopologies[c.Name] = c.Topology
		}
		b := r.created[c.Name]
		if b == nil {
			continue
		}
		to := balance.SavedState{Level: c.Level, ProtectedServer: c.ProtectedServer}
		for j := range c.Servers {
			s := &c.Servers[j]
			if server := b.Server(s.Name); server != nil {
				to.Servers = append(to.Servers, restorer.server(c.Name, s, server.Address() == s.Address, checkJobs, r.next.jobs))
				servers++
			} else if s.Override != nil { // of a server that a provider may find again
				to.Servers = append(to.Servers, restorer.server(c.Name, s, false, checkJobs, r.next.jobs))
			}
		}
		b.Restore(to, e.plane.Now())
		e.closings.closeDraining(c.Name, b.DrainDeadlines())
	}
	e.log.Info("state restored", "saved_at", saved.SavedAt, "servers", servers, "runtime_changes", len(r.next.overlay))
}

// server converts the state of one server. Verdicts also go into the jobs of the runner, advice into the agent. same
// reports whether the server still has the address that checks, advice and passive record are about.
func (r *restorer) server(cluster string, s *state.Server, same bool, checkJobs map[checks.Key]*checks.Job, jobs map[checks.Key]*job) balance.SavedServer {
	to := balance.SavedServer{Name: s.Name, Address: s.Address, Since: r.at(s.Since)}
	if o := s.Override; o != nil {
		to.OverrideAt = r.at(o.At)
		to.Override = balance.Override{Weight: o.Weight, MaxSessions: o.MaxSessions, Note: o.Reason, By: o.By}
		if o.State != "" {
			admin, _ := balance.ParseAdminState(o.State)
			to.Override.State = &admin
		}
		if o.Deadline != nil {
			to.Override.Deadline = r.clock.plane(*o.Deadline)
		}
	}
	for _, k := range s.Checks {
		job := checkJobs[checks.Key{Cluster: cluster, Server: s.Name, Check: k.ID}]
		if job == nil || job.Advisory || !same {
			continue
		}
		outcome := savedOutcome(&k)
		job.InitialVerdict = checks.Verdict{State: outcome, Streak: k.Streak, First: !r.upgrade}
		to.Checks = append(to.Checks, balance.Verdict{ID: k.ID, State: stateOf(outcome), Reason: k.Reason, At: r.at(k.At)})
	}
	if a := s.Agent; a != nil {
		if j := jobs[checks.Key{Cluster: cluster, Server: s.Name, Check: a.Check}]; j != nil && j.agent != nil {
			// The ttl does not run between the two processes: nothing received replies.
			if to.AgentAt = r.at(r.now.Add(-r.saved.SavedAt.Sub(a.At))); j.agent.restore(a.Reply, to.AgentAt, same) {
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

// savedOutcome returns the verdict of a saved check.
func savedOutcome(k *state.Check) checks.Outcome {
	switch {
	case k.Down:
		return checks.Failed
	case k.State == checks.Standby.String():
		return checks.Standby
	case k.State == checks.Full.String():
		return checks.Full
	}
	return checks.Passed
}

// at converts a wall-clock time to the clock of the plane. A time in the future counts as now.
func (r *restorer) at(t time.Time) time.Duration {
	if t.After(r.now) {
		t = r.now
	}
	return r.clock.plane(t)
}

// restore sets the advice of an agent from a line of report, and reports whether it has an effect. If the address is not
// the same, the health in it is dropped.
func (a *agent) restore(reply string, at time.Duration, same bool) bool {
	line, err := agentcheck.Parse([]byte(reply + "\n"))
	if err != nil || !line.HasEffect() {
		return false
	}
	a.merge(line)
	a.reportedAt, a.expired = at, false
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
