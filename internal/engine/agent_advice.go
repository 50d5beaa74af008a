package engine

// What agents say, on its way to the layer that they have in their servers' states.

import (
	"errors"
	"sync"
	"time"

	"weir/agentcheck"
	"weir/balance"
	"weir/checks"
	"weir/conf"
)

// agent is one agent check of one server. It lives as long as the check does, through reloads.
type agent struct {
	mu           sync.Mutex
	advice       agentcheck.Advice // all that its words amount to: a line replaces the kinds of words that it mentions
	reportedAt   time.Duration     // when it last did; meaningless while it is silent
	expired      bool              // it has not spoken yet, or its words have outlived their ttl
	removed      bool              // the check has left; what still arrives does not count
	unknownWords map[string]bool   // unknown words that were warned of
	malformed    bool              // its last reply was not a line, and that was warned of
}

func newAgent() *agent { return &agent{expired: true, unknownWords: map[string]bool{}} }

// maxUnknownWords bounds the unknown words that are remembered; an agent that has more to offer is not listened to.
const maxUnknownWords = 16

func isAgent(check *conf.Check) bool { return check.Type == "agent" || check.Type == "agent_http" }

// handleAgentReport takes a result of an agent's check. An agent that cannot be asked changes nothing.
func (e *Engine) handleAgentReport(a *agent, c *balance.Cluster, r checks.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return
	}
	about := []any{"cluster", r.Cluster, "server", r.Server, "check", r.Check}
	advice := r.Report.Advice
	if advice == nil {
		garbled := errors.Is(r.Err, agentcheck.ErrIncomplete) || errors.Is(r.Err, agentcheck.ErrTooLong)
		if garbled && !a.malformed {
			e.log.Warn("agent: incomplete line ignored", append(about, "error", r.Err)...)
		}
		a.malformed = a.malformed || garbled
		return
	}
	a.malformed = false
	if word := advice.Unknown; word != "" && !a.unknownWords[word] && len(a.unknownWords) < maxUnknownWords {
		a.unknownWords[word] = true
		e.log.Warn("agent: unknown word ignored", append(about, "word", word)...)
	}
	now := e.plane.Now()
	before := a.advice
	if a.merge(*advice); a.advice != before || a.expired {
		e.stateFile.Changed()
	}
	a.reportedAt, a.expired = now, false
	c.SetAgent(r.Server, a.layer(), now)
}

// merge adds a line to what was said before. Kinds of words that it does not mention stay.
func (a *agent) merge(line agentcheck.Advice) {
	if line.Health != agentcheck.HealthUnset {
		a.advice.Health, a.advice.Word, a.advice.Text = line.Health, line.Word, line.Text
	}
	if line.Admin != agentcheck.AdminUnset {
		a.advice.Admin = line.Admin
	}
	if line.Weight.Kind != agentcheck.WeightUnset {
		a.advice.Weight = line.Weight
	}
	if line.HasMaxSessions {
		a.advice.MaxSessions, a.advice.HasMaxSessions = line.MaxSessions, true
	}
}

// layer is what the words amount to. A weight of nothing drains, as agents have always meant it.
func (a *agent) layer() balance.AgentAdvice {
	said := &a.advice
	l := balance.AgentAdvice{Down: said.Health == agentcheck.HealthDown, Reason: said.String()}
	weight := said.Weight.Value
	switch said.Weight.Kind {
	case agentcheck.WeightPercent:
		l.Percent = &weight
	case agentcheck.WeightAbsolute:
		l.Weight = &weight
	}
	switch {
	case said.Admin == agentcheck.AdminMaint:
		l.Admin = balance.Maint
	case said.Admin == agentcheck.AdminDrain, said.Weight.Kind != agentcheck.WeightUnset && weight == 0:
		l.Admin = balance.Drain
	}
	if said.HasMaxSessions {
		limit := said.MaxSessions
		l.MaxSessions = &limit
	}
	return l
}

// expireAdvice takes words back that are older than their ttl.
func (e *Engine) expireAdvice(a *agent, c *balance.Cluster, key checks.Key, ttl time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := e.plane.Now()
	if a.removed || a.expired || now-a.reportedAt <= ttl {
		return
	}
	a.advice, a.expired = agentcheck.Advice{}, true
	e.log.Info("agent: silent, its words are forgotten", "cluster", key.Cluster, "server", key.Server, "check", key.Check, "ttl", ttl.String())
	c.SetAgent(key.Server, balance.AgentAdvice{Reason: "the agent has fallen silent"}, now)
	e.stateFile.Changed()
}

// closeLoops ends an agent's say, because its check has left the configuration.
func (a *agent) remove(c *balance.Cluster, server string, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removed = true
	if c != nil && !a.expired {
		c.SetAgent(server, balance.AgentAdvice{Reason: "no longer asked"}, now)
	}
}

// dropHealth forgets what was said of the server's health at an address that it has no more, as the cluster does.
func (a *agent) dropHealth() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advice.Health, a.advice.Word, a.advice.Text = agentcheck.HealthUnset, "", ""
	a.advice.Admin = agentcheck.AdminUnset
}
