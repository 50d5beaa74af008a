package l4

// MaxPendingClients for a server that is full: the session holds its place in the cluster's queue, and its loop goes on.

import "weir/balance"

// waitForServer takes a place in the queue, once; the time for it runs from the first.
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
	l.wheel.arm(&s.timer, at) // again, if a dial has used the timer meanwhile
	id, slot := s.id, s.slot
	s.set.Cluster.Wait(l.now, &d.attempts, &d.waiter, func() {
		l.post(message{do: func(l *loop) {
			if s := l.sessions.all[slot]; s != nil && s.id == id && s.phase == PhaseQueue {
				s.serverGranted(l)
			}
		}})
	})
}

// serverGranted goes on with the lease that came free for this session, or looks again when there is none.
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

// release gives up a place in the queue, and a lease that was granted on it.
func (d *dialer) cancelWait(l *loop, s *session) {
	if s.phase == PhaseQueue {
		s.set.Cluster.CancelWait(&d.waiter, l.now)
	}
}
