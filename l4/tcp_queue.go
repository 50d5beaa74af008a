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
	id, slot := s.id, s.slot
	s.set.Cluster.Wait(l.now, &d.attempts, &d.waiter, func() {
		l.post(message{do: func(l *loop) {
			if s := l.sessions.all[slot]; s != nil && s.id == id && s.phase == PhaseQueue {
				s.serverGranted(l)
			}
		}})
	})
}

// serverGranted continues with the lease that was granted to the session, or picks again if there is none.
func (s *session) serverGranted(l *loop) {
	d := s.dialer
	s.phase = PhaseDial
	s.lease, d.waiter = d.waiter.Lease, balance.Waiter{}
	if s.lease.Server() == nil {
		s.pick(l)
		return
	}
	if e := s.attempt(l); e != 0 && s.mayRetry(l, e) {
		s.pick(l)
	}
}

// cancelWait leaves the queue and releases a lease that was granted meanwhile.
func (d *dialer) cancelWait(l *loop, s *session) {
	if s.phase == PhaseQueue {
		s.set.Cluster.CancelWait(&d.waiter, l.now)
	}
}
