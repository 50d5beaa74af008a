package l4

// Waiting for a server that is at max_sessions: the session has a place in the cluster's queue.

import "weir/balance"

// waitForServer joins the queue. queue_timeout counts from the first time.
func (s *session) waitForServer(l *loop) {
	d := s.dialer
	s.phase = PhaseQueue
	if d.queueDeadline == 0 {
		l.readClock()
		d.queueDeadline = l.now + s.set.QueueTimeout
	}
	at := d.queueDeadline
	if t := s.set.TryTimeout; t > 0 {
		at = min(at, d.startedAt+t)
	}
	l.wheel.arm(&s.timer, at) // again: a dial may have used the timer
	s.set.Cluster.Wait(l.now, &d.attempts, &d.waiter, s.waker(l))
}

// waker returns the wake-up of a session that begins to wait, queued or held.
func (s *session) waker(l *loop) func() {
	id, slot, wakes := s.id, s.slot, s.dialer.wakes
	return func() {
		l.post(message{do: func(l *loop) {
			s := l.sessions.all[slot]
			if s != nil && s.id == id && (s.phase == PhaseQueue || s.phase == PhaseHold) && s.dialer.wakes == wakes {
				s.serverGranted(l)
			}
		}})
	}
}

// serverGranted continues with the lease that was granted to the session, or picks again if there is none.
func (s *session) serverGranted(l *loop) {
	d := s.dialer
	if s.phase == PhaseHold {
		s.leaveHold(l)
	}
	d.wakes++
	lease := d.waiter.Lease
	d.waiter = balance.Waiter{}
	if lease.Server() != nil {
		s.dialGranted(l, lease)
		return
	}
	s.phase = PhaseDial
	s.pick(l)
}

// dialGranted dials the server of a lease that was granted while the session waited.
func (s *session) dialGranted(l *loop, lease balance.Lease) {
	s.phase = PhaseDial
	s.lease = lease
	if e := s.attempt(l); e != 0 && s.mayRetry(l, e) {
		s.pick(l)
	}
}

// freezeQueue takes the session out of the queue for a handover. It keeps its position.
func (s *session) freezeQueue(l *loop) {
	d := s.dialer
	s.set.Cluster.CancelWait(&d.waiter, l.now)
	d.waiter = balance.Waiter{}
	d.wakes++ // a wake-up on its way is for nothing
}

// cancelWait leaves the queue or the held sessions, and releases a lease that was granted meanwhile.
func (d *dialer) cancelWait(l *loop, s *session) {
	switch s.phase {
	case PhaseQueue:
		s.set.Cluster.CancelWait(&d.waiter, l.now)
	case PhaseHold:
		s.set.Cluster.CancelWait(&d.waiter, l.now)
		s.countHeld(l, -1)
	}
}
