package l4

// One event loop: a goroutine that is seldom off its thread, with its own epoll descriptor, timing wheel, buffers, pipes and
// sessions. Nothing outside it touches what it owns; other goroutines leave it messages.

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/balance"
)

// Events carry two words: lo is the slot of a session with the side in the top bit, that of a flow with the next bit set,
// or one of the marks below; hi is the low half of the session's or flow's id, unlike that of the slot's last user, or the
// number of the door or inlet.
const (
	sideBit       = 1 << 30
	markInbox     = -1
	markListener  = -2
	markUDPSocket = -3
	flowBit       = 1 << 29
)

const (
	eventBatch      = 256
	interest        = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET&0xffffffff
	timeSlice       = 100 * time.Microsecond // the least that the scheduler grants
	tuneThreadEvery = 64                     // rounds between looks at which thread this is
	maxFree         = 1024                   // structs of a kind that are kept for reuse
	// How many companions a round is to have for the loop to yield before the next: half a batch.
	yieldJoinable = batchSize / 2
	trimEvery     = time.Second
)

type loop struct {
	plane  *Plane
	index  int
	epfd   int32
	wakeFD int32 // the eventfd that wakes the loop for its mailbox

	// Owned by the loop.
	now              time.Duration
	wheel            wheel[*session]
	sessions         slots[session]
	runQueue         []*session
	dirty            []*session // have moved bytes that are not counted yet; may hold one twice, or one that has ended
	buffers          bufferPool
	pipes            pipePool
	dialers          dialerPool
	listenSockets    map[int32]*listenSocket // the listening sockets this loop accepts from, by number
	pausedSockets    []*listenSocket         // those that wait out a shortage
	pending          []pendingClient         // clients for whom there may be room in a moment
	lastListenSocket int32
	acceptPaused     bool // nothing is accepted while another process does
	lastID           uint64

	// Of UDP, owned by the loop.
	udpSockets   map[int32]*udpSocket // the listening sockets, by number
	pausedUDP    []*udpSocket         // those that wait out an error
	udp          *datagramBuffers     // nil while there was no listener
	flows        slots[flow]
	flowWheel    wheel[*flow]
	dirtyFlows   []*flow // withBinding dirty
	kept         keptDatagrams
	attempts     balance.Attempts // for the pick under way
	attemptsPool attemptsPool
	joinable     int        // udp of this round that came with another of their flow
	header       headerInfo // of the datagram that is looked at
	maxSegment   uint16     // the largest datagrams that the kernel joins and cuts up; 0 = none

	// Owned by the loop.
	lastTrim    time.Duration
	dialTime    Histogram
	tunedThread int32 // that tuneThread has seen to
	rounds      uint32
	stopping    bool
	events      [eventBatch]unix.EpollEvent
	scratch     [scratchSize]byte

	// Read by anyone.
	live        atomic.Int32 // sessions, those on their way from another loop included
	sleptNanos  atomic.Int64 // nanoseconds
	asleepSince atomic.Int64 // since when, on the plane's clock; 0 = it is awake
	wakePending atomic.Bool  // the bell was rung and not yet answered

	mu    sync.Mutex
	inbox []message
}

// message is what other goroutines leave for a loop: an accepted client, or something to do.
type message struct {
	do     func(*loop)
	client acceptedClient
}

func openLoop(p *Plane, index int) (*loop, errno) {
	l := &loop{plane: p, index: index, epfd: -1, wakeFD: -1, listenSockets: map[int32]*listenSocket{}, udpSockets: map[int32]*udpSocket{}, now: p.Now()}
	l.wheel.now = uint64(l.now / wheelTick)
	l.sleptNanos.Store(int64(l.now)) // baseline there was this loop, it was not busy
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

// post leaves a message. It never blocks.
func (l *loop) post(m message) {
	l.mu.Lock()
	l.inbox = append(l.inbox, m)
	l.mu.Unlock()
	if !l.wakePending.Swap(true) {
		signalEventFD(l.wakeFD)
	}
}

// run is the loop. Waiting has three steps, because sleeping and waking cost more than a short look: poll; if nothing
// is there, let another thread run and poll again; then sleep until an event or the next timer. Measured with small
// requests, the one yield saves an eighth of the CPU time of each. A thread that yields waits for as long as its time
// slice is, so the loop asks for the shortest: with the usual one the yield cost a third more latency at the 99th
// percentile than sleeping, with this it costs none.
//
// After a round in which many datagrams could leave together, it yields before it looks again: meanwhile clients and
// servers add to what waits. With plain datagrams of 16 clients, answered at once, that saves 5 to 7 % of the CPU time of a
// round trip.
//
// The goroutine is not locked to its thread: a locked one that comes back from a sleep is handed over twice, which costs
// a third more CPU time per request when there is little to do.
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
		for i := range l.events[:n] {
			l.dispatch(&l.events[i])
		}
		if l.udp != nil {
			l.flowWheel.advance(l.now, l.expireFlow)
			l.flushReplies()
		}
		l.runQueued()
		l.wheel.advance(l.now, l.expireSession)
		if len(l.pending) > 0 {
			l.retryPending()
		}
		if len(l.pausedSockets)+len(l.pausedUDP) > 0 || l.now-l.lastTrim > trimEvery {
			l.housekeep()
		}
	}
	l.close()
}

