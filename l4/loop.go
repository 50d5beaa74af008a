package l4

// One event loop: a goroutine with its own epoll descriptor, timer wheels, buffers, pipes, sessions and flows. Only the
// loop touches what it owns; other goroutines post messages to its inbox.

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// An event carries two words. lo is the slot of a session with the side in sideBit, the slot of a flow with flowBit, or one
// of the marks. hi is the low half of the session's or flow's id, which differs from that of the slot's last user, or
// the number of the listen socket.
const (
	sideBit          = 1 << 30
	flowBit          = 1 << 29
	markInbox        = -1
	markListenSocket = -2
)

const (
	eventBatch      = 256
	interest        = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET&0xffffffff
	timeSlice       = 100 * time.Microsecond // the shortest that the scheduler grants
	tuneThreadEvery = 64                     // rounds
	maxFree         = 1024                   // structs of a kind that are kept for reuse
	// yieldJoinable is the number of joinable datagrams in a round after which the loop yields: half a batch.
	yieldJoinable = batchSize / 2
	trimEvery     = time.Second
)

type loop struct {
	plane  *Plane
	index  int
	epfd   int32
	wakeFD int32 // eventfd; signalled when the inbox has a message

	// Owned by the loop.
	now       time.Duration
	wakeBy    time.Duration // when the loop should run again at the latest
	graceEnds time.Duration // timers are not judged before: peers get time to be heard after a pause
	stopping  bool
	rounds    uint32
	lastID    uint64
	lastTrim  time.Duration
	thread    int32 // the thread that was tuned last
	dialTime  Histogram
	buffers   bufferPool
	pipes     pipePool
	wheel     wheel[*session]
	flowWheel wheel[*flow]

	// Accepting, owned by the loop.
	listenSockets    map[int32]*listenSocket // by number
	lastListenSocket int32
	pausedSockets    []*listenSocket
	waitingSockets   []*listenSocket // for a slot
	waitingSince     time.Duration   // when the last one began
	acceptPaused     bool            // another process accepts
	pending          []pendingClient // clients that wait briefly for a slot
	pendingAccepted  int             // those without a session

	// TCP, owned by the loop.
	sessions slots[session]
	sweep    sweep      // for sessions to close
	runQueue []*session // sessions with work left
	dirty    []*session // have bytes that are not counted yet; may hold a session twice, or one that has ended
	dialers  dialerPool
	silent   map[*session]silences // hosts that have not acknowledged bytes at the last look
	pacer    *pacer                // nil until the first session whose rate is limited

	// UDP, owned by the loop.
	udp          *datagramBuffers // nil until the first UDP listener
	flows        slots[flow]
	dirtyFlows   []*flow // as dirty
	lingering    flowList
	kept         keptDatagrams
	attempts     balance.Attempts // of the pick in progress
	attemptsPool attemptsPool
	joinable     int        // datagrams of this round that arrived with another of their flow
	header       headerInfo // of the datagram in progress
	promoted     promotedFlows
	maxSegment   uint16 // the largest datagrams that the kernel joins and splits (GSO, GRO); 0 = none

	events  [eventBatch]unix.EpollEvent
	scratch [scratchSize]byte

	// Read by anyone.
	live        atomic.Int32 // sessions and flows, including those on their way from another loop
	sleptNanos  atomic.Int64
	asleepSince atomic.Int64 // on the plane's clock; 0 = awake
	wakePending atomic.Bool  // wakeFD was signalled and not read yet

	mu    sync.Mutex
	inbox []message
}

// message is posted to a loop: a function to run or an accepted client.
type message struct {
	do     func(*loop)
	client acceptedClient
}

func openLoop(p *Plane, index int) (*loop, errno) {
	l := &loop{plane: p, index: index, epfd: -1, wakeFD: -1, listenSockets: map[int32]*listenSocket{}, silent: map[*session]silences{}, promoted: promotedFlows{of: map[*flow]*promotedFlow{}}, now: p.Now()}
	l.wheel.now = uint64(l.now / wheelTick)
	l.sleptNanos.Store(int64(l.now)) // the time before the loop existed is not busy time
	l.flowWheel.now = l.wheel.now
	var e errno
	if l.epfd, e = openEpoll(); e != 0 {
		return nil, e
	}
	if l.wakeFD, e = openEventFD(); e != 0 {
		closeFD(l.epfd)
		return nil, e
	}
	if e = epollControl(l.epfd, unix.EPOLL_CTL_ADD, l.wakeFD, unix.EPOLLIN, markInbox, 0); e != 0 {
		closeFD(l.epfd)
		closeFD(l.wakeFD)
		return nil, e
	}
	return l, 0
}

