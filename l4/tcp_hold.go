package l4

// Holding a new session while no server can serve it (hold_timeout). Nothing is read from its client, and it holds no buffer.
// The cluster wakes it when it has a server for it. Protection acts when the hold is over: then the session picks once
// more, and a server that only protection keeps in service may serve it.

import (
	"cmp"
	"time"

	"weir/balance"
	"weir/internal/proxy"
)

// holdState is the part of a dialer that concerns holding. The zero value has not been held.
type holdState struct {
	since   time.Duration // start of the first hold
	until   time.Duration // end of all holds
	roundAt time.Duration // start of the current hold; try_timeout does not run since then
	ended   Reason        // why a session that has been held is not held again; 0 = it may be
}

// hold makes the session wait until the cluster has a server for it, or until hold_timeout, counted from the first hold.
func (s *session) hold(l *loop) {
	d := s.dialer
	l.readClock()
	if d.held.until == 0 {
		d.held.since, d.held.until = l.now, l.now+s.set.HoldTimeout
	}
	if l.now >= d.held.until {
		s.holdOver(l, ReasonHoldTimeout)
		return
	}
	s.phase = PhaseHold
	d.held.roundAt = l.now
	l.wheel.arm(&s.timer, d.held.until)
	s.countHeld(l, 1)
	if !s.set.Cluster.Hold(l.now, d.held.since, &d.attempts, &d.waiter, s.waker(l)) {
		s.finish(l, ReasonHoldFull)
	}
}

// countHeld adds to the number of sessions that the loop holds.
func (s *session) countHeld(l *loop, n int64) { l.plane.held.Add(n) }

// leaveHold ends a hold. The time that it took does not count for try_timeout.
func (s *session) leaveHold(l *loop) {
	d := s.dialer
	l.readClock()
	d.startedAt += l.now - d.held.roundAt
	d.wakes++ // a wake-up on its way is for nothing
	l.wheel.stop(&s.timer)
	s.countHeld(l, -1)
}

// holdExpired ends the hold of a session that has not got a server within hold_timeout.
func (s *session) holdExpired(l *loop) {
	lease, paced := s.set.Cluster.StopHold(l.now, &s.dialer.waiter)
	switch {
	case lease.Server() != nil: // just now
		s.leaveHold(l)
		s.dialGranted(l, lease)
	case paced: // a server serves: protection has nothing to do
		s.finish(l, ReasonHoldTimeout)
	default:
		s.leaveHold(l)
		s.holdOver(l, ReasonHoldTimeout)
	}
}

// holdOver picks for the last time, with the help of protection. If that fails, the session ends with the given reason.
func (s *session) holdOver(l *loop, reason Reason) {
	s.dialer.attempts.Hold = false
	s.dialer.held.ended = reason
	s.pick(l)
}

// finishHeld ends a session that has not got a server within hold_timeout, nor with the help of protection.
func (s *session) finishHeld(l *loop) {
	s.end, s.phase = Termination{PhaseHold, ReasonHoldTimeout}, PhaseAbort
	s.finish(l, ReasonHoldTimeout)
}

// endHold gives back the place of a session that has been held.
func (s *session) endHold(outcome balance.HoldOutcome) {
	if t := &s.dialer.attempts; t.Held() {
		s.set.Cluster.EndHold(t, outcome)
	}
}

// holdOutcome returns the outcome of a hold for a session that ends without a server.
func holdOutcome(reason Reason) balance.HoldOutcome {
	switch reason {
	case ReasonHoldTimeout:
		return balance.HoldTimedOut
	case ReasonClientReset:
		return balance.HoldClientReset
	}
	return balance.HoldEnded
}

// updateHeld makes the held sessions of a listener use its new settings: they have not got a server yet.
func (l *loop) updateHeld(ln *Listener, set *Settings) {
	l.eachSession(func(s *session) {
		if s.phase == PhaseHold && s.listener == ln && s.set != set {
			s.changeHold(l, set)
		}
	})
}

// changeHold continues a held session with new settings, perhaps those of another cluster. Its claim stays.
func (s *session) changeHold(l *loop, set *Settings) {
	d, old := s.dialer, s.set
	lease, _ := old.Cluster.StopHold(l.now, &d.waiter)
	lease.Done(l.now)
	s.leaveHold(l)
	set = s.routed(l, set)
	if set.Cluster != old.Cluster {
		s.endHold(balance.HoldEnded)
		d.attempts = balance.Attempts{}
	}
	s.set = set.withAdmission(&old.Admission)
	s.startAttempts(&proxy.Header{TLVs: d.tlvs})
	d.held.until = d.held.since + set.HoldTimeout
	if set.HoldTimeout == 0 {
		d.held.ended = ReasonNoServer
	}
	s.pick(l)
}

// withAdmission returns these settings with another admission.
func (set *Settings) withAdmission(a *Admission) *Settings {
	s := *set
	s.Admission = *a
	return &s
}

// freezeHold takes the session out of the cluster for a handover. It keeps its place.
func (s *session) freezeHold(l *loop) {
	lease, _ := s.set.Cluster.StopHold(l.now, &s.dialer.waiter)
	lease.Done(l.now)
	s.leaveHold(l)
}

// resumeWait continues a session that waits after a handover, unless it was cut meanwhile: then reason is why.
func (s *session) resumeWait(l *loop, reason Reason) {
	s.client.readable, s.client.writable = false, false
	switch {
	case reason != ReasonNone && !reason.ofServer():
		s.finish(l, reason)
	case !l.register(s, clientSide, s.client.fd):
		s.finish(l, ReasonLocalShortage)
	default:
		s.pick(l)
	}
}

// takeOverWait continues a session that another process has held or queued, with the settings of its listener in this process.
func (s *session) takeOverWait(l *loop, t *waitHandover, h *LocalBinding) {
	if s.set.Cluster == nil { // the listener has left
		set := *s.set
		set.Cluster, set.ConnectTimeout, set.HoldTimeout = h.Cluster, departedConnectTimeout, t.until-t.since
		s.set = &set
	}
	d := l.dialers.get()
	s.dialer, s.phase = d, PhaseHandover
	d.greeting.sent, d.greeting.hello = append(d.greeting.sent, t.hello...), len(t.hello)
	l.dialers.helloBytes += len(t.hello) // also above the limit: the old process has kept them
	s.set = s.routed(l, s.set)
	if t.queueUntil > 0 && s.set.QueueTimeout == 0 { // it waits as long as it was promised
		set := *s.set
		set.QueueTimeout = max(t.queueUntil-l.now, 1)
		s.set = &set
	}
	d.queueDeadline = t.queueUntil
	d.attempts.AdoptQueueNumber(t.queueNumber)
	d.startedAt, d.dest, d.proxyLocal, d.tlvs = cmp.Or(t.startedAt, l.now), t.dest, t.proxyLocal, append(d.tlvs, t.tlvs...)
	d.greeting.refusal = append(d.greeting.refusal, t.refusal...)
	s.startAttempts(&proxy.Header{TLVs: d.tlvs})
	if t.held {
		s.set.Cluster.AdoptHold(&d.attempts, t.since)
		d.held = holdState{since: t.since, until: t.since + s.set.HoldTimeout}
		if s.set.HoldTimeout == 0 {
			d.held.ended = ReasonNoServer
		}
	}
	reason := ReasonNone
	if l.stopping {
		reason = ReasonCutShutdown
	}
	s.resumeWait(l, reason)
}

// departedConnectTimeout is connect_timeout for sessions of a listener that the configuration lacks.
const departedConnectTimeout = 2 * time.Second
