package l4

// MaxPendingClients for a server that is full: the session holds its place in the cluster's queue, and its loop goes on.

import "weir/balance"

// enqueue takes a place in the queue, once; the time for it runs from the first.
func (s *session) enqueue(l *loop) {
	d := s.dialling
	s.phase = phaseQueue
	if d.queueEnd == 0 {
		l.lookAtClock()
		d.queueEnd = l.now + s.set.QueueTimeout
	}
	at := d.queueEnd
	if t := s.set.TryTimeout; t > 0 {
		at = min(at, d.sought+t)
	}
	l.wheel.arm(&s.timer, at) // again, if a dial has used the timer meanwhile
	id, slot := s.id, s.slot
	s.set.Cluster.Wait(l.now, &d.trial, &d.waiter, func() {
		l.post(message{do: func(l *loop) {
			if s := l.sessions.all[slot]; s != nil && s.id == id && s.phase == phaseQueue {
				s.called(l)
			}
		}})
	})
}

// called goes on with the lease that came free for this session, or looks again when there is none.
func (s *session) called(l *loop) {
	d := s.dialling
	s.lease, d.waiter = d.waiter.Lease, balance.Waiter{}
	if s.lease.Server() == nil {
		s.pick(l)
		return
	}
	if e := s.attempt(l); e != 0 && s.another(l, e) {
		s.pick(l)
	}
}

// leave gives up a place in the queue, and a lease that was granted on it.
func (d *dialling) leave(l *loop, s *session) {
	if s.phase == phaseQueue {
		s.set.Cluster.CancelWait(&d.waiter, l.now)
	}
}