// post adds a message to the inbox. It never blocks.
func (l *loop) post(m message) {
	l.mu.Lock()
	l.inbox = append(l.inbox, m)
	l.mu.Unlock()
	if !l.wakePending.Swap(true) {
		signalEventFD(l.wakeFD)
	}
}

// run is the loop. It waits in three steps, because sleeping and waking cost more than a short poll: poll; if there is
// no event, yield to other threads and poll again; then sleep until an event or the next timer. Measured with small
// requests, the yield saves an eighth of the CPU time of each. A thread that yields waits for the rest of its time
// slice, so the loop requests the shortest slice: with the default slice, the yield cost a third more latency at the
// 99th percentile than sleeping; with the shortest it costs none.
//
// After a round in which many datagrams could leave together, the loop yields before the next poll, and clients and
// servers send more meanwhile. With plain datagrams of 16 clients, answered at once, that saves 5 to 7 % of the CPU
// time of a round trip.
//
// The goroutine is not locked to its thread: a locked goroutine that wakes up is handed over twice, which costs a third
// more CPU time per request when there is little to do.
func (l *loop) run() {
	for !l.stopping {
		if l.joinable >= yieldJoinable {
			schedYield()
		}
		l.joinable = 0
		n := epollPoll(l.epfd, l.events[:])
		if n == 0 && len(l.runQueue) == 0 {
			schedYield()
			if n = epollPoll(l.epfd, l.events[:]); n == 0 {
				n = l.sleep()
			}
		}
		if l.rounds++; l.rounds%tuneThreadEvery == 0 {
			l.tuneThread()
		}
		l.now = l.plane.Now()
		l.detectPause()
		l.handle(n)
		if l.pacer != nil {
			l.resumePaced()
		}
		if l.promoted.due(l.now) {
			l.lookAtPromoted()
		}
		l.expireTimers()
		if len(l.pending) > 0 {
			l.retryPending()
		}
		if !l.sweep.idle() {
			l.closeSessions()
		}
		if len(l.pausedSockets) > 0 || len(l.waitingSockets) > 0 || l.now-l.lastTrim > trimEvery {
			l.housekeep()
		}
	}
	l.close()
}

// handle handles the first n events and the work that they leave.
func (l *loop) handle(n int) {
	for i := range l.events[:n] {
		l.dispatch(&l.events[i])
	}
	if l.udp != nil {
		l.flushReplies()
	}
	l.runQueued()
}

// expireTimers fires the timers that are due now, after it has handled everything that had arrived by now: a peer whose
// byte arrived in time is not late because the loop did not run. One poll returns at most eventBatch events, and a loop
// with thousands of sessions needs several to see all of them. Their number is bounded: after as many events as there
// are descriptors, each descriptor that was ready has reported.
func (l *loop) expireTimers() {
	if l.now < l.graceEnds {
		return
	}
	l.graceEnds = 0
	sessionsDue, flowsDue := l.wheel.due(l.now), l.flowWheel.due(l.now)
	if !sessionsDue && !flowsDue {
		return
	}
	now := l.now
	descriptors := 2*len(l.sessions.all) + len(l.flows.all) + len(l.listenSockets) + 1
	for range 1 + descriptors/eventBatch {
		n := epollPoll(l.epfd, l.events[:])
		l.handle(n)
		if n < eventBatch {
			break
		}
	}
	if l.wakePending.Load() { // a server's slot may have been granted
		l.readInbox()
	}
	l.wheel.advance(now, l.expireSession)
	l.flowWheel.advance(now, l.expireFlow)
	if l.udp != nil {
		l.flushReplies()
	}
}

const (
	// minPause is how late a loop must run for that to count as a pause: the process was stopped, the machine migrated, or
	// other processes took the processor.
	minPause = 250 * time.Millisecond
	// maxPauseGrace limits how long timers are not judged after a pause.
	maxPauseGrace = time.Second
)

