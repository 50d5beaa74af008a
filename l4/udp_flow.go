package l4

// A UDP flow: what one client and one server say to each other. It begins with a client's first datagram (udp_receive.go), finds
// a server (udp_dial.go) to which it has a connected socket of its own, passes on what both say (udp_forward.go,
// udp_reply.go), and ends when nothing has been said for a while. Nothing of a flow is kept anywhere but in this struct,
// in the datagram that is kept of it and in the trial that it may have borrowed.

import (
	"math"
	"net/netip"
	"time"

	"weir/balance"
)

// flow is one client's passage. All of it is owned by its loop. It is kept small: there are as many as strangers make.
type flow struct {
	id           uint64 // unique among sessions; 0 = free
	socket       *udpSocket
	set          *Settings // withBinding it was when the flow began
	lease        balance.Lease
	target       *Target
	serverCounts *serverCounts     // the loop's for the server
	attempts     *balance.Attempts // who was tried, after a refusal, until a server has answered
	kept         *keptDatagram     // the last datagram, while it is not answered
	header       *headerInfo       // nil where clients come without a PROXY header
	timer        timer[*flow]

	next         *flow // msgs its chain of the table
	older, newer *flow // among those without an answer

	bytesUp, bytesDown     uint64
	flushedUp, flushedDown uint64 // bytes that are counted

	startedAt    time.Duration
	activeAt     time.Duration // lastFailure datagram, either way
	searchedAt   time.Duration // when it began to look for a server; with no server, when it may look again
	sentAt       time.Duration // lastFailure datagram to the server
	moveDeadline time.Duration // when to part with a server that has another address now, or has gone; 0 = neither

	connected since // 0 = not yet
	firstByte since // when the first reply was passed on; 0 = not yet

	hash        uint32 // of the key
	slot        uint32
	fd          int32  // the socket towards the server; -1 = there is no server
	unanswered  uint32 // udp of the client that have had no reply
	repliesLeft uint32 // replies that end the flow, with Settings.Responses
	overflowed  uint32 // replies lost in the kernel that are counted already

	firstRun, lastRun int32 // of the batch's runs; first < 0 = none
	touchedIndex      int32 // its place among the flows that the batch is for

	attemptCount                 uint16
	maxSegmentUp, maxSegmentDown uint16         // the largest datagrams that may leave in one send; 0 = none
	address                      uint8          // which of the target's addresses is in use; elsewhere = none
	lastFailure                  Reason         // rejection there is no server
	pendingReason                Reason         // how it ends as soon as its server has answered; ReasonNone = it goes on
	claim                        admissionClaim // what it holds of the listener's gate
	key                          flowKey

	inTable      bool // msgs the table: the client's next datagram finds it
	isUnanswered bool // among those without an answer
	established  bool // the server has answered, or not refused for long enough
	dirty        bool // has moved bytes that are not counted yet
	mayOverflow  bool // more replies have waited than fit a batch
	frozen       bool // on its way to another process: nothing touches it
}

// headerInfo is what a PROXY header says of a flow's client.
type headerInfo struct {
	client, dest netip.AddrPort // zero = the socket's own
	local        bool           // the proxy speaks for itself
	tlvs         []byte         // of the last datagram
}

// setAddresses is the client that the header names; zero without one.
func (i *headerInfo) clientAddr() netip.AddrPort {
	if i == nil {
		return netip.AddrPort{}
	}
	return i.client
}

func (f *flow) headerClient() netip.AddrPort { return f.header.clientAddr() }

// client is who speaks, as far as is known.
func (f *flow) client() netip.AddrPort {
	if named := f.header.clientAddr(); named.IsValid() {
		return named
	}
	return f.key.client()
}

const (
	// anySegment lets datagrams of any size leave in one send.
	anySegment = math.MaxUint16
	// retryPause is how long a flow for which no server could be had does not look again: one client must not be able to
	// have servers dialled in a frenzy.
	retryPause = 20 * time.Millisecond
	// fewResponses is how many replies to one datagram never need more than the usual buffer.
	fewResponses = 16
)

func (f *flow) phase() Phase {
	switch {
	case f.frozen:
		return PhaseHandover
	case f.fd < 0:
		return PhaseDial
	case f.isUnanswered:
		return PhaseUnanswered
	}
	return PhaseRelay
}

