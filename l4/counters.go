package l4

// What the data plane counts. Each loop has its own counters, which it alone writes; observers add them up.

import (
	"sync/atomic"
	"time"
)

// buckets are the upper bounds of the histograms' buckets. Longer durations are in the total only.
var buckets = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
	5 * time.Minute, 30 * time.Minute, time.Hour, 12 * time.Hour,
}

// Histogram counts durations.
type Histogram struct {
	Count   uint64
	Sum     time.Duration
	Buckets [len(buckets)]uint64 // not cumulative
}

// HistogramBounds returns the upper bounds of a Histogram's buckets.
func HistogramBounds() []time.Duration { return append([]time.Duration(nil), buckets[:]...) }

// add counts a duration. Only one goroutine may write.
func (h *Histogram) add(d time.Duration) {
	store(&h.Count, h.Count+1)
	atomic.StoreInt64((*int64)(&h.Sum), int64(h.Sum+d))
	for i := range buckets {
		if d <= buckets[i] {
			store(&h.Buckets[i], h.Buckets[i]+1)
			return
		}
	}
}

// Merge adds another histogram.
func (h *Histogram) Merge(o *Histogram) {
	h.Count += atomic.LoadUint64(&o.Count)
	h.Sum += time.Duration(atomic.LoadInt64((*int64)(&o.Sum)))
	for i := range o.Buckets {
		h.Buckets[i] += atomic.LoadUint64(&o.Buckets[i])
	}
}

// Counters are the counters of a listener since it was opened. Bytes are at most a second old.
type Counters struct {
	Live       int                      // current sessions
	Sessions   uint64                   // begun
	TakenOver  uint64                   // received from another process
	HandedOver uint64                   // to another process
	Ended      [terminationCount]uint64 // in the order of Terminations
	BytesUp    uint64                   // client to server
	BytesDown  uint64
	Lifetime   Histogram

	DatagramsUp   uint64 // that the sockets to servers have taken
	DatagramsDown uint64 // that the listener's socket has taken

	Rejected [rejectionCount]uint64 // clients, by Rejection
	Dropped  [dropCount]uint64      // datagrams, by Drop; those dropped by the kernel are at most a second old
}

func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

func (c *Counters) merge(o *Counters) {
	begun := atomic.LoadUint64(&o.Sessions)
	c.Sessions += begun
	adopted, moved := atomic.LoadUint64(&o.TakenOver), atomic.LoadUint64(&o.HandedOver)
	c.TakenOver += adopted
	c.HandedOver += moved
	c.Live += int(begun+adopted) - int(moved)
	for i := range o.Ended {
		n := atomic.LoadUint64(&o.Ended[i])
		c.Ended[i] += n
		c.Live -= int(n)
	}
	c.BytesUp += atomic.LoadUint64(&o.BytesUp)
	c.BytesDown += atomic.LoadUint64(&o.BytesDown)
	c.DatagramsUp += atomic.LoadUint64(&o.DatagramsUp)
	c.DatagramsDown += atomic.LoadUint64(&o.DatagramsDown)
	c.Lifetime.Merge(&o.Lifetime)
	for i := range o.Rejected {
		c.Rejected[i] += atomic.LoadUint64(&o.Rejected[i])
	}
	for i := range o.Dropped {
		c.Dropped[i] += atomic.LoadUint64(&o.Dropped[i])
	}
}

// Add adds all counts of o except Live.
func (c *Counters) Add(o *Counters) {
	live := c.Live
	c.merge(o)
	c.Live = live
}

// SetBaseline adds what another process has counted for the listener, except its current sessions. A later call
// replaces an earlier one.
func (ln *Listener) SetBaseline(before Counters) { ln.baseline.Store(&before) }

// Counters returns the sum over all loops.
func (ln *Listener) Counters() Counters {
	var sum Counters
	if before := ln.baseline.Load(); before != nil {
		sum.Add(before)
	}
	for i := range ln.counters {
		sum.merge(&ln.counters[i])
	}
	return sum
}

// Rejected returns the number of rejected clients, by Rejection.
func (ln *Listener) Rejected() (sum [rejectionCount]uint64) {
	for i := range ln.counters {
		for r := range sum {
			sum[r] += atomic.LoadUint64(&ln.counters[i].Rejected[r])
		}
	}
	return sum
}

// countRejection counts a client that is rejected at the listener.
func (l *loop) countRejection(ln *Listener, why Rejection) {
	t := &ln.counters[l.index].Rejected[why]
	store(t, *t+1)
	l.plane.rejected.Add(1)
}

