package balance

import "time"

// Waiter is a session's entry in the queue of a cluster. It belongs to the caller. From Wait until the wake-up or
// CancelWait the caller must not move or change it or its Attempts. The zero value is ready.
type Waiter struct {
	// Lease is the result of a wake-up. If its Server is not nil, the session has its server. If it is nil, the session
	// must Pick again. The caller that takes the lease sets the field to the zero Lease.
	Lease Lease

	attempts   *Attempts
	wake       func()
	prev, next *Waiter
	waiting    bool
	group      *holdGroup // that it is held in; nil = it is not held
	place      int        // in the group
}

// waitQueue holds waiting sessions in order of arrival.
type waitQueue struct {
	head, tail *Waiter
	n          int
	issued     uint64 // queue numbers issued
}

// issueNumber gives a session that has not waited before its position in the order of arrival.
func (q *waitQueue) issueNumber(t *Attempts) {
	q.issued++
	t.queueNumber = q.issued
}

// push adds a session at the end of the queue. A session that has waited before, and whose server then refused it,
// returns to its position by first arrival. Such sessions are among the oldest, so the search starts at the head.
func (q *waitQueue) push(w *Waiter) {
	w.waiting = true
	var after *Waiter // the entry that follows w
	if w.attempts.queueNumber == 0 {
		q.issueNumber(w.attempts)
	} else {
		for after = q.head; after != nil && after.attempts.queueNumber < w.attempts.queueNumber; after = after.next {
		}
	}
	w.next, w.prev = after, q.tail
	if after == nil {
		q.tail = w
	} else {
		w.prev, after.prev = after.prev, w
	}
	if w.prev == nil {
		q.head = w
	} else {
		w.prev.next = w
	}
	q.n++
}

func (q *waitQueue) remove(w *Waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.waiting = nil, nil, false
	q.n--
}

// Wait queues a session for which Pick returned ErrFull. Waiting sessions are served in order of arrival, each by the
// servers it may use, and before new sessions. A session that waits again with the same Attempts keeps its position.
// wake is called once, without the lock, possibly before Wait returns. Then w.Lease holds a lease, or there is nothing
// left to wait for and the next Pick returns the reason.
func (c *Cluster) Wait(now time.Duration, t *Attempts, w *Waiter, wake func()) {
	c.lock(now)
	w.attempts, w.wake = t, wake
	if lease, err := c.pick(t); err == ErrFull {
		w.Lease = Lease{}
		c.queue.push(w)
	} else {
		c.wakeWaiter(w, lease)
	}
	c.unlock()
}

// CancelWait removes a session from the queue or from the held ones because its client has gone or has waited long enough. A lease that was
// granted but not taken from w is released. A wake-up that is already in progress may still arrive afterwards.
func (c *Cluster) CancelWait(w *Waiter, now time.Duration) {
	c.lock(now)
	lease := c.endWait(w)
	c.unlock()
	lease.Done(now)
}

// endWait removes a session from where it waits and returns a lease that was granted but not taken.
func (c *Cluster) endWait(w *Waiter) Lease {
	if w.waiting {
		c.queue.remove(w)
	}
	if w.group != nil {
		c.hold.remove(w)
	}
	lease := w.Lease
	w.Lease, w.attempts, w.wake = Lease{}, nil, nil
	return lease
}

// serveWaiters grants open slots to waiting sessions in order of arrival. Slots that remain open cannot be used by any
// waiting session, so a new session that takes one overtakes none. all also visits the queue when no slot is open,
// because a session may have nothing left to wait for.
func (c *Cluster) serveWaiters(all bool) {
	for w := c.queue.head; w != nil && (all || c.hasOpenSlot()); {
		next := w.next
		if lease, err := c.pick(w.attempts); err != ErrFull {
			c.queue.remove(w)
			c.wakeWaiter(w, lease)
		}
		w = next
	}
}

// wakeWaiter ends a wait.
func (c *Cluster) wakeWaiter(w *Waiter, lease Lease) {
	w.Lease = lease
	c.wakeups = append(c.wakeups, w.wake)
	w.attempts, w.wake = nil, nil
}

func (c *Cluster) hasOpenSlot() bool {
	for _, l := range c.levels {
		if l.open() > 0 {
			return true
		}
	}
	return false
}
