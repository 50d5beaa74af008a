package l4

// A UDP flow: the datagrams between one client and one server. It begins with a client's first datagram
// (udp_receive.go), connects a socket of its own to a server (udp_dial.go), forwards datagrams (udp_forward.go) and
// replies (udp_reply.go), and ends when no datagram has passed for flow_timeout. Its state is in this struct, in the
// datagram kept for resending and in the Attempts it may have borrowed.

import (
	"math"
	"net/netip"
	"time"

	"weir/balance"
)

// flow is one client's UDP flow, owned by its loop. It is small, since anyone can create flows by sending datagrams: its 352
// bytes are a size class of the allocator, and the next one has 384.
type flow struct {
	sessionCore
	socket   *udpSocket
	target   *Target
	attempts *balance.Attempts // servers tried since a refusal, until one replies
	kept     *keptDatagram     // the last unanswered datagram
	header   *headerInfo       // nil without accept_proxy
	timer    timer[*flow]

	next         *flow // in its chain of the table
	older, newer *flow // in the list of its stage, or in loop.lingering

	bytesUp, bytesDown     uint64
	flushedUp, flushedDown uint64 // bytes counted so far

	activeAt     time.Duration // last datagram in either direction
	searchedAt   time.Duration // start of the search for a server; without a server, the time of the next search
	sentAt       time.Duration // last datagram to the server
	stagedAt     time.Duration // start of stage
	balancedAt   time.Duration // when the server was picked
	leaveAt      time.Duration // when to balance again; 0 = never
	moveDeadline time.Duration // when to leave a server that has moved or was removed; 0 = neither

	local addressHash // of fd

	hash        uint32 // of the key
	slot        uint32
	fd          int32  // connected to the server; -1 = no server
	unanswered  uint32 // datagrams without a reply
	repliesLeft uint32 // with Settings.Responses: replies until the flow ends
	requests    uint32 // datagrams of the client since balancedAt
	overflowed  uint32 // replies lost in the kernel and counted
	moves       uint32 // low half of Cluster.Moves when leaveAt was computed; 0 = never

	touchedIndex int16 // in datagramBuffers.touched; negative = no runs in this batch

	maxSegmentUp, maxSegmentDown uint16 // the largest datagrams that may be joined in one send; 0 = none
	address                      uint8  // index of the target's address in use, or unknownAddress
	lastFailure                  Reason // why there is no server
	pendingReason                Reason // ends the flow once its server has replied; ReasonNone = continues
	key                          flowKey

	stage       flowStage
	server      serverStage
	promotion   promotionState
	inTable     bool // in the table, where the client's next datagram finds it
	dirty       bool // in loop.dirtyFlows
	mayOverflow bool // more replies were waiting than fit a batch
	lingering   bool // only delivers replies to an old socket (udp_rebalance.go)
	frozen      bool // being handed over: nothing may touch it
}

// serverStage is how far a flow has come with its server.
type serverStage uint8

const (
	serverPending     serverStage = iota
	serverEstablished             // it has replied, or has not refused for connect_timeout
	serverJoined                  // it replies again and again: the kernel joins its replies
)

// headerInfo is what a PROXY header says about a flow's client.
type headerInfo struct {
	client, dest netip.AddrPort // zero = that of the socket
	local        bool           // command LOCAL
	tlvs         []byte         // of the last datagram
}

// clientAddr returns the client that the header names; zero without a header.
func (i *headerInfo) clientAddr() netip.AddrPort {
	if i == nil {
		return netip.AddrPort{}
	}
	return i.client
}

func (f *flow) headerClient() netip.AddrPort { return f.header.clientAddr() }

// client returns the address of the client, by its PROXY header if there is one.
func (f *flow) client() netip.AddrPort {
	if named := f.header.clientAddr(); named.IsValid() {
		return named
	}
	return f.key.client()
}

const (
	// anySegment allows datagrams of any size to be joined.
	anySegment = math.MaxUint16
	// retryPause is how long a flow that found no server does not search again: one client must not cause a flood
	// of dials.
	retryPause = 20 * time.Millisecond
	// fewResponses replies to one datagram fit the default buffer.
	fewResponses = 16
)

func (f *flow) phase() Phase {
	switch {
	case f.frozen:
		return PhaseHandover
	case f.fd < 0:
		return PhaseDial
	case f.stage == stageUnanswered:
		return PhaseUnanswered
	}
	return PhaseRelay
}

// start makes a flow of an admitted client.
func (f *flow) start(l *loop, u *udpSocket, set *Settings, key *flowKey, hash uint32) {
	l.lastID++
	f.id = l.lastID*uint64(len(l.plane.loops)) + uint64(l.index)
	f.socket, f.set, f.key, f.hash = u, set, *key, hash
	f.fd, f.touchedIndex = -1, -1
	f.startedAt, f.activeAt = l.now, l.now
	f.maxSegmentDown = l.maxSegment
	f.timer.owner = f
	u.table.insert(f)
	u.table.setStage(f, stageUnanswered, l.now)
	u.ln.flows.Add(1)
	store(&u.counters.Sessions, u.counters.Sessions+1)
	l.live.Add(1)
	l.flowWheel.arm(&f.timer, l.now+set.FlowTimeout)
}

