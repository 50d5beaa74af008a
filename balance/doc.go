// Package balance selects the server of a session. A Cluster holds servers in ordered levels. Pick selects a server for
// one attempt of one session and returns a Lease, which is released exactly once. The rest of the package supports this
// decision: what is known about each server (Layers), the state that follows from it (State), its share of the sessions
// (weight, slow start, back-off after failures), and the balancing method.
//
// The package is pure. It opens no socket, starts no goroutine and never reads the clock. Time is an argument: a
// monotonic duration since an origin that the caller chose. The same calls in the same order give the same results on
// every machine.
//
// A Cluster is safe for concurrent use. It has one mutex. A pick is one short critical section and does not allocate.
// Callbacks (events, wake-ups) are made in order, without the lock.
//
//	lease, err := cluster.Pick(now, &attempts) // ErrNoServer, ErrNoAttemptsLeft, ErrFull or ErrHold
//	… dial lease.Server() …
//	lease.Fail(now, why)                       // the server failed: it counts; Pick again with the same attempts
//	lease.Established(now, took)               // the server answered
//	lease.Done(now)                            // the session has ended
//
// README.md describes the methods, the levels and the states.
package balance
