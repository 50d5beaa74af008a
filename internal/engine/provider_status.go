package engine

import (
	"slices"
	"time"

	"weir/conf"
	"weir/internal/overlay"
	"weir/internal/status"
)

// maxBadInStatus limits the bad entries in the status document.
const maxBadInStatus = 3

// discovery returns the entry of the provider of a level, or nil if it has none.
func (s *runningState) discovery(id levelID) *status.Discovery {
	p := s.providers[id]
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.status()
	d.BadEntries += len(s.unusable(id))
	for _, u := range s.unusable(id) {
		if len(d.Bad) < maxBadInStatus {
			d.Bad = append(d.Bad, status.BadEntry{Entry: u.name, Reason: u.reason})
		}
	}
	d.Bad = d.Bad[:min(len(d.Bad), maxBadInStatus)]
	return &d
}

// unusable returns the listed servers that cannot be used; not those that an operator has removed.
func (s *runningState) unusable(id levelID) []unusedServer {
	return slices.DeleteFunc(slices.Clone(s.found.unused[id]), func(u unusedServer) bool { return u.removed })
}

// status returns the state of the provider. mu is held.
func (p *provider) status() status.Discovery {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	d := status.Discovery{
		Type: p.spec.Type, Source: p.spec.String(), Servers: len(p.servers), AnsweredAt: at(p.answeredAt), ChangedAt: at(p.changedAt), NextAt: at(p.next),
		Saved: p.saved, Error: p.err, EmptySince: at(p.keptEmpty), BadEntries: p.badN, Dropped: p.dropped,
		Questions: p.questions, Failures: p.failures, Changes: p.changes,
	}
	if !p.answeredAt.IsZero() {
		d.AgeSeconds = max(0, time.Since(p.answeredAt)).Seconds()
	}
	if p.err != "" {
		d.FailingFrom = at(p.failedAt)
	}
	for _, b := range p.bad {
		d.Bad = append(d.Bad, status.BadEntry(b))
	}
	return d
}

// Discoveries returns what the providers of a cluster have answered.
func (e *Engine) Discoveries(cluster string) (status.DiscoveryReport, error) {
	running := e.running.Load()
	report := status.DiscoveryReport{Cluster: cluster, Providers: []status.ProviderReport{}}
	if running.cfg == nil || running.cfg.Cluster(cluster) == nil {
		return report, overlay.NoCluster(cluster)
	}
	c := running.cfg.Cluster(cluster)
	for i := range c.Levels {
		id := levelID{cluster, c.LevelName(i)}
		if p := running.providers[id]; p != nil {
			report.Providers = append(report.Providers, p.report(running, &c.Levels[i]))
		}
	}
	return report, nil
}

// report describes the answer in force.
func (p *provider) report(running *runningState, l *conf.Level) status.ProviderReport {
	byAddress := make(map[string]string, len(l.Servers))
	for i := range l.Servers {
		byAddress[l.Servers[i].Address.String()] = l.Servers[i].Name
	}
	reasons := map[string]string{}
	for _, u := range running.found.unused[p.id] {
		reasons[u.name] = u.reason
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := status.ProviderReport{Level: p.id.level, Discovery: p.status(), Entries: []status.DiscoveredEntry{}, Recent: []status.AnswerChange{}}
	listed := make(map[string]*conf.Server, len(p.servers))
	for i := range p.servers {
		listed[p.servers[i].Address.String()] = &p.servers[i]
	}
	for i := range p.entries {
		e := &p.entries[i]
		entry := status.DiscoveredEntry{Address: e.Address, Options: e.Options, Labels: e.Labels}
		s := listed[e.Address]
		if s == nil { // another way to write it, or a bad one
			for j := range p.servers {
				if p.servers[j].Name == e.Address {
					s = &p.servers[j]
				}
			}
		}
		if s != nil {
			entry.Server, entry.Reason = byAddress[s.Address.String()], reasons[s.Name]
			if entry.Server != "" && entry.Reason == "" && !running.found.serving[p.id][entry.Server] {
				entry.Reason = "as in the file"
			}
		}
		r.Entries = append(r.Entries, entry)
	}
	for _, u := range running.unusable(p.id) {
		r.BadEntries++
		r.Bad = append(r.Bad, status.BadEntry{Entry: u.name, Reason: u.reason})
	}
	for _, c := range p.recent {
		r.Recent = append(r.Recent, status.AnswerChange{At: c.at, Added: c.added, Removed: c.removed, Changed: c.edited, AddedN: c.addedN, RemovedN: c.removedN, ChangedN: c.editedN})
	}
	return r
}

// discoveryMetrics returns the figures of the providers of a cluster.
func (s *runningState) discoveryMetrics(c *conf.Cluster) (list []status.DiscoveryMetrics) {
	for i := range c.Levels {
		id := levelID{c.Name, c.LevelName(i)}
		p := s.providers[id]
		if p == nil {
			continue
		}
		p.mu.Lock()
		list = append(list, status.DiscoveryMetrics{
			Level: id.level, Type: p.spec.Type, Servers: len(p.servers), Failing: p.err != "", AnsweredAt: p.answeredAt,
			BadEntries: p.badN + len(s.unusable(id)), Dropped: p.dropped, Questions: p.questions, Failures: p.failures, Changes: p.changes,
		})
		p.mu.Unlock()
	}
	return list
}
