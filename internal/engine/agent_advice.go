package engine

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"weir/agentcheck"
	"weir/balance"
	"weir/checks"
	"weir/conf"
)

// agent is the state of one agent check of one server. It survives reloads that keep the check.
type agent struct {
	mu           sync.Mutex
	advice       agentcheck.Advice // merged from all replies: a reply replaces the kinds of words that it has
	reportedAt   time.Duration     // when the last reply came; undefined while expired
	expired      bool              // no reply yet, or none within ttl
	removed      bool              // the check has left; later results are ignored
	unknownWords map[string]bool   // that were logged
	malformed    bool              // the last reply was not a line, and that was logged
}

func newAgent() *agent { return &agent{expired: true, unknownWords: map[string]bool{}} }

// maxUnknownWords bounds the unknown words that are logged for one agent.
const maxUnknownWords = 16

func isAgent(check *conf.Check) bool { return check.Type == "agent" || check.Type == "agent_http" }

// handleResult applies a reply to the server, and reports whether the advice has changed. A failed check changes
// nothing.
func (a *agent) handleResult(log *slog.Logger, c *balance.Cluster, r checks.Result, now time.Duration) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return false
	}
	about := []any{"cluster", r.Cluster, "server", r.Server, "check", r.Check}
	reply := r.Report.Advice
	if reply == nil {
		malformed := errors.Is(r.Err, agentcheck.ErrIncomplete) || errors.Is(r.Err, agentcheck.ErrTooLong)
		if malformed && !a.malformed {
			log.Warn("agent check: incomplete reply ignored", append(about, "error", r.Err)...)
		}
		a.malformed = a.malformed || malformed
		return false
	}
	a.malformed = false
	if word := reply.Unknown; word != "" && !a.unknownWords[word] && len(a.unknownWords) < maxUnknownWords {
		a.unknownWords[word] = true
		log.Warn("agent check: unknown word ignored", append(about, "word", word)...)
	}
	old := a.advice
	a.merge(*reply)
	changed = a.advice != old || a.expired
	a.reportedAt, a.expired = now, false
	c.SetAgent(r.Server, a.layer(), now)
	return changed
}

// merge adds a reply. Kinds of words that it does not have stay.
func (a *agent) merge(reply agentcheck.Advice) {
	if reply.Health != agentcheck.HealthUnset {
		a.advice.Health, a.advice.Word, a.advice.Text = reply.Health, reply.Word, reply.Text
	}
	if reply.Admin != agentcheck.AdminUnset {
		a.advice.Admin = reply.Admin
	}
	if reply.Weight.Kind != agentcheck.WeightUnset {
		a.advice.Weight = reply.Weight
	}
	if reply.HasMaxSessions {
		a.advice.MaxSessions, a.advice.HasMaxSessions = reply.MaxSessions, true
	}
}

// layer returns the advice as a layer. A weight of 0 drains, as with HAProxy.
func (a *agent) layer() balance.AgentAdvice {
	advice := &a.advice
	l := balance.AgentAdvice{Down: advice.Health == agentcheck.HealthDown, Reason: advice.String()}
	weight := advice.Weight.Value
	switch advice.Weight.Kind {
	case agentcheck.WeightPercent:
		l.Percent = &weight
	case agentcheck.WeightAbsolute:
		l.Weight = &weight
	}
	switch {
	case advice.Admin == agentcheck.AdminMaint:
		l.Admin = balance.Maint
	case advice.Admin == agentcheck.AdminDrain, advice.Weight.Kind != agentcheck.WeightUnset && weight == 0:
		l.Admin = balance.Drain
	}
	if advice.HasMaxSessions {
		l.MaxSessions = new(advice.MaxSessions)
	}
	return l
}

// expire drops the advice if no reply came within ttl, and reports whether it did.
func (a *agent) expire(c *balance.Cluster, server string, ttl, now time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed || a.expired || now-a.reportedAt <= ttl {
		return false
	}
	a.advice, a.expired = agentcheck.Advice{}, true
	c.SetAgent(server, balance.AgentAdvice{Reason: "no reply within ttl"}, now)
	return true
}

// remove drops the advice because the check has left the configuration.
func (a *agent) remove(c *balance.Cluster, server string, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removed = true
	if c != nil && !a.expired {
		c.SetAgent(server, balance.AgentAdvice{Reason: "agent check removed"}, now)
	}
}

// dropHealth drops the advice on health and state: the server has another address, so that its cluster drops them too.
func (a *agent) dropHealth() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advice.Health, a.advice.Word, a.advice.Text = agentcheck.HealthUnset, "", ""
	a.advice.Admin = agentcheck.AdminUnset
}
