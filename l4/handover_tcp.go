package l4

// Handing over to another process: the listening sockets, and the sessions in relay. Both processes have the sockets for a
// while; who of the two accepts, and when, is agreed elsewhere.
//
// A session is moved by the loop that owns it. It is frozen first: its sockets leave epoll, its timer stops, and nothing
// touches it any more. Then its description and copies of its descriptors travel. Only when the other process has said
// that it has them, and before it reads the first byte, they are closed here; if it says nothing, the session goes on here
// as if nothing had happened. So there is no moment at which two processes read one socket.

import (
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// PauseAccept accepts no more clients, without closing anything, and returns when none can arrive. Those who come wait in the
// queues of the sockets for the process that has them too, or for Release.
func (p *Plane) PauseAccept() { p.runOnLoops((*loop).pauseAccept) }

// ResumeAccept accepts again.
func (p *Plane) ResumeAccept() { p.runOnLoops((*loop).resumeAccept) }

// PendingClients is how many clients have been accepted for whom there may be room in a moment. They are let in or turned away
// while nothing is accepted, too.
func (p *Plane) PendingClients() int {
	var n atomic.Int64
	p.runOnLoops(func(l *loop) { n.Add(int64(l.pendingAccepted)) })
	return int(n.Load())
}

// CloseListenSockets closes this process's descriptors of every listening socket that is held. Whoever waits in their queues is the
// other process's, which has them too; so are the files of unix sockets.
func (p *Plane) CloseListenSockets() { p.runOnLoops((*loop).abandonListenSockets) }

// BatchIterator goes through the sessions, or the flows, of a plane.
type BatchIterator struct {
	plane *Plane
	loop  int // where it is
	slot  int
	idle  int // loops in a row that had nothing to move
}

// BatchIterator starts to move sessions away. One goroutine at a time may use it.
func (p *Plane) Batches() *BatchIterator { return &BatchIterator{plane: p} }

// HandoverBatch is some sessions of one loop, frozen, and ready to be sent. It ends with Delivered or Return.
type HandoverBatch struct {
	Body        []byte
	Descriptors []int32 // the sessions' own

	loop     *loop
	sessions []*session
	flows    []*flow // instead
}

// Sessions is how many there are, flows included.
func (x *HandoverBatch) Sessions() int { return len(x.sessions) + len(x.flows) }

// Next freezes some sessions; nil = every loop was looked through, and there was nothing to move. Sessions that arrive, wait
// or dial come into it once they relay.
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

// maxBatchBytes bounds the bytes of sessions that wait in buffers and travel in one parcel, softly.
const maxBatchBytes = 512 << 10

// batchKept freezes the sessions from a slot on that fit into a parcel.
func (l *loop) freezeSessions(slot *int) *HandoverBatch {
	x := &HandoverBatch{loop: l}
	var p sessionBatch
	places := map[Binding]int{}
	held := 0
	for ; *slot < len(l.sessions.all) && held < maxBatchBytes; *slot++ {
		s := l.sessions.all[*slot]
		if s == nil || !s.canHandOver() {
			continue
		}
		t := s.state()
		if len(x.Descriptors)+t.descriptors() > maxDescriptors {
			break
		}
		at := s.binding()
		place, known := places[at]
		if !known {
			place = len(p.bindings)
			places[at] = place
			p.bindings = append(p.bindings, at)
		}
		t.binding = place
		s.freeze(l)
		x.sessions = append(x.sessions, s)
		x.Descriptors = append(x.Descriptors, s.client.fd, s.server.fd)
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

// canHandOver tells whether another process could go on with the session: it relays, and neither side has broken.
func (s *session) canHandOver() bool {
	return s.phase == PhaseRelay && !s.client.failed && !s.server.failed && !s.up.stopped && !s.down.stopped
}

// binding is what the session has in common with others.
func (s *session) binding() Binding {
	at := Binding{
		Address: s.listener.at.String(), Listener: s.set.Name, Cluster: s.set.ClusterName,
		clientIdle: s.set.ClientIdle, serverIdle: s.set.ServerIdle, halfClose: s.set.HalfClose,
		keepalive: s.set.Keepalive, userTimeout: s.set.UserTimeout, records: s.set.Records,
	}
	if server := s.lease.Server(); server != nil {
		at.Server, at.Level = server.Name(), s.set.levelName(s.lease.Level())
	}
	return at
}

func (s *session) state() sessionState {
	return sessionState{
		id: s.id, clientAddr: s.clientAddr.get(), startedAt: s.startedAt, clientActiveAt: s.clientActiveAt, serverActiveAt: s.serverActiveAt, halfClosedAt: s.halfClosedAt,
		connected: s.connected, firstByte: s.firstByte, attemptCount: s.attemptCount, keepaliveSet: s.keepaliveSet,
		client: s.client.state(), server: s.server.state(), up: s.up.state(), down: s.down.state(),
	}
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

// freeze stops everything about a session.
func (s *session) freeze(l *loop) {
	s.phase = PhaseHandover
	s.end = Termination{} // its reason is set by a cut meanwhile
	s.queued = false
	l.wheel.stop(&s.timer)
	s.flushBytes()
	epollControl(l.epfd, unix.EPOLL_CTL_DEL, s.client.fd, 0, 0, 0)
	epollControl(l.epfd, unix.EPOLL_CTL_DEL, s.server.fd, 0, 0, 0)
}

// Confirm ends a parcel: another process has the sessions.
func (x *HandoverBatch) Confirm() {
	x.each(func(l *loop, s *session) { s.handOver(l) }, func(l *loop, f *flow) { f.handOver(l) })
}

// Resume ends a parcel that nobody has taken: its sessions go on here.
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

// handOver lets go of a session that another process has. Its sockets are closed without a word: they live on there.
func (s *session) handOver(l *loop) {
	store(&s.counters.HandedOver, s.counters.HandedOver+1)
	s.lease.Done(l.now)
	s.set.Admission.release(&s.claim, s.clientAddr.get().Addr())
	l.plane.releaseSession()
	for _, st := range [...]*stream{&s.up, &s.down} {
		if st.pipe != nil { // the bytes in it are the other process's
			l.pipes.close(st.pipe)
			st.pipe = nil
		}
		st.release(l)
	}
	closeFD(s.client.fd)
	closeFD(s.server.fd)
	l.freeSession(s)
}

// unfreeze goes on with a session that was frozen.
func (s *session) unfreeze(l *loop) {
	s.resume(l)
	if reason := s.end.Reason; reason != ReasonNone && s.phase == PhaseRelay {
		s.cut(l, reason)
	}
}

// resumeAt has a session's sockets watched, which tells at once what they are ready for, and its deadlines kept.
func (s *session) resume(l *loop) {
	s.client.readable, s.client.writable = false, false
	s.server.readable, s.server.writable = false, false
	if !l.register(s, clientSide, s.client.fd) || !l.register(s, serverSide, s.server.fd) {
		s.finish(l, ReasonLocalShortage)
		return
	}
	s.phase = PhaseRelay
	if s.keepaliveSet {
		s.rearm(l)
	} else {
		l.wheel.arm(&s.timer, l.now+keepaliveDelay)
	}
}

// LocalBinding is where a session belongs in this process.
type LocalBinding struct {
	Listener *Listener
	Set      *Settings // of the sessions that begin there now
	Cluster  *balance.Cluster
	Server   string
	Level    int // the key
}

// ReceivedSessions is a parcel that has arrived. It ends with Begin or Discard.
type ReceivedSessions struct {
	plane       *Plane
	batch       *sessionBatch
	bindings    []LocalBinding  // of each place
	leases      []balance.Lease // of each session
	descriptors []int32
}

// ReceiveSessions unpacks a parcel, whose descriptors become the adoption's; with an error they stay the caller's. find tells where
// the sessions of a place belong.
func (p *Plane) ReceiveSessions(body []byte, descriptors []int32, find func(Binding) LocalBinding) (*ReceivedSessions, error) {
	content, err := decodeSessions(body, len(descriptors))
	if err != nil {
		return nil, err
	}
	a := &ReceivedSessions{plane: p, batch: content, descriptors: descriptors}
	for i := range content.bindings {
		at := &content.bindings[i]
		h := find(*at)
		h.Set = h.Set.withBinding(at, h.Level)
		a.bindings = append(a.bindings, h)
	}
	for i := range content.sessions {
		h := &a.bindings[content.sessions[i].binding]
		lease, _ := h.Cluster.Adopt(h.Server, h.Level, p.Now())
		a.leases = append(a.leases, lease)
	}
	return a, nil
}

// Sessions is how many.
func (a *ReceivedSessions) Sessions() int { return len(a.batch.sessions) }

// Discard closes everything, in a way that the peers see nothing of: the other process has the sockets too.
func (a *ReceivedSessions) Discard() {
	for i := range a.leases {
		a.leases[i].Done(a.plane.Now())
	}
	for _, fd := range a.descriptors {
		closeFD(fd)
	}
}

// Start goes on with the sessions, which the other process does not touch any more.
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
		p.sessions.Add(1)
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

// leastLoaded is the loop with the fewest sessions.
func (p *Plane) leastLoaded() *loop {
	best := p.loops[0]
	for _, l := range p.loops[1:] {
		if l.live.Load() < best.live.Load() {
			best = l
		}
	}
	return best
}

// LastID is a number that no session of this plane has reached yet, nor will soon.
func (p *Plane) LastID() uint64 {
	last := make([]uint64, len(p.loops))
	p.runOnLoops(func(l *loop) { last[l.index] = l.lastID })
	return (slices.Max(last) + 1<<16) * uint64(len(p.loops))
}

// withBinding is these settings with those of a place that sessions keep as they were when they began.
func (set *Settings) withBinding(at *Binding, level int) *Settings {
	s := *set
	s.ClientIdle, s.ServerIdle, s.HalfClose = at.clientIdle, at.serverIdle, at.halfClose
	s.Keepalive, s.UserTimeout, s.Records = at.keepalive, at.userTimeout, at.records
	if s.ClientIdle == set.ClientIdle && s.ServerIdle == set.ServerIdle && s.HalfClose == set.HalfClose && s.Keepalive == set.Keepalive &&
		s.UserTimeout == set.UserTimeout && s.Records == set.Records && set.levelName(level) == at.Level {
		return set
	}
	if s.levelName(level) != at.Level {
		s.LevelNames = maps.Clone(s.LevelNames)
		if s.LevelNames == nil {
			s.LevelNames = map[int]string{}
		}
		s.LevelNames[level] = at.Level
	}
	return &s
}

// takeOver goes on with a session of another process.
func (l *loop) takeOver(t *sessionState, h *LocalBinding, lease balance.Lease, fds []int32) {
	s := l.newSession()
	s.id = t.id
	s.listener, s.set = h.Listener, h.Set
	s.clientAddr.set(t.clientAddr)
	s.lease = lease
	s.claim = s.set.Admission.acquireUnchecked(t.clientAddr.Addr())
	s.counters = &h.Listener.counters[l.index]
	store(&s.counters.TakenOver, s.counters.TakenOver+1)
	if server := s.lease.Server(); server != nil {
		target, _ := server.Handle().(*Target)
		s.serverCounts = target.counts(l)
	}
	s.startedAt, s.clientActiveAt, s.serverActiveAt, s.halfClosedAt = t.startedAt, t.clientActiveAt, t.serverActiveAt, t.halfClosedAt
	s.connected, s.firstByte, s.attemptCount, s.keepaliveSet = t.connected, t.firstByte, t.attemptCount, t.keepaliveSet
	s.client, s.server = t.client.socket(fds[0]), t.server.socket(fds[1])
	fds = fds[2:]
	fds = s.up.restore(l, &t.up, fds)
	s.down.restore(l, &t.down, fds)
	s.flushedUp, s.flushedDown = s.up.bytes, s.down.bytes
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

// acquireCount makes the stream what it was, and returns the descriptors that are not its own.
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
