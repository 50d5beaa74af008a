package l4

// Newcomers of UDP who find the table full while the flows that have to make room are other loops': their datagrams wait,
// a few of them, until the others have been asked.

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

const (
	maxPendingRuns      = 16 // runs of datagrams that wait at one socket; more are refused at once
	maxEvictionRequests = 2  // how often room is looked for on behalf of one: what it waits for may come a moment too early for it
)

// pendingDatagrams is what a client without a flow has sent, in memory of its own.
type pendingDatagrams struct {
	key      flowKey
	header   *headerInfo // nil where clients come without a PROXY header
	run      run
	requests uint8
}

// isPending reports whether something of a client waits already: what it sends next must not overtake it.
func (in *udpSocket) isPending(key *flowKey, named netip.AddrPort) bool {
	return slices.ContainsFunc(in.pending, func(n pendingDatagrams) bool { return n.key == *key && n.header.clientAddr() == named })
}

// addPending keeps what a newcomer has sent until the other loops have been asked for room; false if that is of no use.
func (in *udpSocket) addPending(l *loop, key *flowKey, said *headerInfo, p *run) bool {
	if len(l.plane.loops) == 1 || len(in.pending) == maxPendingRuns || in.requests == maxEvictionRequests || in.draining || l.stopping || l.acceptPaused {
		return false
	}
	n := pendingDatagrams{key: *key, run: run{data: slices.Clone(p.data), size: p.size, tlvs: slices.Clone(p.tlvs), next: -1}, requests: in.requests + 1}
	if said != nil {
		copied := *said
		copied.tlvs = nil
		n.header = &copied
	}
	in.pending = append(in.pending, n)
	in.evictionsNeeded.Add(1)
	if !in.evictionRequested {
		in.evictionRequested = true
		in.requestEviction(l)
	}
	return true
}

// requestEviction has the other loops part with their oldest flows that have no answer, as many as are needed, and then lets the
// newcomers in. Where the listener's limit is what is short, the places are kept for them: other newcomers are quicker.
func (in *udpSocket) requestEviction(l *loop) {
	gate := in.ln.set.Load().Admission.State
	var left, places atomic.Int32
	left.Store(int32(len(l.plane.loops) - 1))
	for _, o := range l.plane.loops {
		if o == l {
			continue
		}
		o.post(message{do: func(o *loop) {
			limit := int64(in.ln.set.Load().Admission.MaxSessions)
			o.eachUDPSocket(in.ln, func(other *udpSocket) {
				for f := other.table.oldest; f != nil && !f.frozen && in.evictionsNeeded.Load() > 0; f = other.table.oldest {
					in.evictionsNeeded.Add(-1)
					f.finish(o, FlowEvicted)
					if acquireCount(&gate.sessions, limit) {
						places.Add(1)
					}
				}
			})
			if left.Add(-1) == 0 {
				l.post(message{do: func(l *loop) { in.admitPending(l, gate, int(places.Load())) }})
			}
		}})
	}
}

// assign lets those in who waited, as far as there is room by now, with the places that were kept for them.
func (in *udpSocket) admitPending(l *loop, gate *AdmissionState, places int) {
	waited := in.pending
	in.pending, in.evictionRequested = nil, false
	in.evictionsNeeded.Store(0)
	m := l.udp
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
		in.requests = n.requests
		if f := in.findOrStart(l, set, &n.key, n.header, &n.run); f != nil {
			f.queueRun(m, &n.run)
		}
	}
	in.requests = 0
	gate.sessions.Add(-int64(places))
	l.forwardAll()
}
