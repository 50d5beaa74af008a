package l4

// Handing over UDP flows. They travel like sessions, with the socket that is connected to the server, and before the
// new process reads the listen sockets: a client's next datagram finds its flow there, or waits in the kernel. A flow
// belongs to the listen socket that receives its client's datagrams, identified by its index among those of the
// listener.

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// FlowFormat is the version of the encoding of flows. Every change of the encoding changes it.
const FlowFormat = 7

// flowBatch is the content of a batch of flows: format, bindings, flows.
type flowBatch struct {
	bindings []Binding
	flows    []flowState
}

// flowState is a flow without its one descriptor.
type flowState struct {
	binding, socket int // socket: index of the listen socket
	id              uint64
	key             flowKey

	hasHeader    bool // the next four fields are from a PROXY header
	local        bool // command LOCAL
	client, dest netip.AddrPort
	tlvs         []byte

	startedAt, activeAt, sentAt, moveDeadline time.Duration
	balancedAt                                time.Duration
	requests                                  uint32
	connected, firstByte                      since

	bytesUp, bytesDown           uint64
	unanswered, repliesLeft      uint32
	attemptCount                 uint16
	maxSegmentUp, maxSegmentDown uint16

	stage                flowStage
	inTable, established bool
	kept                 []byte // the last unanswered datagram
}

func (p *flowBatch) encode() []byte {
	b := appendBindings([]byte{FlowFormat}, p.bindings)
	b = binary.AppendUvarint(b, uint64(len(p.flows)))
	for i := range p.flows {
		t := &p.flows[i]
		b = binary.AppendUvarint(b, uint64(t.binding))
		b = binary.AppendUvarint(b, uint64(t.socket))
		b = binary.AppendUvarint(b, t.id)
		b = append(b, t.key[:]...)
		b = binary.AppendUvarint(b, flags(t.hasHeader, t.local, t.inTable, t.established))
		b = appendAddress(b, t.client)
		b = appendAddress(b, t.dest)
		b = append(binary.AppendUvarint(b, uint64(len(t.tlvs))), t.tlvs...)
		for _, d := range [...]time.Duration{t.startedAt, t.activeAt, t.sentAt, t.moveDeadline, t.balancedAt} {
			b = binary.AppendVarint(b, int64(d))
		}
		for _, n := range [...]uint64{
			uint64(t.connected), uint64(t.firstByte), t.bytesUp, t.bytesDown, uint64(t.unanswered), uint64(t.repliesLeft),
			uint64(t.attemptCount), uint64(t.maxSegmentUp), uint64(t.maxSegmentDown), uint64(t.stage), uint64(t.requests),
		} {
			b = binary.AppendUvarint(b, n)
		}
		b = append(binary.AppendUvarint(b, uint64(len(t.kept))), t.kept...)
	}
	return b
}

// decodeFlows decodes a batch of flows, as decodeSessions does for sessions.
func decodeFlows(b []byte, descriptors int) (*flowBatch, error) {
	r := &batchReader{rest: b}
	if format := r.number(math.MaxUint8, "format"); r.err == nil && format != FlowFormat {
		return nil, fmt.Errorf("%w: want flow format %d, got %d", errBatch, FlowFormat, format)
	}
	p := &flowBatch{bindings: r.bindings()}
	for range r.number(maxDescriptors, "flows") {
		t := r.flow(len(p.bindings))
		if r.err != nil {
			return nil, r.err
		}
		p.flows = append(p.flows, t)
	}
	if r.end(len(p.flows), descriptors); r.err != nil {
		return nil, r.err
	}
	return p, nil
}

