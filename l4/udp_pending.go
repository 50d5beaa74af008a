package l4

// New UDP clients that find the flow table full while the flows to evict belong to other loops: some of their datagrams
// wait until the other loops have evicted flows.

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

const (
	maxPendingRuns      = 16 // pending runs of one socket; more are rejected at once
	maxEvictionRequests = 2  // per client: another client may take the slot first
)

// pendingDatagrams is a run of a client without a flow, in memory of its own.
type pendingDatagrams struct {
	key      flowKey
	header   *headerInfo // nil without accept_proxy
	run      run
	requests uint8
}

// isPending reports whether datagrams of a client are pending: later ones must not overtake them.
func (u *udpSocket) isPending(key *flowKey, named netip.AddrPort) bool {
	return slices.ContainsFunc(u.pending, func(n pendingDatagrams) bool { return n.key == *key && n.header.clientAddr() == named })
}

// mayWait reports whether a new client's run may wait for the other loops.
func (u *udpSocket) mayWait(l *loop) bool {
	return len(l.plane.loops) > 1 && len(u.pending) < maxPendingRuns && u.requests < maxEvictionRequests && !u.draining && !l.stopping && !l.acceptPaused
}

// addPending keeps a new client's run until the other loops have evicted flows. It reports false if that cannot help.
func (u *udpSocket) addPending(l *loop, key *flowKey, header *headerInfo, p *run) bool {
	if !u.mayWait(l) {
		return false
	}
	n := pendingDatagrams{key: *key, run: run{data: slices.Clone(p.data), size: p.size, tlvs: slices.Clone(p.tlvs), next: -1}, requests: u.requests + 1}
	if header != nil {
		copied := *header
		copied.tlvs = nil
		n.header = &copied
	}
	u.pending = append(u.pending, n)
	u.evictionsNeeded.Add(1)
	if !u.evictionRequested {
		u.evictionRequested = true
		u.requestEviction(l)
	}
	return true
}

// requestEviction makes the other loops evict flows, as many as are needed, and then admits the pending clients. As long
// as there are unanswered flows, only those are evicted. Slots under the listener's limit stay acquired for them: other new clients would be faster.
func (u *udpSocket) requestEviction(l *loop) {
	state, unansweredOnly := u.ln.set.Load().Admission.State, u.ln.unanswered.Load() > 0
	var left, slots atomic.Int32
	left.Store(int32(len(l.plane.loops) - 1))
	for _, o := range l.plane.loops {
		if o == l {
			continue
		}
		o.post(message{do: func(o *loop) {
			limit := int64(u.ln.set.Load().Admission.MaxSessions)
			o.eachUDPSocket(u.ln, func(other *udpSocket) {
				for u.evictionsNeeded.Load() > 0 {
					f := other.table.victim(other.table.evictions.flood(o.now))
					if f == nil || f.frozen || unansweredOnly && f.stage != stageUnanswered {
						break
					}
					other.table.evictions.add(o.now)
					u.evictionsNeeded.Add(-1)
					f.finish(o, ReasonEvicted)
					if acquireCount(&state.sessions, limit) {
						slots.Add(1)
					}
				}
			})
			if left.Add(-1) == 0 {
				l.post(message{do: func(l *loop) { u.admitPending(l, state, int(slots.Load())) }})
			}
		}})
	}
}

// admitPending admits pending clients, as far as there is room, with the slots that were acquired for them.
func (u *udpSocket) admitPending(l *loop, state *AdmissionState, slots int) {
	waited := u.pending
	u.pending, u.evictionRequested = nil, false
	u.evictionsNeeded.Store(0)
	m := l.udp
	m.runs, m.touched = m.runs[:0], m.touched[:0]
	set := u.ln.set.Load()
	open := l.listenSockets[u.number] == &u.listenSocket
	for i := range waited {
		n := &waited[i]
		if slots > 0 {
			slots--
			state.sessions.Add(-1)
		}
		if !open {
			continue
		}
		u.requests = n.requests
		if f := u.findOrStart(l, set, &n.key, n.header, &n.run); f != nil {
			f.queueRun(m, &n.run)
		}
	}
	u.requests = 0
	state.sessions.Add(-int64(slots))
	l.forwardAll()
}
