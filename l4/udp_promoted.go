package l4

// What a loop knows of the flows that the kernel forwards, and what it counts of them.

import (
	"errors"
	"sync/atomic"
	"time"

	"weir/internal/promotion"
)

const (
	// promotedInterval is how often the loop looks at each of its promoted flows, at most promotedBatch at a time; with more of them
	// it looks at each less often.
	promotedInterval = 100 * time.Millisecond
	promotedBatch    = 512
	minPromotedPause = 5 * time.Millisecond
)

// promotedFlow is a flow that the kernel forwards, or watches in order to.
type promotedFlow struct {
	flow     *flow
	kernel   *promotion.Kernel
	number   promotion.Number
	index    int // in promotedFlows.list
	since    time.Duration
	requests uint32            // of the flow, then
	counted  promotion.Traffic // what is in the flow's counters
	counts   bool              // in promotionCounters.now: the kernel has forwarded it
}

// promotedFlows are those of a loop.
type promotedFlows struct {
	of       map[*flow]*promotedFlow
	list     []*promotedFlow
	next     int           // in list, the next to look at
	at       time.Duration // when the loop has looked at some
	again    time.Duration // nothing is promoted before
	counters promotionCounters
}

// promotionCounters are written by the loop and read by anyone.
type promotionCounters struct {
	begun   uint64
	now     atomic.Int64
	refused [unpromotedCount]uint64
	demoted [demotedCount]uint64
}

func (m *promotedFlows) add(p *promotedFlow) {
	p.index = len(m.list)
	m.list = append(m.list, p)
	m.of[p.flow] = p
}

func (m *promotedFlows) remove(p *promotedFlow) {
	last := m.list[len(m.list)-1]
	m.list[p.index], last.index = last, p.index
	m.list[len(m.list)-1] = nil
	m.list = m.list[:len(m.list)-1]
	delete(m.of, p.flow)
}

// pause returns how long the loop waits until it looks at the next promotedBatch flows.
func (m *promotedFlows) pause() time.Duration {
	return max(minPromotedPause, promotedInterval*promotedBatch/time.Duration(max(promotedBatch, len(m.list))))
}

// due reports whether it is time to look.
func (m *promotedFlows) due(now time.Duration) bool { return len(m.list) > 0 && now-m.at >= m.pause() }

// countDemoted counts a flow that the kernel has forwarded.
func (m *promotedFlows) countDemoted(why Demoted) {
	n := &m.counters.demoted[why]
	store(n, *n+1)
	m.counters.now.Add(-1)
}

// count adds what the kernel has forwarded since the last call to what the flow has counted.
func (p *promotedFlow) count(l *loop, now promotion.Traffic) {
	f, was := p.flow, p.counted
	p.counted = now
	up, down := now.Up.Packets-was.Up.Packets, now.Down.Packets-was.Down.Packets
	if !p.counts && (now.State == promotion.Forwarding || up+down > 0) {
		f.promotion, p.counts = promoted, true
		c := &l.promoted.counters
		store(&c.begun, c.begun+1)
		c.now.Add(1)
	}
	if up+down == 0 {
		return
	}
	f.bytesUp += now.Up.Bytes - was.Up.Bytes
	f.bytesDown += now.Down.Bytes - was.Down.Bytes
	f.requests += uint32(up)
	c := f.socket.counters
	store(&c.DatagramsUp, c.DatagramsUp+up)
	store(&c.DatagramsDown, c.DatagramsDown+down)
	// The last datagram is not here to be sent again, and a reply to it may be on its way.
	l.kept.drop(f)
	f.unanswered = 0
	if now.Up.Last > now.Down.Last {
		f.unanswered = 1
	}
	if last := max(now.Up.Last, now.Down.Last) - l.plane.ClockOrigin(); last > f.activeAt {
		f.activeAt = min(last, l.now)
	}
	f.markDirty(l)
}

// lookAtPromoted reads what the kernel has forwarded of the next flows, and demotes those whose client's next datagram must be
// seen.
func (l *loop) lookAtPromoted() {
	m := &l.promoted
	m.at = l.now
	for range min(len(m.list), promotedBatch) {
		if m.next >= len(m.list) {
			m.next = 0
		}
		if len(m.list) == 0 || !m.list[m.next].look(l) {
			continue // another one is at its place now
		}
		m.next++
	}
}