// start makes a flow of a client that is counted in.
func (f *flow) start(l *loop, u *udpSocket, set *Settings, key *flowKey, hash uint32) {
	l.lastID++
	f.id = l.lastID*uint64(len(l.plane.loops)) + uint64(l.index)
	f.socket, f.set, f.key, f.hash = u, set, *key, hash
	f.fd, f.firstRun = -1, -1
	f.startedAt, f.activeAt = l.now, l.now
	f.maxSegmentDown = l.maxSegment
	f.timer.owner = f
	u.table.insert(f)
	u.table.addUnanswered(f)
	u.ln.flows.Add(1)
	store(&u.counters.Sessions, u.counters.Sessions+1)
	l.live.Add(1)
	l.flowWheel.arm(&f.timer, l.now+set.FlowTimeout)
}

// expire handles the flow's timer: whatever is due is done, and the nearest deadline left is armed.
func (f *flow) expire(l *loop) {
	end := f.activeAt + f.set.FlowTimeout
	if l.now >= end && f.unanswered > 0 && f.fd >= 0 { // a reply may wait for its turn
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
	if f.fd >= 0 && !f.established {
		// What a server does not refuse it is taken to have received: many never answer.
		if at := f.sentAt + f.set.ConnectTimeout; l.now >= at {
			f.established = true
			f.lease.Established(l.now, f.set.ConnectTimeout)
		} else {
			end = min(end, at)
		}
	}
	l.flowWheel.arm(&f.timer, end)
}

// finalReplyTimeout is how long a flow whose server has left the configuration waits for what the server may still say.
const finalReplyTimeout = time.Second

// cut ends a flow from outside. One whose server is down only loses that: there is nothing that could break. One whose
// server has been removed has what the client has asked for answered first; the client's next datagram goes elsewhere.
func (f *flow) cut(l *loop, reason Reason) {
	switch {
	case f.frozen:
	case reason.ofServer() && f.fd < 0:
	case reason == ReasonCutServerDown:
		f.releaseServer(l)
	case reason == ReasonCutServerRemoved && f.unanswered > 0:
		f.pendingReason, f.moveDeadline = reason, l.now+finalReplyTimeout
		l.flowWheel.arm(&f.timer, min(f.moveDeadline, f.activeAt+f.set.FlowTimeout))
	default:
		f.finish(l, reason)
	}
}

// finish is the one exit of every flow: its socket closed, the lease given back, what was lent returned, one record made.
func (f *flow) finish(l *loop, reason Reason) {
	u, end := f.socket, Termination{f.phase(), reason}
	if f.queued() {
		l.udp.touched[f.touchedIndex] = nil
	}
	l.flowWheel.stop(&f.timer)
	u.table.remove(f)
	u.table.removeUnanswered(f)
	l.kept.drop(f)
	l.attemptsPool.put(f.attempts)
	f.disconnect()
	f.flushBytes()
	server, level := f.lease.Server(), f.lease.Level()
	f.lease.Done(l.now)
	f.set.Admission.release(&f.claim, f.client().Addr())
	ended := &u.counters.Ended[end.index()]
	store(ended, *ended+1)
	u.counters.Lifetime.add(l.now - f.startedAt)
	if l.wantsRecord(f.set, end) {
		l.plane.record(f.record(l.now, server, level, end))
	}
	l.plane.releaseSession()
	l.flows.release(f.slot)
	l.live.Add(-1)
	u.ln.releaseFlow()
}

// flushBytes adds what the flow has moved since the last time to the counters.
func (f *flow) flushBytes() {
	up, down := f.bytesUp-f.flushedUp, f.bytesDown-f.flushedDown
	if up|down == 0 {
		return
	}
	f.flushedUp, f.flushedDown = f.bytesUp, f.bytesDown
	t := f.socket.counters
	store(&t.BytesUp, t.BytesUp+up)
	store(&t.BytesDown, t.BytesDown+down)
	if f.serverCounts != nil {
		store(&f.serverCounts.up, f.serverCounts.up+up)
		store(&f.serverCounts.down, f.serverCounts.down+down)
	}
}