func (r *batchReader) flow(bindings int) flowState {
	var t flowState
	t.binding = int(r.number(math.MaxInt32, "binding"))
	if t.binding >= bindings {
		r.fail("binding")
	}
	t.socket = int(r.number(math.MaxInt32, "socket"))
	t.id = r.number(math.MaxUint64, "id")
	copy(t.key[:], r.bytes(uint64(len(t.key)), "key"))
	r.flags("flags", &t.hasHeader, &t.local, &t.inTable, &t.established)
	t.client, t.dest = r.address("client"), r.address("destination")
	t.tlvs = r.bytes(r.number(bufferSize, "tlvs"), "tlvs")
	t.startedAt, t.activeAt, t.sentAt, t.moveDeadline = r.duration("time"), r.duration("time"), r.duration("time"), r.duration("time")
	t.balancedAt = r.duration("time")
	number := func(most uint64) uint64 { return r.number(most, "number") }
	t.connected, t.firstByte = since(number(math.MaxUint32)), since(number(math.MaxUint32))
	t.bytesUp, t.bytesDown = number(math.MaxUint64), number(math.MaxUint64)
	t.unanswered, t.repliesLeft = uint32(number(math.MaxUint32)), uint32(number(math.MaxUint32))
	t.attemptCount = uint16(number(math.MaxUint16))
	t.maxSegmentUp, t.maxSegmentDown = uint16(number(math.MaxUint16)), uint16(number(math.MaxUint16))
	t.stage, t.requests = flowStage(number(uint64(stageConfirmed))), uint32(number(math.MaxUint32))
	t.kept = r.bytes(r.number(bufferSize, "datagram"), "datagram")
	return t
}

// PauseReceive makes UDP listen sockets that are started from now on wait for ResumeReceive.
func (p *Plane) PauseReceive() { p.receivePaused.Store(true) }

// ResumeReceive starts to read the UDP listen sockets.
func (p *Plane) ResumeReceive() {
	if p.receivePaused.Swap(false) {
		p.runOnLoops((*loop).resumeUDP)
	}
}

// ResumeDrainingListeners resumes the sockets of the UDP listeners that drain, after PauseAccept, except those that another
// process has taken over.
func (p *Plane) ResumeDrainingListeners(taken func(*Listener) bool) {
	p.drainingMu.Lock()
	left := slices.DeleteFunc(slices.Collect(maps.Values(p.draining)), taken)
	p.drainingMu.Unlock()
	for _, ln := range left {
		p.runOnLoops(func(l *loop) { l.eachUDPSocket(ln, func(u *udpSocket) { l.watch(&u.listenSocket) }) })
	}
}

// NextFlows is Next for the flows of the chosen listeners. Flows without a server end: the client's next datagram
// starts another.
func (m *BatchIterator) NextFlows(chosen func(*Listener) bool) *HandoverBatch {
	return m.next(func(l *loop, slot *int) *HandoverBatch { return l.freezeFlows(slot, chosen) })
}

// freezeFlows freezes the flows from a slot on that fit a batch.
func (l *loop) freezeFlows(slot *int, chosen func(*Listener) bool) *HandoverBatch {
	if l.udp == nil {
		return nil
	}
	if l.udp.downSocket != nil {
		l.flushReplies()
	}
	x := &HandoverBatch{loop: l}
	var p flowBatch
	seen := map[Binding]int{}
	held := 0
	for ; *slot < len(l.flows.all) && held < maxBatchBytes && len(x.flows) < maxDescriptors; *slot++ {
		f := l.flows.all[*slot]
		if f == nil || f.frozen || !chosen(f.socket.ln) {
			continue
		}
		if f.lingering {
			f.finishLingering(l)
			continue
		}
		if f.fd < 0 {
			f.finish(l, noServerReason(f.lastFailure))
			continue
		}
		f.demote(l, DemotedOff)
		t := f.state()
		t.binding = bindingIndex(&p.bindings, seen, f.binding())
		f.frozen = true
		l.flowWheel.stop(&f.timer)
		f.flushBytes(l)
		epollControl(l.epfd, unix.EPOLL_CTL_DEL, f.fd, 0, 0, 0)
		x.flows = append(x.flows, f)
		x.Descriptors = append(x.Descriptors, f.fd)
		p.flows = append(p.flows, t)
		held += len(t.kept) + len(t.tlvs)
	}
	if len(x.flows) == 0 {
		return nil
	}
	x.Body = p.encode()
	return x
}

// noServerReason returns why a flow without a server ends.
func noServerReason(fault Reason) Reason {
	if fault == ReasonNone {
		return ReasonFlowTimeout
	}
	return fault
}