// detectPause defers the timers after a pause, for as long as the pause took, at most maxPauseGrace. What arrived on this
// host meanwhile is handled before any timer, but a peer, another loop or the network may have been paused too, and then
// needs time to be heard. Timers are judged between two deferrals.
func (l *loop) detectPause() {
	if pause := l.now - l.wakeBy; pause >= minPause && l.graceEnds == 0 && l.wakeBy > 0 {
		l.graceEnds = l.now + min(pause, l.plane.pauseGrace)
	}
	l.wakeBy = l.now
}

// timeUp reports whether a deadline has passed that no timer watches. It is not judged during the grace of a pause.
func (l *loop) timeUp(deadline time.Duration) bool { return l.now >= deadline && l.now >= l.graceEnds }

// sleep waits for an event or the next timer.
func (l *loop) sleep() int {
	asleep := l.plane.Now()
	l.asleepSince.Store(int64(asleep))
	ms := l.pollTimeout(asleep)
	if l.wakeBy = asleep + time.Duration(ms)*time.Millisecond; ms < 0 {
		l.wakeBy = 0 // it may sleep as long as it likes
	}
	n := epollSleep(l.epfd, l.events[:], ms)
	l.asleepSince.Store(0)
	l.sleptNanos.Add(int64(l.plane.Now() - asleep))
	return n
}

// tuneThread sets the time slice of the current thread. The goroutine seldom changes its thread.
func (l *loop) tuneThread() {
	if id := threadID(); id != l.thread {
		l.thread = id
		shortenSlice(timeSlice)
	}
}

// readClock updates the loop's time. Callers that start a deadline use it: after much work the time is behind, and a
// deadline must not expire early.
func (l *loop) readClock() { l.now = l.plane.Now() }

func (l *loop) expireSession(s *session) { s.expire(l) }

func (l *loop) expireFlow(f *flow) { f.expire(l) }

// pollTimeout returns how long epoll_wait may block, in milliseconds; -1 = without limit.
func (l *loop) pollTimeout(now time.Duration) int {
	wait := time.Duration(-1)
	if at, ok := l.wheel.next(); ok {
		wait = max(max(at, l.graceEnds)-now, 0)
	}
	if at, ok := l.flowWheel.next(); ok && (wait < 0 || wait > at-now) {
		wait = max(max(at, l.graceEnds)-now, 0)
	}
	if l.pacer != nil {
		if at, ok := l.pacer.wheel.next(); ok && (wait < 0 || wait > at-now) {
			wait = max(at-now, 0)
		}
	}
	if rest := l.errorBackoff(); len(l.pausedSockets) > 0 && (wait < 0 || wait > rest) {
		wait = rest
	}
	if len(l.waitingSockets) > 0 && (wait < 0 || wait > waitRetry) {
		wait = waitRetry
	}
	if len(l.pending) > 0 && (wait < 0 || wait > pendingInterval) {
		wait = pendingInterval
	}
	if (len(l.pipes.free) > 0 || len(l.buffers.free) > 0 || len(l.dirty) > 0 || len(l.dirtyFlows) > 0) && (wait < 0 || wait > trimEvery) {
		wait = trimEvery
	}
	if len(l.promoted.list) > 0 {
		if rest := max(l.promoted.at+l.promoted.pause()-now, 0); wait < 0 || wait > rest {
			wait = rest
		}
	}
	if !l.sweep.idle() && (wait < 0 || wait > l.sweep.at-now) {
		wait = max(l.sweep.at-now, 0)
	}
	if wait < 0 {
		return -1
	}
	return int((min(wait, time.Hour) + time.Millisecond - 1) / time.Millisecond)
}

func (l *loop) dispatch(ev *unix.EpollEvent) {
	switch ev.Fd {
	case markInbox:
		l.readInbox()
	case markListenSocket:
		if s := l.listenSockets[ev.Pad]; s != nil {
			if s.udp != nil {
				l.receive(s.udp)
			} else {
				l.accept(s)
			}
		}
	default:
		if ev.Fd&flowBit != 0 {
			if f := l.flows.all[ev.Fd&^flowBit]; f != nil && uint32(f.id) == uint32(ev.Pad) {
				f.handleEvent(l, ev.Events)
			}
			return
		}
		s := l.sessions.all[ev.Fd&^sideBit]
		if s == nil || uint32(s.id) != uint32(ev.Pad) {
			return // the session ended earlier in this batch
		}
		side := clientSide
		if ev.Fd&sideBit != 0 {
			side = serverSide
		}
		s.handleEvent(l, side, ev.Events)
	}
}

