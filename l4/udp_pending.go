package l4

// New UDP clients that find the flow table full while the flows to evict belong to other loops: some of their datagrams
// wait until the other loops have evicted flows.

import "slices"

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
	follows  bool // earlier datagrams of the client are pending, and need the slot
}

// followPending keeps a run of a client whose earlier datagrams are pending: it must not overtake them, and it needs no
// slot of its own, so it is kept even if there is nothing more to evict. It reports false if the client is not pending.
func (u *udpSocket) followPending(l *loop, key *flowKey, header *headerInfo, p *run) bool {
	named := header.clientAddr()
	i := slices.IndexFunc(u.pending, func(n pendingDatagrams) bool { return n.key == *key && n.header.clientAddr() == named })
	if i < 0 {
		return false
	}
	if len(u.pending) < maxPendingRuns {
		n := newPending(key, header, p)
		n.requests, n.follows = u.pending[i].requests, true
		u.pending = append(u.pending, n)
	} else {
		u.reject(l, RejectedMaxFlows, p.datagrams())
	}
	return true
}

func newPending(key *flowKey, header *headerInfo, p *run) pendingDatagrams {
	n := pendingDatagrams{key: *key, run: run{data: slices.Clone(p.data), size: p.size, tlvs: slices.Clone(p.tlvs), next: -1}}
	if header != nil {
		copied := *header
		copied.tlvs = nil
		n.header = &copied
	}
	return n
}

// mayWait reports whether a new client's run may wait for the other loops.
func (u *udpSocket) mayWait(l *loop) bool {
	return len(l.plane.loops) > 1 && len(u.pending) < maxPendingRuns && u.requests < maxEvictionRequests && !u.draining && !l.stopping && !l.acceptPaused
}

// addPending keeps a new client's run until the other loops have evicted flows. It reports false if that cannot help.
func (u *udpSocket) addPending(l *loop, key *flowKey, header *headerInfo, p *run) bool {
	if !u.mayWait(l) || u.ln.loopOfVictim() < 0 {
		return false
	}
	n := newPending(key, header, p)
	n.requests = u.requests + 1
	u.pending = append(u.pending, n)
	u.evictionsNeeded.Add(1)
	if !u.evictionRequested {
		u.evictionRequested = true
		u.requestEviction(l)
	}
	return true
}

// loopOfVictim returns the index of the loop that has the oldest unanswered flow, else the oldest unconfirmed one, else
// -1.
func (ln *Listener) loopOfVictim() int {
	for stage := range stageConfirmed {
		best, since := -1, int64(noFlow)
		for i := range ln.ages {
			if at := ln.ages[i].since[stage].Load(); at < since {
				best, since = i%len(ln.plane.loops), at
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// evictionRequest visits the loops that have the oldest flows, one after the other, and then admits the pending clients
// of the loop that it came from. Slots under the listener's limit stay acquired for them: other new clients would be
// faster.
type evictionRequest struct {
	socket *udpSocket
	from   *loop
	state  *AdmissionState
	slots  int
	hops   int // left
}

// requestEviction makes other loops evict as many flows as are needed.
func (u *udpSocket) requestEviction(l *loop) {
	r := &evictionRequest{socket: u, from: l, state: u.ln.set.Load().Admission.State, hops: 2 * len(l.plane.loops)}
	r.next()
}

// next visits the next loop, or returns.
func (r *evictionRequest) next() {
	u := r.socket
	i := u.ln.loopOfVictim()
	if r.hops--; r.hops < 0 || i < 0 || i == r.from.index || u.evictionsNeeded.Load() <= 0 {
		r.from.post(message{do: func(l *loop) { u.admitPending(l, r.state, r.slots) }})
		return
	}
	u.ln.plane.loops[i].post(message{do: r.evict})
}

// evict evicts flows while this loop has the oldest.
func (r *evictionRequest) evict(l *loop) {
	u := r.socket
	limit := int64(u.ln.set.Load().Admission.MaxSessions)
	l.eachUDPSocket(u.ln, func(other *udpSocket) {
		for u.evictionsNeeded.Load() > 0 && u.ln.loopOfVictim() == l.index {
			f := other.table.victim(false)
			if f == nil || f.frozen {
				return
			}
			other.table.evictions.add(l.now)
			u.evictionsNeeded.Add(-1)
			f.finish(l, ReasonEvicted)
			if acquireCount(&r.state.sessions, limit) {
				r.slots++
			}
		}
	})
	r.next()
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
		if slots > 0 && !n.follows {
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
