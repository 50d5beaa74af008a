// Package history keeps what clusters and servers have done in the last hour: sessions, rates and dial times, for charts. It
// computes points from counters, and drops them an hour later. It has no clock and no goroutine: callers pass monotonic times.
//
// Its memory is bounded. Series have a fixed size, and those that do not fit into Budget are not kept: see there.
package history
