package engine

import (
	"weir/l4"
)

// SessionCounts are the clients of a listener since it was opened.
type SessionCounts struct {
	Sessions uint64 // accepted
	Failed   uint64 // sessions that got no server, or whose server broke them off
	Refused  uint64 // clients rejected, unless weir stops
}

// SessionCounts returns the counters of the listeners, by name.
func (e *Engine) SessionCounts() map[string]SessionCounts {
	s := e.snapshot()
	counts := map[string]SessionCounts{}
	if s.cfg == nil {
		return counts
	}
	for i := range s.cfg.Listeners {
		ln := &s.cfg.Listeners[i]
		var sum l4.Counters
		for _, at := range ln.Addresses {
			if open := s.listeners[listenerID(ln.Protocol, at)]; open != nil {
				c := open.Counters()
				sum.Add(&c)
			}
		}
		c := SessionCounts{Sessions: sum.Sessions}
		for i, end := range l4.Terminations() {
			if failed(end) {
				c.Failed += sum.Ended[i]
			}
		}
		for _, r := range l4.Rejections() {
			if r != l4.RejectedStopping {
				c.Refused += sum.Rejected[r]
			}
		}
		counts[ln.Name] = c
	}
	return counts
}

// failed reports whether a session that ended so got no service: it ended before it had a server, other than by an operator,
// or its server broke it off.
func failed(end l4.Termination) bool {
	switch end.Reason {
	case l4.ReasonServerReset, l4.ReasonServerTimeout, l4.ReasonServerStalled:
		return true
	case l4.ReasonClientClosed, l4.ReasonFlowTimeout, l4.ReasonEvicted, l4.ReasonCutListenerRemoved, l4.ReasonCutShutdown, l4.ReasonCutOperator:
		return false
	}
	switch end.Phase {
	case l4.PhaseAccept, l4.PhaseUnanswered, l4.PhaseRelay, l4.PhaseHandover:
		return false
	}
	return true
}