func (l *loop) readInbox() {
	drainEventFD(l.wakeFD)
	l.wakePending.Store(false)
	l.mu.Lock()
	messages := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for i := range messages {
		if m := &messages[i]; m.do != nil {
			m.do(l)
		} else {
			l.startSession(&m.client)
		}
	}
}

// schedule adds the session to the run queue: it continues after the others.
func (l *loop) schedule(s *session) {
	if !s.queued {
		s.queued = true
		l.runQueue = append(l.runQueue, s)
	}
}

func (l *loop) runQueued() {
	n := len(l.runQueue)
	for i := 0; i < n; i++ {
		if s := l.runQueue[i]; s.queued {
			s.queued = false
			s.step(l)
		}
	}
	l.runQueue = append(l.runQueue[:0], l.runQueue[n:]...)
}

// register adds a socket of a session to epoll, once and for all events.
func (l *loop) register(s *session, side uint8, fd int32) bool {
	lo := int32(s.slot)
	if side == serverSide {
		lo |= sideBit
	}
	return epollControl(l.epfd, unix.EPOLL_CTL_ADD, fd, interest, lo, int32(uint32(s.id))) == 0
}

// newSession returns an empty session with a slot and an id.
func (l *loop) newSession() *session {
	s, slot := l.sessions.acquire()
	s.slot = slot
	s.timer.owner = s
	l.lastID++
	s.id = l.lastID*uint64(len(l.plane.loops)) + uint64(l.index)
	return s
}

// freeSession frees the slot of a session whose sockets are closed and whose lease is released.
func (l *loop) freeSession(s *session) {
	s.unpace(l)
	if s.queued { // still in the run queue: left to the garbage collector
		l.sessions.detach(s.slot)
		s.queued = false
		s.phase = PhaseNone
	} else {
		l.sessions.release(s.slot)
	}
	l.live.Add(-1)
}

// recordSession passes the record of an ended session on. Its lease is released; its sockets are still open.
func (l *loop) recordSession(s *session, server *balance.Server, level int) {
	if l.wantsRecord(s.set, s.end) {
		r := s.record(l.now, s.clientAddr.get(), server, level, s.up.bytes, s.down.bytes, s.end)
		r.SNI, r.Proxy, r.ServerAddress = s.serverName(), s.proxyFacts(), s.serverAddress()
		l.plane.record(r)
	}
}

// wantsRecord reports whether a session that ended in this way is recorded.
func (l *loop) wantsRecord(set *Settings, end Termination) bool {
	return l.plane.record != nil && (set.Records == RecordAll || set.Records == RecordErrors && !end.expected())
}

// housekeep resumes paused listen sockets, counts bytes and frees what was not used lately.
func (l *loop) housekeep() {
	l.resumePaused()
	if len(l.waitingSockets) > 0 && l.now-l.waitingSince >= waitRetry {
		l.resumeWaiting()
	}
	if l.now-l.lastTrim > trimEvery {
		l.lastTrim = l.now
		l.flushAllBytes()
		l.pipes.trim(len(l.pipes.free) / 2)
		l.buffers.trim(len(l.buffers.free) / 2)
	}
}

// eachSession calls f for every session of the loop. f may end the session.
func (l *loop) eachSession(f func(*session)) {
	for _, s := range l.sessions.all {
		if s != nil {
			f(s)
		}
	}
}

func (l *loop) close() {
	l.eachSession(func(s *session) { s.finish(l, ReasonCutShutdown) })
	l.readInbox()
	l.rejectPending()
	for _, s := range l.listenSockets {
		if s.udp != nil {
			l.closeUDPSocket(s.udp, ReasonCutShutdown)
		} else {
			l.closeListenSocket(s)
		}
	}
	l.pipes.trim(0)
	closeFD(l.epfd)
	closeFD(l.wakeFD)
}