// ServerStats holds the counters of one server, as long as the server keeps its identity. All Targets of the server
// share it.
type ServerStats struct {
	counts   []serverCounts
	baseline atomic.Pointer[ServerCounters] // of another process
}

// serverCounts are one loop's counters, in a cache line.
type serverCounts struct {
	sessions, up, down, dials, fails, retries, connectNanos uint64

	dialTimes atomic.Pointer[DialTimes] // nil = no connection yet
}

// NewServerStats returns empty counters for the loops of the plane.
func (p *Plane) NewServerStats() *ServerStats {
	return &ServerStats{counts: make([]serverCounts, len(p.loops))}
}

// ServerCounters are the sum of a ServerStats. Bytes are at most a second old.
type ServerCounters struct {
	Sessions    uint64 // connected
	BytesUp     uint64 // client to server
	BytesDown   uint64
	Dials       uint64        // attempts
	DialFails   uint64        // failed attempts that count against the server
	Retries     uint64        // attempts after a session's first
	ConnectTime time.Duration // sum over all successful dials
}

// SetBaseline adds what another process has counted for the server. A later call replaces an earlier one.
func (st *ServerStats) SetBaseline(before ServerCounters) { st.baseline.Store(&before) }

// Counters returns the sum over all loops.
func (st *ServerStats) Counters() ServerCounters {
	var sum ServerCounters
	if before := st.baseline.Load(); before != nil {
		sum = *before
	}
	for i := range st.counts {
		t := &st.counts[i]
		sum.Sessions += atomic.LoadUint64(&t.sessions)
		sum.BytesUp += atomic.LoadUint64(&t.up)
		sum.BytesDown += atomic.LoadUint64(&t.down)
		sum.Dials += atomic.LoadUint64(&t.dials)
		sum.DialFails += atomic.LoadUint64(&t.fails)
		sum.Retries += atomic.LoadUint64(&t.retries)
		sum.ConnectTime += time.Duration(atomic.LoadUint64(&t.connectNanos))
	}
	return sum
}

// LoopCounters are the counters of one event loop.
type LoopCounters struct {
	Sessions int           // now
	Slept    time.Duration // since the plane was opened; the loop was busy the rest of the time
	Pipes    int           // open now, in use or free
	DialTime Histogram     // of successful dials
}

// Counters returns the counters of each event loop.
func (p *Plane) Counters() []LoopCounters {
	all := make([]LoopCounters, len(p.loops))
	for i, l := range p.loops {
		c := &all[i]
		c.Sessions = int(l.live.Load())
		c.Slept = time.Duration(l.sleptNanos.Load())
		if since := l.asleepSince.Load(); since > 0 {
			c.Slept += max(0, p.Now()-time.Duration(since))
		}
		c.Pipes = int(l.pipes.open.Load())
		c.DialTime.Merge(&l.dialTime)
	}
	return all
}

// flushBytes adds the bytes moved since the last call to the counters.
func (s *session) flushBytes(l *loop) {
	up, down := s.up.bytes-s.flushedUp, s.down.bytes-s.flushedDown
	if up|down == 0 {
		return
	}
	s.flushedUp, s.flushedDown = s.up.bytes, s.down.bytes
	t := s.counters(l)
	store(&t.BytesUp, t.BytesUp+up)
	store(&t.BytesDown, t.BytesDown+down)
	if s.serverCounts != nil {
		store(&s.serverCounts.up, s.serverCounts.up+up)
		store(&s.serverCounts.down, s.serverCounts.down+down)
	}
}

// flushAllBytes flushes the bytes of all sessions and flows that have moved some.
func (l *loop) flushAllBytes() {
	for i, s := range l.dirty {
		s.dirty = false
		if s.phase != PhaseNone { // not ended
			s.flushBytes(l)
			s.watchSilence(l)
		}
		l.dirty[i] = nil
	}
	if l.dirty = l.dirty[:0]; cap(l.dirty) > maxFree {
		l.dirty = nil
	}
	for i, f := range l.dirtyFlows {
		f.dirty = false
		if f.id != 0 { // not ended
			f.flushBytes(l)
			f.countOverflow()
		}
		l.dirtyFlows[i] = nil
	}
	if l.dirtyFlows = l.dirtyFlows[:0]; cap(l.dirtyFlows) > maxFree {
		l.dirtyFlows = nil
	}
	for _, s := range l.listenSockets {
		if s.udp != nil {
			s.udp.countOverflow()
		}
	}
}