// expire handles the flow's timer and arms it for the next deadline.
func (f *flow) expire(l *loop) {
	if f.lingering {
		f.receiveReplies(l)
		f.finishLingering(l)
		return
	}
	f.countPromoted(l)
	end := f.activeAt + f.set.FlowTimeout
	if l.now >= end && f.unanswered > 0 && f.fd >= 0 { // a reply may be in the socket
		id := f.id
		if f.receiveReplies(l); f.id != id {
			return
		}
		end = f.activeAt + f.set.FlowTimeout
	}
	if l.now >= end {
		if f.fd < 0 && f.lastFailure != ReasonNone {
			f.finish(l, f.lastFailure)
			return
		}
		f.finish(l, ReasonFlowTimeout)
		return
	}
	if f.pendingReason != ReasonNone {
		if l.now >= f.moveDeadline {
			f.finish(l, f.pendingReason)
			return
		}
		end = min(end, f.moveDeadline)
	}
	if f.fd >= 0 && f.server == serverPending {
		// A server that does not refuse counts as established: many never reply.
		if at := f.sentAt + f.set.ConnectTimeout; l.now >= at {
			f.server = serverEstablished
			f.lease.Established(l.now, f.set.ConnectTimeout)
		} else {
			end = min(end, at)
		}
	}
	l.flowWheel.arm(&f.timer, end)
}

// finalReplyTimeout is how long a flow whose server was removed waits for outstanding replies.
const finalReplyTimeout = time.Second

// cut ends a flow from outside. If its server is down or has lost its role, the flow only loses its server. At the deadline
// of a drain it changes its server with the client's next datagram. If its server was removed, outstanding replies are
// awaited first; the client's next datagram picks another server.
func (f *flow) cut(l *loop, reason Reason) {
	f.countPromoted(l)
	switch {
	case f.frozen:
	case reason.ofServer() && f.fd < 0:
	case reason == ReasonCutServerDown, reason == ReasonCutDemoted:
		f.releaseServer(l)
	case reason == ReasonCutDrain: // replies to the old socket are still delivered, see rebalance
		f.leaveAt, f.moves = max(l.now, 1), uint32(f.set.Cluster.Moves())
	case reason == ReasonCutServerRemoved && f.unanswered > 0:
		f.demote(l, DemotedServer)
		f.pendingReason, f.moveDeadline = reason, l.now+finalReplyTimeout
		l.flowWheel.arm(&f.timer, min(f.moveDeadline, f.activeAt+f.set.FlowTimeout))
	default:
		f.finish(l, reason)
	}
}

// finish is the one exit of every flow: it closes the socket, releases the lease and the buffers, and writes one
// record.
func (f *flow) finish(l *loop, reason Reason) {
	u, end := f.socket, Termination{f.phase(), reason}
	if f.queued() {
		f.unqueue(l.udp)
	}
	l.flowWheel.stop(&f.timer)
	u.table.remove(f)
	u.table.unlist(f)
	l.kept.drop(f)
	l.attemptsPool.put(f.attempts)
	f.demote(l, DemotedEnded)
	f.disconnect(l)
	f.flushBytes(l)
	server, level := f.lease.Server(), f.lease.Level()
	f.lease.Done(l.now)
	f.set.Admission.release(&f.claim, f.client().Addr())
	ended := &u.counters.Ended[end.index()]
	store(ended, *ended+1)
	u.counters.Lifetime.add(l.now - f.startedAt)
	if l.wantsRecord(f.set, end) {
		r := f.record(l.now, f.client(), server, level, f.bytesUp, f.bytesDown, end)
		if f.target.reachedAtClientPort() && f.address < unknownAddress && int(f.address) < f.target.addresses() {
			r.ServerAddress = f.serverAddress()
		}
		l.plane.record(r)
	}
	l.plane.releaseSession()
	l.flows.release(f.slot)
	l.live.Add(-1)
	u.ln.releaseFlow()
}

// flushBytes adds the bytes moved since the last call to the counters.
func (f *flow) flushBytes(l *loop) {
	up, down := f.bytesUp-f.flushedUp, f.bytesDown-f.flushedDown
	if up|down == 0 {
		return
	}
	f.flushedUp, f.flushedDown = f.bytesUp, f.bytesDown
	t := f.socket.counters
	store(&t.BytesUp, t.BytesUp+up)
	store(&t.BytesDown, t.BytesDown+down)
	if t := f.target.counts(l); t != nil {
		store(&t.up, t.up+up)
		store(&t.down, t.down+down)
	}
}
