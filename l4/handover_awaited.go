package l4

import "sync/atomic"

// The sessions of the old process of an upgrade count for the limits of this one from the start: until they arrive, they are
// awaited. Otherwise clients would get their slots twice.

// takeOne takes one of a number of awaited sessions, or reports that there is none.
func takeOne(awaited *atomic.Int64) bool {
	for {
		n := awaited.Load()
		if n <= 0 {
			return false
		}
		if awaited.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// lower lowers a number to n, and returns by how much.
func lower(awaited *atomic.Int64, n int64) (by int64) {
	for {
		old := awaited.Load()
		if old <= n {
			return 0
		}
		if awaited.CompareAndSwap(old, n) {
			return old - n
		}
	}
}

// Await counts n sessions that the old process has. It is called before the listeners start.
func (g *AdmissionState) Await(n int) {
	g.awaited.Add(int64(n))
	g.sessions.Add(int64(n))
}

// StillAwait records that the old process has only n sessions now: the others have arrived or ended.
func (g *AdmissionState) StillAwait(n int) {
	if by := lower(&g.awaited, int64(n)); by > 0 {
		g.sessions.Add(-by)
		g.wake()
	}
}

// arrive counts a session of the old process.
func (g *AdmissionState) arrive() {
	if !takeOne(&g.awaited) {
		g.sessions.Add(1)
	}
}

// Await is AdmissionState.Await for the sessions and flows of all listeners.
func (p *Plane) Await(n int) { p.awaited.Store(int64(n)) }

// StillAwait is AdmissionState.StillAwait for the sessions and flows of all listeners.
func (p *Plane) StillAwait(n int) {
	if lower(&p.awaited, int64(n)) > 0 && p.waiting.Swap(false) {
		p.resumeWaiting()
	}
}

// arrive counts a session or flow of the old process.
func (p *Plane) arrive() {
	p.sessions.Add(1)
	takeOne(&p.awaited)
}