// binding returns what the flow has in common with others.
func (f *flow) binding() Binding {
	at := Binding{Address: f.socket.ln.at.String(), Listener: f.set.Name, Cluster: f.set.ClusterName, Route: f.set.Route}
	if server := f.lease.Server(); server != nil {
		at.Server, at.At, at.Level = server.Name(), f.lease.AddressText(), f.set.LevelName(f.lease.Level())
	}
	at.setTarget(f.target)
	return at
}

func (f *flow) state() flowState {
	t := flowState{
		socket: slices.Index(f.socket.ln.fds, f.socket.fd), id: f.id, key: f.key,
		startedAt: f.startedAt, activeAt: f.activeAt, sentAt: f.sentAt, moveDeadline: f.moveDeadline, balancedAt: f.balancedAt, requests: f.requests, connected: f.connected, firstByte: f.firstByte,
		bytesUp: f.bytesUp, bytesDown: f.bytesDown, unanswered: f.unanswered, repliesLeft: f.repliesLeft, attemptCount: f.attemptCount,
		maxSegmentUp: f.maxSegmentUp, maxSegmentDown: f.maxSegmentDown, stage: f.stage, inTable: f.inTable, established: f.server != serverPending,
	}
	if f.header != nil {
		t.hasHeader, t.local, t.client, t.dest, t.tlvs = true, f.header.local, f.header.client, f.header.dest, f.header.tlvs
	}
	if f.kept != nil {
		t.kept = f.kept.data[:f.kept.size]
	}
	return t
}

// handOver frees a flow that the other process has.
func (f *flow) handOver(l *loop) {
	u := f.socket
	u.table.remove(f)
	u.table.unlist(f)
	l.kept.drop(f)
	l.attemptsPool.put(f.attempts)
	f.disconnect(l)
	f.lease.HandOver(l.now)
	f.set.Admission.release(&f.claim, f.client().Addr())
	l.plane.releaseSession()
	store(&u.counters.HandedOver, u.counters.HandedOver+1)
	l.flows.release(f.slot)
	l.live.Add(-1)
	u.ln.releaseFlow()
}

// resume registers the flow's socket with epoll, which reports its readiness at once, and arms its timer.
func (f *flow) resume(l *loop) {
	f.overflowed = overflows(f.fd)
	if epollControl(l.epfd, unix.EPOLL_CTL_ADD, f.fd, unix.EPOLLIN|unix.EPOLLET&math.MaxUint32, int32(f.slot)|flowBit, int32(uint32(f.id))) != 0 {
		f.finish(l, ReasonLocalShortage)
		return
	}
	f.frozen = false
	end := f.activeAt + f.set.FlowTimeout
	if f.server == serverPending {
		end = min(end, f.sentAt+f.set.ConnectTimeout)
	}
	l.flowWheel.arm(&f.timer, end)
}

// ReceivedFlows is a batch of flows that has arrived. It must end with Start or Discard.
type ReceivedFlows struct {
	plane       *Plane
	batch       *flowBatch
	bindings    []LocalBinding // of each Binding; without a Listener, its flows end
	leases      []balance.Lease
	descriptors []int32
}

// ReceiveFlows decodes a batch of flows, as ReceiveSessions does for sessions. A flow whose listener this process does not
// have ends at Start: the client's next datagram starts another.
func (p *Plane) ReceiveFlows(body []byte, descriptors []int32, find func(Binding) LocalBinding) (*ReceivedFlows, error) {
	content, err := decodeFlows(body, len(descriptors))
	if err != nil {
		return nil, err
	}
	a := &ReceivedFlows{plane: p, batch: content, descriptors: descriptors}
	for i := range content.bindings {
		a.bindings = append(a.bindings, find(content.bindings[i]))
	}
	for i := range content.flows {
		t := &content.flows[i]
		h := &a.bindings[t.binding]
		var lease balance.Lease
		if h.Listener != nil && t.socket < len(h.Listener.fds) {
			lease, _ = h.Cluster.Adopt(h.Server, h.At, h.Level, p.Now())
		}
		a.leases = append(a.leases, lease)
	}
	return a, nil
}

