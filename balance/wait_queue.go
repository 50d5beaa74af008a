package balance

import "time"

// Waiter is a session's place in the queue of a cluster. It belongs to the caller, who keeps it and the trial in place
// and leaves both alone from Wait until the wake-up or Leave. The zero value is ready.
type Waiter struct {
	// Lease is what a wake-up may bring: if its Server is not nil, the session has its server; if it is nil, the session
	// should Pick again. Whoever takes the lease out sets the field to the zero Lease.
	Lease Lease

	trial      *Attempts
	wake       func()
	prev, next *Waiter
	waiting    bool
}

// waitQueue holds those who wait, in order of arrival.
type waitQueue struct {
	head, tail *Waiter
	n          int
	issued     uint64 // given out
}

// push lets a session wait: at the end of the queue, or, if it has waited before and the server that it got refused it,
// where it belongs by its first arrival. Those who come back are among the oldest, so its place is looked for from the head.
func (q *waitQueue) push(w *Waiter) {
	w.waiting = true
	var after *Waiter // whom it stands before
	if w.trial.queueNumber == 0 {
		q.issued++
		w.trial.queueNumber = q.issued
	} else {
		for after = q.head; after != nil && after.trial.queueNumber < w.trial.queueNumber; after = after.next {
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

// Wait queues a session to which Pick said ErrFull. Those who wait are served in order of arrival, as far as each may
// use what has come free, and before any newcomer. A session that waits again with the same trial keeps its place. wake is called once, outside the lock, and possibly before Wait
// returns: either w.Lease holds a lease, or there is nothing left to wait for and the next Pick says why.
func (c *Cluster) Wait(now time.Duration, t *Attempts, w *Waiter, wake func()) {
	c.lock(now)
	w.trial, w.wake = t, wake
	if lease, err := c.pick(t); err == ErrFull {
		w.Lease = Lease{}
		c.queue.push(w)
	} else {
		c.wakeWaiter(w, lease)
	}
	c.unlock()
}

// CancelWait takes a session out of the queue, because its client has gone or has waited long enough. If a lease was granted
// meanwhile and not taken out of w, it is given back. A wake-up already on its way may still arrive afterwards.
func (c *Cluster) CancelWait(w *Waiter, now time.Duration) {
	c.lock(now)
	if w.waiting {
		c.queue.remove(w)
	}
	lease := w.Lease
	w.Lease, w.trial, w.wake = Lease{}, nil, nil
	c.unlock()
	lease.Done(now)
}

// serveWaiters gives what is free to those who wait, first come first served. What is left afterwards none of them may use, so
// a newcomer who gets it overtakes nobody. all looks at everybody even if nothing is free: somebody may have nothing
// left to wait for.
func (c *Cluster) serveWaiters(all bool) {
	for w := c.queue.head; w != nil && (all || c.hasOpenSlot()); {
		next := w.next
		if lease, err := c.pick(w.trial); err != ErrFull {
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
	w.trial, w.wake = nil, nil
}

func (c *Cluster) hasOpenSlot() bool {
	for _, l := range c.levels {
		if l.open() > 0 {
			return true
		}
	}
	return false
}
