package l4

// Newcomers of UDP who find the table full while the flows that have to make room are other loops': their datagrams wait,
// a few of them, until the others have been asked.

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

const (
	newcomersMax = 16 // runs of datagrams that wait at one socket; more are refused at once
	askMax       = 2  // how often room is looked for on behalf of one: what it waits for may come a moment too early for it
)

// newcomer is what a client without a flow has sent, in memory of its own.
type newcomer struct {
	key  flowKey
	said *introduction // nil where clients come without a PROXY header
	run  run
	asks uint8
}

// awaits reports whether something of a client waits already: what it sends next must not overtake it.
func (in *inlet) awaits(key *flowKey, named netip.AddrPort) bool {
	return slices.ContainsFunc(in.newcomers, func(n newcomer) bool { return n.key == *key && n.said.named() == named })
}

// hold keeps what a newcomer has sent until the other loops have been asked for room; false if that is of no use.
func (in *inlet) hold(l *loop, key *flowKey, said *introduction, p *run) bool {
	if len(l.plane.loops) == 1 || len(in.newcomers) == newcomersMax || in.asks == askMax || in.closing || l.stopping || l.acceptPaused {
		return false
	}
	n := newcomer{key: *key, run: run{data: slices.Clone(p.data), size: p.size, tlvs: slices.Clone(p.tlvs), next: -1}, asks: in.asks + 1}
	if said != nil {
		copied := *said
		copied.tlvs = nil
		n.said = &copied
	}
	in.newcomers = append(in.newcomers, n)
	in.needed.Add(1)
	if !in.asking {
		in.asking = true
		in.askForRoom(l)
	}
	return true
}

// askForRoom has the other loops part with their oldest flows that have no answer, as many as are needed, and then lets the
// newcomers in. Where the listener's limit is what is short, the places are kept for them: other newcomers are quicker.
func (in *inlet) askForRoom(l *loop) {
	gate := in.ln.set.Load().Admission.State
	var left, places atomic.Int32
	left.Store(int32(len(l.plane.loops) - 1))
	for _, o := range l.plane.loops {
		if o == l {
			continue
		}
		o.post(message{do: func(o *loop) {
			limit := int64(in.ln.set.Load().Admission.MaxSessions)
			o.inletsOf(in.ln, func(other *inlet) {
				for f := other.table.oldest; f != nil && !f.frozen && in.needed.Load() > 0; f = other.table.oldest {
					in.needed.Add(-1)
					f.finish(o, FlowEvicted)
					if acquireCount(&gate.sessions, limit) {
						places.Add(1)
					}
				}
			})
			if left.Add(-1) == 0 {
				l.post(message{do: func(l *loop) { in.seat(l, gate, int(places.Load())) }})
			}
		}})
	}
}

// assign lets those in who waited, as far as there is room by now, with the places that were kept for them.
func (in *inlet) seat(l *loop, gate *AdmissionState, places int) {
	waited := in.newcomers
	in.newcomers, in.asking = nil, false
	in.needed.Store(0)
	m := l.datagrams
	m.runs, m.touched = m.runs[:0], m.touched[:0]
	set := in.ln.set.Load()
	open := l.udpSockets[in.number] == in
	for i := range waited {
		n := &waited[i]
		if places > 0 {
			places--
			gate.sessions.Add(-1)
		}
		if !open {
			continue
		}
		in.asks = n.asks
		if f := in.flowOf(l, set, &n.key, n.said, &n.run); f != nil {
			f.queue(m, &n.run)
		}
	}
	in.asks = 0
	gate.sessions.Add(-int64(places))
	l.forwardAll()
}