// Sessions returns the number of flows.
func (a *ReceivedFlows) Sessions() int { return len(a.batch.flows) }

// Discard closes the descriptors.
func (a *ReceivedFlows) Discard() {
	for i := range a.leases {
		a.leases[i].Done(a.plane.Now())
		closeFD(a.descriptors[i])
	}
}

// Start continues the flows.
func (a *ReceivedFlows) Start() {
	p := a.plane
	work := make([][]int, len(p.loops))
	for i := range a.batch.flows {
		t := &a.batch.flows[i]
		if a.leases[i].Server() == nil {
			closeFD(a.descriptors[i])
			continue
		}
		l := p.loops[t.socket%len(p.loops)]
		l.live.Add(1)
		p.arrive()
		work[l.index] = append(work[l.index], i)
	}
	for i, list := range work {
		if len(list) > 0 {
			p.loops[i].post(message{do: func(l *loop) {
				for _, n := range list {
					t := &a.batch.flows[n]
					l.takeOverFlow(t, &a.bindings[t.binding], a.leases[n], a.descriptors[n])
				}
			}})
		}
	}
}

// setTarget sets the target of a flow of another process, where its server may have had other addresses. nil = not known,
// since the server left before this process started.
func (f *flow) setTarget(target *Target) {
	f.target = target
	if at, has := target.find(peerOf(f.fd), f.wantedPort()); has && at < unknownAddress {
		f.address = uint8(at)
	}
}

// takeOverFlow continues a flow of another process.
func (l *loop) takeOverFlow(t *flowState, h *LocalBinding, lease balance.Lease, fd int32) {
	ln := h.Listener
	var u *udpSocket
	l.eachUDPSocket(ln, func(i *udpSocket) {
		if i.fd == ln.fds[t.socket] {
			u = i
		}
	})
	if u == nil { // the listener was closed meanwhile
		lease.Done(l.now)
		closeFD(fd)
		l.live.Add(-1)
		l.plane.releaseSession()
		return
	}
	f, slot := l.flows.acquire()
	f.slot = slot
	f.id, f.socket, f.set, f.key = t.id, u, h.Set, t.key
	f.fd, f.touchedIndex, f.lease = fd, -1, lease
	f.local = l.plane.flowAddresses.add(ownAddressOf(fd))
	f.startedAt, f.activeAt, f.sentAt, f.moveDeadline = t.startedAt, t.activeAt, t.sentAt, t.moveDeadline
	f.balancedAt, f.requests = t.balancedAt, t.requests
	f.connected, f.firstByte = t.connected, t.firstByte
	f.bytesUp, f.bytesDown, f.flushedUp, f.flushedDown = t.bytesUp, t.bytesDown, t.bytesUp, t.bytesDown
	f.unanswered, f.repliesLeft, f.attemptCount = t.unanswered, t.repliesLeft, t.attemptCount
	if t.established {
		f.server = serverEstablished
	}
	f.maxSegmentUp, f.maxSegmentDown, f.address = min(t.maxSegmentUp, l.maxSegment), min(t.maxSegmentDown, l.maxSegment), unknownAddress
	if t.hasHeader {
		f.header = &headerInfo{client: t.client, dest: t.dest, local: t.local, tlvs: slices.Clone(t.tlvs)}
	}
	f.setTarget(targetOf(lease.Server()))
	f.frozen = true // until resume registers its socket
	f.timer.owner = f
	f.hash = u.table.hash(&f.key, f.headerClient())
	if t.inTable && u.table.find(&f.key, f.headerClient(), f.hash) == nil {
		u.table.insert(f)
	}
	u.table.setStage(f, t.stage, l.now)
	if len(t.kept) > 0 {
		l.kept.keep(f, t.kept)
	}
	f.claim = f.set.Admission.acquireUnchecked(f.client().Addr())
	ln.flows.Add(1)
	store(&u.counters.TakenOver, u.counters.TakenOver+1)
	if l.stopping {
		f.finish(l, ReasonCutShutdown)
		return
	}
	f.resume(l)
}
