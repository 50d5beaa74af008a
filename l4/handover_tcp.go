package l4

// Handing over listen sockets and sessions to the new process of an upgrade. Both processes have the listen sockets for
// a while; internal/handover agrees which of them accepts.
//
// The loop that owns a session hands it over. It freezes the session first: the sockets leave epoll, the timer stops,
// and nothing touches the session. Then its state and copies of its descriptors are sent. The descriptors are closed
// here only when the new process has confirmed that it has them, and before it reads the first byte. Without a
// confirmation the session continues here. So no two processes ever read one socket.

import (
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// PauseAccept stops accepting without closing anything, and returns when no more clients are accepted. New clients wait
// in the sockets' queues for the process that shares them, or for ResumeAccept. So do those of listeners that are started meanwhile.
func (p *Plane) PauseAccept() { p.runOnLoops((*loop).pauseAccept) }

// ResumeAccept accepts again after PauseAccept.
func (p *Plane) ResumeAccept() { p.runOnLoops((*loop).resumeAccept) }

// PendingClients returns the number of accepted clients that wait for a slot and have no session. They are admitted or
// rejected even while accepting is paused.
func (p *Plane) PendingClients() int {
	var n atomic.Int64
	p.runOnLoops(func(l *loop) { n.Add(int64(l.pendingAccepted)) })
	return int(n.Load())
}

// CloseListenSockets closes this process's descriptors of the TCP listen sockets, after PauseAccept. The clients in
// their queues and the files of unix sockets belong to the process that shares the sockets.
func (p *Plane) CloseListenSockets() { p.runOnLoops((*loop).abandonListenSockets) }

// BatchIterator returns the sessions or the flows of a plane in batches.
type BatchIterator struct {
	plane *Plane
	loop  int // current
	slot  int
	idle  int // consecutive loops without a session to hand over
}

// Batches returns an iterator, for use by one goroutine at a time.
func (p *Plane) Batches() *BatchIterator { return &BatchIterator{plane: p} }

// HandoverBatch is a batch of frozen sessions, or flows, of one loop. It must end with Confirm or Resume.
type HandoverBatch struct {
	Body        []byte
	Descriptors []int32 // of the sessions, which keep them

	loop     *loop
	sessions []*session
	flows    []*flow // instead
}

// Sessions returns the number of sessions or flows.
func (x *HandoverBatch) Sessions() int { return len(x.sessions) + len(x.flows) }

// Next freezes some sessions and returns them. It returns nil if no loop has a session to hand over. Sessions that
// neither relay nor are held, or may still be refused by their server, are returned by a later call, once they can move.
func (m *BatchIterator) Next() *HandoverBatch { return m.next((*loop).freezeSessions) }

func (m *BatchIterator) next(pack func(*loop, *int) *HandoverBatch) *HandoverBatch {
	for m.idle = 0; m.idle < len(m.plane.loops); {
		l := m.plane.loops[m.loop]
		done := make(chan *HandoverBatch, 1)
		l.post(message{do: func(l *loop) { done <- pack(l, &m.slot) }})
		if x := <-done; x != nil {
			return x
		}
		m.loop, m.slot = (m.loop+1)%len(m.plane.loops), 0
		m.idle++
	}
	return nil
}

// maxBatchBytes limits the buffered bytes in one batch. The last session may exceed it.
const maxBatchBytes = 512 << 10

// freezeSessions freezes the sessions from a slot on that fit a batch.
func (l *loop) freezeSessions(slot *int) *HandoverBatch {
	x := &HandoverBatch{loop: l}
	var p sessionBatch
	seen := map[Binding]int{}
	held := 0
	for ; *slot < len(l.sessions.all) && held < maxBatchBytes; *slot++ {
		s := l.sessions.all[*slot]
		if s == nil || !s.canHandOver(l.now) {
			continue
		}
		if s.phase == PhaseRelay {
			s.endUnconfirmed(l)
		}
		t := s.state(l)
		if len(x.Descriptors)+t.descriptors() > maxDescriptors {
			break
		}
		t.binding = bindingIndex(&p.bindings, seen, s.binding())
		s.freeze(l)
		x.sessions = append(x.sessions, s)
		x.Descriptors = append(x.Descriptors, s.client.fd)
		if t.wait == nil {
			x.Descriptors = append(x.Descriptors, s.server.fd)
		}
		for _, st := range [...]*stream{&s.up, &s.down} {
			if st.pipe != nil {
				x.Descriptors = append(x.Descriptors, st.pipe.r, st.pipe.w)
			}
		}
		held += len(t.up.held) + len(t.down.held)
		p.sessions = append(p.sessions, t)
	}
	if len(x.sessions) == 0 {
		return nil
	}
	x.Body = p.encode()
	return x
}

// bindingIndex returns the index of b in list, to which it adds b if necessary. seen holds the indexes in list.
func bindingIndex(list *[]Binding, seen map[Binding]int, b Binding) int {
	i, known := seen[b]
	if !known {
		i = len(*list)
		seen[b] = i
		*list = append(*list, b)
	}
	return i
}

// waits reports whether the session is held or queued.
func (s *session) waits() bool { return s.phase == PhaseHold || s.phase == PhaseQueue }

// binding returns what the session has in common with others.
func (s *session) binding() Binding {
	at := Binding{
		Address: s.listener.at.String(), Listener: s.set.Name, Cluster: s.set.ClusterName, Route: s.set.Route,
		clientIdle: s.set.ClientIdle, serverIdle: s.set.ServerIdle, halfClose: s.set.HalfClose,
		keepalive: s.set.Keepalive, userTimeout: s.set.UserTimeout, maxRateUp: s.set.MaxRateUp, maxRateDown: s.set.MaxRateDown, records: s.set.Records,
	}
	if at.Waiting = s.waits(); at.Waiting {
		return at
	}
	if server := s.lease.Server(); server != nil {
		at.Server, at.At, at.Level = server.Name(), s.lease.AddressText(), s.set.LevelName(s.lease.Level())
	}
	return at
}

func (s *session) state(l *loop) sessionState {
	t := sessionState{
		id: s.id, clientAddr: s.clientAddr.get(), startedAt: s.startedAt, clientActiveAt: s.clientActiveAt, serverActiveAt: s.serverActiveAt, halfClosedAt: s.halfClosedAt,
		serverName: s.serverName(), proxy: s.proxyFacts(), connected: s.connected, firstByte: s.firstByte, attemptCount: s.attemptCount, keepaliveSet: s.has(keepaliveSet), askedLast: s.has(askedLast),
		client: s.client.state(), server: s.server.state(), up: s.up.state(), down: s.down.state(),
	}
	t.up.bucketFull, t.down.bucketFull = s.bucketsFull(l)
	if d := s.dialer; s.waits() {
		t.wait = &waitHandover{since: d.held.since, until: d.held.until, held: d.attempts.Held(), queueUntil: d.queueDeadline, queueNumber: d.attempts.QueueNumber(), dest: d.dest, proxyLocal: d.proxyLocal, tlvs: d.tlvs, refusal: d.greeting.refusal, hello: d.greeting.sent}
	}
	if s.phase == PhaseQueue {
		t.wait.startedAt = s.dialer.startedAt
	}
	return t
}

func (s *socket) state() socketState {
	return socketState{fin: s.fin, local: s.local, urgent: s.urgent, hasSent: s.hasSent, nodelay: s.nodelay, ackDelayed: s.ackDelayed, headerSize: s.headerSize}
}

func (st *stream) state() streamState {
	t := streamState{bytes: st.bytes, fullReads: st.fullReads, eof: st.eof, finSent: st.finSent, headerBytes: st.headerBytes, pipe: st.pipe != nil}
	if st.held != nil {
		t.held = st.held.data[st.held.from:st.held.to]
	}
	if st.pipe != nil {
		t.inPipe = st.pipe.held
	}
	return t
}

// freeze stops all activity of a session.
func (s *session) freeze(l *loop) {
	switch s.phase {
	case PhaseHold:
		s.freezeHold(l)
	case PhaseQueue:
		s.freezeQueue(l)
	}
	s.phase = PhaseHandover
	s.end = Termination{} // a cut stores its reason here meanwhile
	s.queued = false
	l.wheel.stop(&s.timer)
	s.stopPace(l)
	l.forgetSilence(s)
	s.flushBytes(l)
	epollControl(l.epfd, unix.EPOLL_CTL_DEL, s.client.fd, 0, 0, 0)
	if s.server.fd >= 0 {
		epollControl(l.epfd, unix.EPOLL_CTL_DEL, s.server.fd, 0, 0, 0)
	}
}

// Confirm ends the batch: the other process has the sessions.
func (x *HandoverBatch) Confirm() {
	x.each(func(l *loop, s *session) { s.handOver(l) }, func(l *loop, f *flow) { f.handOver(l) })
}

// Resume ends the batch: the sessions continue in this process.
func (x *HandoverBatch) Resume() {
	x.each(func(l *loop, s *session) { s.unfreeze(l) }, func(l *loop, f *flow) { f.resume(l) })
}

func (x *HandoverBatch) each(session func(*loop, *session), flow func(*loop, *flow)) {
	done := make(chan struct{})
	x.loop.post(message{do: func(l *loop) {
		for _, s := range x.sessions {
			session(l, s)
		}
		for _, f := range x.flows {
			flow(l, f)
		}
		close(done)
	}})
	<-done
}

// handOver frees a session that the other process has. Closing its sockets has no effect on the peers.
func (s *session) handOver(l *loop) {
	counters := s.counters(l)
	store(&counters.HandedOver, counters.HandedOver+1)
	s.lease.HandOver(l.now)
	s.set.Admission.release(&s.claim, s.clientAddr.get().Addr())
	l.plane.releaseSession()
	for _, st := range [...]*stream{&s.up, &s.down} {
		if st.pipe != nil { // the other process has its bytes
			l.pipes.close(st.pipe)
			st.pipe = nil
		}
		st.release(l)
	}
	if s.dialer != nil {
		if s.dialer.attempts.Held() {
			s.set.Cluster.DropHold(&s.dialer.attempts)
		}
		l.dialers.put(s.dialer)
		s.dialer = nil
	}
	s.removeHop(l)
	closeFD(s.client.fd)
	if s.server.fd >= 0 {
		closeFD(s.server.fd)
	}
	l.freeSession(s)
}

// unfreeze continues a frozen session.
func (s *session) unfreeze(l *loop) {
	reason := s.end.Reason
	if s.dialer != nil {
		s.resumeWait(l, reason)
		return
	}
	s.resume(l)
	if reason != ReasonNone && s.phase == PhaseRelay {
		s.cut(l, reason)
	}
}

// resume registers a session's sockets with epoll, which reports their readiness at once, and arms its timer.
func (s *session) resume(l *loop) {
	s.client.readable, s.client.writable = false, false
	s.server.readable, s.server.writable = false, false
	if !l.register(s, clientSide, s.client.fd) || !l.register(s, serverSide, s.server.fd) {
		s.finish(l, ReasonLocalShortage)
		return
	}
	s.phase = PhaseRelay
	if s.has(keepaliveSet) {
		s.rearm(l)
	} else {
		l.wheel.arm(&s.timer, l.now+keepaliveDelay)
	}
	s.watchSilence(l)
}

// LocalBinding is a Binding resolved to the objects of this process.
type LocalBinding struct {
	Listener *Listener
	Set      *Settings // of new sessions
	Cluster  *balance.Cluster
	Server   string
	At       string // the server's address, as in its cluster
	Level    int    // key
}

// ReceivedSessions is a batch that has arrived. It must end with Start or Discard.
type ReceivedSessions struct {
	plane       *Plane
	batch       *sessionBatch
	bindings    []LocalBinding  // of each Binding
	leases      []balance.Lease // of each session
	descriptors []int32
}

// ReceiveSessions decodes a batch. It owns the descriptors, except after an error. find resolves a Binding.
func (p *Plane) ReceiveSessions(body []byte, descriptors []int32, find func(Binding) LocalBinding) (*ReceivedSessions, error) {
	content, err := decodeSessions(body, len(descriptors))
	if err != nil {
		return nil, err
	}
	a := &ReceivedSessions{plane: p, batch: content, descriptors: descriptors}
	for i := range content.bindings {
		at := &content.bindings[i]
		h := find(*at)
		if !at.Waiting || h.Set.Cluster == nil { // sessions that wait get the settings of their listener, unless it has left
			h.Set = h.Set.withBinding(at, h.Level)
		}
		a.bindings = append(a.bindings, h)
	}
	for i := range content.sessions {
		h := &a.bindings[content.sessions[i].binding]
		var lease balance.Lease
		if content.sessions[i].wait == nil {
			lease, _ = h.Cluster.Adopt(h.Server, h.At, h.Level, p.Now())
		}
		a.leases = append(a.leases, lease)
	}
	return a, nil
}

// Sessions returns the number of sessions.
func (a *ReceivedSessions) Sessions() int { return len(a.batch.sessions) }

// Discard closes the descriptors. The peers see nothing of that: the other process has the sockets too.
func (a *ReceivedSessions) Discard() {
	for i := range a.leases {
		a.leases[i].Done(a.plane.Now())
	}
	for _, fd := range a.descriptors {
		closeFD(fd)
	}
}

// Start continues the sessions. The other process must not touch them any more.
func (a *ReceivedSessions) Start() {
	p := a.plane
	work := make([][]func(*loop), len(p.loops))
	fds := a.descriptors
	for i := range a.batch.sessions {
		t := &a.batch.sessions[i]
		n := t.descriptors()
		h, own := &a.bindings[t.binding], fds[:n]
		fds = fds[n:]
		l := p.leastLoaded()
		l.live.Add(1)
		p.arrive()
		work[l.index] = append(work[l.index], func(l *loop) { l.takeOver(t, h, a.leases[i], own) })
	}
	for i, list := range work {
		if len(list) > 0 {
			p.loops[i].post(message{do: func(l *loop) {
				for _, do := range list {
					do(l)
				}
			}})
		}
	}
}

// leastLoaded returns the loop with the fewest sessions.
func (p *Plane) leastLoaded() *loop {
	best := p.loops[0]
	for _, l := range p.loops[1:] {
		if l.live.Load() < best.live.Load() {
			best = l
		}
	}
	return best
}

// LastID returns an id above those of all sessions of this plane, now and for some time.
func (p *Plane) LastID() uint64 {
	last := make([]uint64, len(p.loops))
	p.runOnLoops(func(l *loop) { last[l.index] = l.lastID })
	return (slices.Max(last) + 1<<16) * uint64(len(p.loops))
}

// withBinding returns these settings with those of a Binding that sessions keep from their start.
func (set *Settings) withBinding(at *Binding, level int) *Settings {
	s := *set
	s.ClientIdle, s.ServerIdle, s.HalfClose = at.clientIdle, at.serverIdle, at.halfClose
	s.Keepalive, s.UserTimeout, s.Records, s.Route = at.keepalive, at.userTimeout, at.records, at.Route
	s.MaxRateUp, s.MaxRateDown = at.maxRateUp, at.maxRateDown
	if s.ClientIdle == set.ClientIdle && s.ServerIdle == set.ServerIdle && s.HalfClose == set.HalfClose && s.Keepalive == set.Keepalive &&
		s.UserTimeout == set.UserTimeout && s.MaxRateUp == set.MaxRateUp && s.MaxRateDown == set.MaxRateDown && s.Records == set.Records && s.Route == set.Route && set.LevelName(level) == at.Level {
		return set
	}
	if at.Level != "" && s.LevelName(level) != at.Level {
		s.LevelNames = maps.Clone(s.LevelNames)
		if s.LevelNames == nil {
			s.LevelNames = map[int]string{}
		}
		s.LevelNames[level] = at.Level
	}
	return &s
}

// takeOver continues a session of another process.
func (l *loop) takeOver(t *sessionState, h *LocalBinding, lease balance.Lease, fds []int32) {
	s := l.newSession()
	s.id = t.id
	s.listener, s.set = h.Listener, h.Set
	s.clientAddr.set(t.clientAddr)
	s.lease = lease
	s.claim = s.set.Admission.acquireUnchecked(t.clientAddr.Addr())
	counters := s.counters(l)
	store(&counters.TakenOver, counters.TakenOver+1)
	s.setServerName(t.serverName)
	if t.proxy != (ProxyFacts{}) {
		s.setProxyFacts(&t.proxy)
	}
	if server := s.lease.Server(); server != nil {
		s.serverCounts = targetOf(server).counts(l)
	}
	s.startedAt, s.clientActiveAt, s.serverActiveAt, s.halfClosedAt = t.startedAt, t.clientActiveAt, t.serverActiveAt, t.halfClosedAt
	s.connected, s.firstByte, s.attemptCount = t.connected, t.firstByte, t.attemptCount
	s.note(keepaliveSet, t.keepaliveSet)
	s.note(askedLast, t.askedLast)
	s.client, s.server = t.client.socket(fds[0]), socket{fd: -1}
	if t.wait != nil {
		s.takeOverWait(l, t.wait, h)
		return
	}
	s.server = t.server.socket(fds[1])
	if server := s.lease.Server(); server != nil && targetOf(server).reachedAtClientPort() {
		s.setServerAddress(peerOf(s.server.fd))
	}
	fds = fds[2:]
	fds = s.up.restore(l, &t.up, fds)
	s.down.restore(l, &t.down, fds)
	s.flushedUp, s.flushedDown = s.up.bytes, s.down.bytes
	s.adoptPace(l, t.up.bucketFull, t.down.bucketFull)
	s.phase = PhaseHandover
	if l.stopping {
		s.finish(l, ReasonCutShutdown)
		return
	}
	s.resume(l)
}

func (t *socketState) socket(fd int32) socket {
	return socket{fd: fd, fin: t.fin, local: t.local, urgent: t.urgent, hasSent: t.hasSent, nodelay: t.nodelay, ackDelayed: t.ackDelayed, headerSize: t.headerSize}
}

// restore restores a stream and returns the remaining descriptors.
func (st *stream) restore(l *loop, t *streamState, fds []int32) []int32 {
	*st = stream{bytes: t.bytes, fullReads: t.fullReads, eof: t.eof, finSent: t.finSent, headerBytes: t.headerBytes}
	if len(t.held) > 0 {
		st.held = l.buffers.get()
		st.held.from, st.held.to = 0, copy(st.held.data[:], t.held)
	}
	if t.pipe {
		st.pipe = &pipe{r: fds[0], w: fds[1], held: t.inPipe}
		l.pipes.open.Add(1)
		fds = fds[2:]
	}
	return fds
}