// look reports whether the flow is still promoted.
func (p *promotedFlow) look(l *loop) bool {
	f := p.flow
	p.count(l, p.kernel.Traffic(p.number))
	switch p.counted.State {
	case promotion.Moved:
		f.demote(l, DemotedMoved)
		f.promotion = promotionRefused
		return false
	case promotion.TooBig:
		f.demote(l, DemotedTooBig)
		f.promotion = promotionRefused
		return false
	case promotion.Suspended:
		if p.kernel.Resume(p.number) != nil {
			f.demote(l, DemotedRoute)
			return false
		}
		p.since, p.requests = l.now, f.requests
	}
	switch {
	case f.mustChangeServer(l):
		f.demote(l, DemotedServer)
		return false
	case f.socket.ln.set.Load().Promote == nil:
		f.demote(l, DemotedOff)
		return false
	}
	return true
}

// SetKernel makes the loops promote sessions in a Kernel, or in none with nil. Sessions that are promoted in another one are demoted.
// It returns when no loop uses another one.
func (p *Plane) SetKernel(k *promotion.Kernel) {
	if p.kernel.Swap(k) == k {
		return
	}
	p.runOnLoops(func(l *loop) {
		for i := len(l.promoted.list) - 1; i >= 0; i-- {
			if at := l.promoted.list[i]; at.kernel != k {
				at.flow.demote(l, DemotedOff)
			}
		}
	})
}

// RetryPromotions makes the loops consider the flows again that could not be promoted: routes or interfaces have changed.
func (p *Plane) RetryPromotions() {
	p.postAll(func(l *loop) {
		for _, f := range l.flows.all {
			if f != nil && f.promotion == promotionRefused {
				f.promotion = promotionOpen
			}
		}
	})
}

// Unpromoted is a reason why a session is relayed in user space.
type Unpromoted uint8

// The reasons.
const (
	UnpromotedFamilies   Unpromoted = iota // client and server have different address families
	UnpromotedScope                        // an address is valid on one interface only
	UnpromotedFull                         // the kernel's tables are full
	UnpromotedUnseen                       // no packet of each direction at the interfaces with the program
	UnpromotedTaken                        // another session has the same addresses
	UnpromotedRoute                        // no route from the local address
	UnpromotedInterfaces                   // the packets leave through an interface without the program
	UnpromotedDatagrams                    // each datagram must be seen: responses, requests or a PROXY header
	UnpromotedFailed                       // an error of the kernel
	unpromotedCount
)

// String returns the reason as it is shown.
func (u Unpromoted) String() string {
	return [unpromotedCount]string{"address_families", "link_local", "tables_full", "not_seen", "address_in_use", "no_route", "interfaces", "needs_datagrams", "error"}[u]
}

// whyUnpromoted returns the reason for an error of a Kernel.
func whyUnpromoted(err error) Unpromoted {
	for why, is := range map[Unpromoted]error{
		UnpromotedFull: promotion.ErrFull, UnpromotedFamilies: promotion.ErrFamilies, UnpromotedTaken: promotion.ErrTaken,
		UnpromotedRoute: promotion.ErrNoRoute, UnpromotedInterfaces: promotion.ErrInterfaces,
	} {
		if errors.Is(err, is) {
			return why
		}
	}
	return UnpromotedFailed
}

// Demoted is a reason why the kernel forwards a session no longer.
type Demoted uint8

// The reasons.
const (
	DemotedEnded  Demoted = iota // the session has ended
	DemotedServer                // it leaves its server
	DemotedMoved                 // packets have come another way
	DemotedTooBig                // a router has refused a packet for its size
	DemotedRoute                 // the route has changed
	DemotedOff                   // the listener has promote = "off" now, or weir is being upgraded
	demotedCount
)

// String returns the reason as it is shown.
func (d Demoted) String() string {
	return [demotedCount]string{"session_ended", "server_changed", "path_changed", "packet_too_big", "route_changed", "switched_off"}[d]
}

// Promotions are what the loops have promoted.
type Promotions struct {
	Now     int    // sessions that the kernel forwards
	Begun   uint64 // sessions that it has begun to forward
	Refused [unpromotedCount]uint64
	Demoted [demotedCount]uint64
}

// Promotions returns the sum over all loops.
func (p *Plane) Promotions() (sum Promotions) {
	for _, l := range p.loops {
		c := &l.promoted.counters
		sum.Now += int(c.now.Load())
		sum.Begun += atomic.LoadUint64(&c.begun)
		for i := range sum.Refused {
			sum.Refused[i] += atomic.LoadUint64(&c.refused[i])
		}
		for i := range sum.Demoted {
			sum.Demoted[i] += atomic.LoadUint64(&c.demoted[i])
		}
	}
	return sum
}

// UnpromotedReasons and DemotedReasons return all reasons.
func UnpromotedReasons() []Unpromoted { return allBelow(unpromotedCount) }

// DemotedReasons: see UnpromotedReasons.
func DemotedReasons() []Demoted { return allBelow(demotedCount) }

func allBelow[R ~uint8](count R) []R {
	all := make([]R, count)
	for i := range all {
		all[i] = R(i)
	}
	return all
}
