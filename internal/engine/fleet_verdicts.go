package engine

// Clusters with verdict = "quorum": a server is down if the majority of live nodes finds it down.

import (
	"time"

	"weir/balance"
	"weir/internal/fleet"
	"weir/internal/printable"
)

// ownVerdicts returns the servers that the checks of this node find down, by cluster whose verdict the fleet decides.
func (e *Engine) ownVerdicts() map[string]fleet.Verdicts {
	found := map[string]fleet.Verdicts{}
	running := e.running.Load()
	for name := range running.quorum {
		found[name] = fleet.NewVerdicts(running.clusters[name].FoundDown())
	}
	return found
}

// verdictsChanged tells the fleet soon about a verdict of a cluster whose verdict the fleet decides.
func (e *Engine) verdictsChanged() {
	if m := e.fleet.member.Load(); m != nil {
		m.VerdictsChanged()
	}
}

// applyVotes puts in force what other nodes find about the servers of clusters; nil = of all clusters. Clusters whose verdict
// the fleet does not decide have no votes.
func (e *Engine) applyVotes(clusters []string) {
	e.fleet.voting.Lock() // from read to write
	defer e.fleet.voting.Unlock()
	running := e.running.Load()
	if e.fleet.voted == nil {
		e.fleet.voted = map[string]bool{}
	}
	if clusters == nil {
		for name := range running.clusters {
			clusters = append(clusters, name)
		}
	}
	m := e.fleet.member.Load()
	for _, name := range clusters {
		b := running.clusters[name]
		if b == nil || !running.quorum[name] && !e.fleet.voted[name] {
			continue
		}
		if e.fleet.voted[name] = running.quorum[name]; !e.fleet.voted[name] {
			delete(e.fleet.voted, name)
		}
		var votes fleet.Votes
		var until time.Time
		if m != nil && running.quorum[name] {
			votes, until = m.Votes(name)
		}
		e.setVotes(b, votes, until)
	}
}

// setVotes puts votes about the servers of a cluster in force.
func (e *Engine) setVotes(b *balance.Cluster, votes fleet.Votes, until time.Time) {
	now, end := e.plane.Now(), time.Duration(0)
	if !until.IsZero() {
		end = now + max(1, time.Until(until))
	}
	b.SetVotes(func(server string) balance.Votes {
		nodes, down := votes.Of(server)
		return balance.Votes{Nodes: nodes, Down: len(down), Who: printable.Clip(fleet.Who(down), printable.MaxQuote)}
	}, end, now)
}

// restoreVotes puts the votes that an earlier process had in force in new clusters, before their verdicts are restored: an
// upgrade takes no server down that the majority does not.
func (r *reload) restoreVotes() {
	if r.fleet.conf == nil || len(r.next.quorum) == 0 || r.e.savedState == nil || r.e.savedState.Fleet == nil {
		return
	}
	m := fleet.NewMember(fleet.MemberOptions{Node: r.fleet.node, Prefix: r.fleet.conf.Prefix, TTL: r.fleet.conf.TTL, Saved: r.e.savedState.Fleet, Log: r.e.log})
	for name := range r.next.quorum {
		if b := r.created[name]; b != nil {
			votes, until := m.Votes(name)
			r.e.setVotes(b, votes, until)
		}
	}
}
