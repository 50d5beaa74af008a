// Package balance decides who serves a session. A Cluster holds servers in ordered levels; Pick names the server for one
// attempt of one session and hands out a Lease, which is given back exactly once. Everything else in the package exists
// so that this one decision is right: what is known about each server (Layers), what follows from it (State), how much
// of the work it should get (weight, slow start, back-off after failures), and which method shares the work out.
//
// The package is pure. It opens no socket, starts no goroutine and never reads the clock: time comes in as an argument,
// a monotonic duration since an origin that the caller chose and that never goes back. The same calls in the same order
// give the same answers on every machine.
//
// A Cluster is safe for concurrent use. It has one mutex; a pick is one short critical section and does not allocate.
// Callbacks (events, waking a waiter) are made outside the lock, in order.
//
//	lease, err := cluster.Pick(now, &trial)   // ErrNoServer, ErrNoAttemptsLeft, ErrFull
//	… dial lease.Server() …
//	lease.Fail(now, why)                      // the server's fault: it counts; then Pick again with the same trial
//	lease.Established(now, took)              // it answered
//	lease.Done(now)                           // the session is over
//
// README.md explains the methods, the levels and the states.
package balance