// sleep waits for an event or for whatever is due next.
func (l *loop) sleep() int {
	asleep := l.plane.Now()
	l.asleepSince.Store(int64(asleep))
	n := epollSleep(l.epfd, l.events[:], l.pollTimeout(asleep))
	l.asleepSince.Store(0)
	l.sleptNanos.Add(int64(l.plane.Now() - asleep))
	return n
}

// tuneThread gives the thread that the loop finds itself on the time slice that a loop wants. It seldom changes.
func (l *loop) tuneThread() {
	if id := threadID(); id != l.tunedThread {
		l.tunedThread = id
		shortenSlice(timeSlice)
	}
}

// readClock is for times that a deadline counts from: in the middle of much work the loop's time is behind, and nothing may
// end before its time.
func (l *loop) readClock() { l.now = l.plane.Now() }

func (l *loop) expireSession(s *session) { s.expire(l) }

func (l *loop) expireFlow(f *flow) { f.expire(l) }

// pollTimeout is how long the loop may sleep, in milliseconds.
func (l *loop) pollTimeout(now time.Duration) int {
	wait := time.Duration(-1)
	if at, ok := l.wheel.next(); ok {
		wait = max(at-now, 0)
	}
	if at, ok := l.flowWheel.next(); ok && (wait < 0 || wait > at-now) {
		wait = max(at-now, 0)
	}
	if rest := l.errorBackoff(); len(l.pausedSockets)+len(l.pausedUDP) > 0 && (wait < 0 || wait > rest) {
		wait = rest
	}
	if len(l.pending) > 0 && (wait < 0 || wait > pendingInterval) {
		wait = pendingInterval
	}
	if (len(l.pipes.free) > 0 || len(l.buffers.free) > 0 || len(l.dirty) > 0 || len(l.dirtyFlows) > 0) && (wait < 0 || wait > trimEvery) {
		wait = trimEvery
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
	case markListener:
		if d := l.listenSockets[ev.Pad]; d != nil {
			l.accept(d)
		}
	case markUDPSocket:
		if u := l.udpSockets[ev.Pad]; u != nil {
			l.receive(u)
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
			return // of a session that ended earlier in this batch
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
	mail := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for i := range mail {
		if m := &mail[i]; m.do != nil {
			m.do(l)
		} else {
			l.startSession(&m.client)
		}
	}
}

// schedule gives the session another turn after the others had theirs.
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

// register registers a session's socket for all that can happen to it, once.
func (l *loop) register(s *session, side uint8, fd int32) bool {
	lo := int32(s.slot)
	if side == serverSide {
		lo |= sideBit
	}
	return epollControl(l.epfd, unix.EPOLL_CTL_ADD, fd, interest, lo, int32(uint32(s.id))) == 0
}

// newSession makes a session with a slot of its own.
func (l *loop) newSession() *session {
	s, slot := l.sessions.acquire()
	s.slot = slot
	s.timer.owner = s
	l.lastID++
	s.id = l.lastID*uint64(len(l.plane.loops)) + uint64(l.index)
	return s
}

// freeSession ends the life of a session's struct and slot. Its sockets are closed and its lease is given back.
func (l *loop) freeSession(s *session) {
	if s.queued { // still in the ready list: left to the collector
		l.sessions.detach(s.slot)
		s.queued = false
		s.phase = PhaseNone
	} else {
		l.sessions.release(s.slot)
	}
	l.live.Add(-1)
}

// recordSession tells the observers of sessions that one is over. Its lease has been given back, its sockets are still open.
func (l *loop) recordSession(s *session, server *balance.Server, level int) {
	if l.wantsRecord(s.set, s.end) {
		l.plane.record(s.record(l.now, server, level))
	}
}

// wantsRecord tells whether a session that ends so gets a record.
func (l *loop) wantsRecord(set *Settings, end Termination) bool {
	return l.plane.record != nil && (set.Records == RecordAll || set.Records == RecordErrors && !end.expected())
}

// housekeep retries listening sockets that waited out a shortage, and gives back what was not used lately.
func (l *loop) housekeep() {
	l.resumePaused()
	l.resumePausedUDP()
	if l.now-l.lastTrim > trimEvery {
		l.lastTrim = l.now
		l.flushAllBytes()
		l.pipes.trim(len(l.pipes.free) / 2)
		l.buffers.trim(len(l.buffers.free) / 2)
	}
}

// eachSession calls f for every session of the loop; f may end it.
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
	for _, u := range l.udpSockets {
		l.closeUDPSocket(u, ReasonCutShutdown)
	}
	for _, d := range l.listenSockets {
		d.close()
	}
	l.pipes.trim(0)
	closeFD(l.epfd)
	closeFD(l.wakeFD)
}
