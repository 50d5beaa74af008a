package l4

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/conf"
	"weir/internal/promotion"
)

// Options configures a Plane.
type Options struct {
	Loops  int                  // event loops; 0 = one per CPU
	Record func(Record)         // called on a loop for each session that its Settings record; must not block; nil = none
	Log    *slog.Logger         // must not block; nil = nothing is logged
	Origin time.Time            // zero of the plane's clock, which processes can share; zero = now
	Clock  func() time.Duration // replaces the time since Origin, for tests: its jumps are not pauses; nil = none
	LastID uint64               // session ids start above it
}

// Plane is the data plane: the loops, their listeners and sessions.
type Plane struct {
	loops  []*loop
	record func(Record)
	log    *slog.Logger
	clock  func() time.Duration
	done   sync.WaitGroup

	pauseGrace time.Duration // how long timers are deferred after a pause, at most
	stopFlush  atomic.Int64  // time.Duration: how long sessions that CutAll cuts wait for acknowledgements

	receivePaused atomic.Bool // new UDP listen sockets are not read before the flows of the old process have arrived

	sessions           atomic.Int64 // current sessions and flows, including those on their way to a loop
	held               atomic.Int64 // sessions in PhaseHold
	awaited            atomic.Int64 // sessions that the old process of an upgrade has
	waiting            atomic.Bool  // listen sockets wait for a slot of the process
	maxSessions        atomic.Int64
	rejected           atomic.Uint64 // clients
	maxDescriptors     atomic.Int64  // for sessions and pipes together
	sessionDescriptors atomic.Int64  // descriptors per session
	idle               chan struct{} // receives a value when sessions becomes 0

	drainingMu sync.Mutex
	draining   map[conf.Address]*Listener // stopped UDP listeners that still have flows; guarded by drainingMu

	kernel             atomic.Pointer[promotion.Kernel] // promotes sessions; nil = none does
	flowAddresses      ownAddresses                     // of UDP sockets connected to servers
	udpPorts, tcpPorts listenerPorts                    // of the started listeners
	hops               hopTable                         // of sessions that may have dialed a listener

	lastWarning atomic.Int64 // time of the last rate-limited warning
	suppressed  atomic.Int64 // warnings not logged since
}

// Open starts the loops. The caller keeps GOMAXPROCS above their number, so that other goroutines find a processor, and
// closes the plane.
func Open(o Options) (*Plane, error) {
	if o.Loops <= 0 {
		o.Loops = runtime.NumCPU()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Origin.IsZero() {
		o.Origin = time.Now()
	}
	pauseGrace := time.Duration(0)
	if o.Clock == nil {
		pauseGrace = maxPauseGrace
		o.Clock = func() time.Duration { return time.Since(o.Origin) }
	}
	p := &Plane{record: o.Record, log: o.Log, clock: o.Clock, pauseGrace: pauseGrace, idle: make(chan struct{}, 1), draining: map[conf.Address]*Listener{}}
	p.flowAddresses.init()
	p.maxSessions.Store(math.MaxInt64)
	p.maxDescriptors.Store(math.MaxInt64)
	p.sessionDescriptors.Store(1)
	p.lastWarning.Store(math.MinInt64 / 2)
	for i := range o.Loops {
		l, e := openLoop(p, i)
		if e != 0 {
			for _, l := range p.loops {
				l.close()
			}
			return nil, fmt.Errorf("event loop: %w", e)
		}
		l.lastID = o.LastID / uint64(o.Loops)
		p.loops = append(p.loops, l)
	}
	for _, l := range p.loops {
		p.done.Go(l.run)
	}
	return p, nil
}

// Close resets the remaining sessions and returns when every loop has ended. Listeners must be stopped before.
func (p *Plane) Close() {
	p.postAll(func(l *loop) { l.stopping = true })
	p.done.Wait()
}

// Now returns the time on the plane's clock, which is monotonic.
func (p *Plane) Now() time.Duration { return p.clock() }

// Loops returns the number of event loops.
func (p *Plane) Loops() int { return len(p.loops) }

// SetLimits sets how many sessions may exist at once, how many descriptors each uses, and how many descriptors sessions
// and their pipes may use together. Further clients are rejected. Lowering a limit ends no session.
func (p *Plane) SetLimits(sessions, each, descriptors int) {
	p.maxSessions.Store(int64(sessions))
	p.sessionDescriptors.Store(int64(each))
	p.maxDescriptors.Store(int64(descriptors))
	if p.waiting.Swap(false) {
		p.resumeWaiting()
	}
}

// Sessions returns the number of current sessions and flows.
func (p *Plane) Sessions() int { return int(p.sessions.Load()) }

// Rejected returns the number of clients rejected at all listeners for any reason. Listener.Counters has the details.
func (p *Plane) Rejected() uint64 { return p.rejected.Load() }

// Idle returns a channel that receives a value after the last session has ended. Callers check Sessions before and
// after they wait.
func (p *Plane) Idle() <-chan struct{} { return p.idle }

// pipeDescriptors returns the number of descriptors of all pipes.
func (p *Plane) pipeDescriptors() int64 {
	var n int64
	for _, l := range p.loops {
		n += 2 * int64(l.pipes.open.Load())
	}
	return n
}

// canOpenPipe reports whether the descriptors of another pipe are free. An eighth is reserved for future sessions,
// which need them more.
func (p *Plane) canOpenPipe() bool {
	room := p.maxDescriptors.Load()
	return p.sessionDescriptors.Load()*p.sessions.Load()+p.pipeDescriptors()+2 <= room-room/8
}

// acquireSession counts a new session, unless a limit of the process is reached.
func (p *Plane) acquireSession() bool { return acquireCount(&p.sessions, p.sessionLimit()) }

// sessionLimit returns how many sessions there may be at once.
func (p *Plane) sessionLimit() int64 {
	return max(1, min(p.maxSessions.Load()-p.awaited.Load(), (p.maxDescriptors.Load()-p.pipeDescriptors())/p.sessionDescriptors.Load()))
}

// releaseSession uncounts a session.
func (p *Plane) releaseSession() {
	if p.sessions.Add(-1) == 0 {
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
	if p.waiting.Load() && p.waiting.Swap(false) {
		p.resumeWaiting()
	}
}

// postAll posts a function to every loop.
func (p *Plane) postAll(do func(*loop)) {
	for _, l := range p.loops {
		l.post(message{do: do})
	}
}

// runOnLoops runs a function on every loop and waits for all of them.
func (p *Plane) runOnLoops(do func(*loop)) {
	var wait sync.WaitGroup
	wait.Add(len(p.loops))
	p.postAll(func(l *loop) {
		do(l)
		wait.Done()
	})
	wait.Wait()
}

// Responsive reports whether every loop handles a message within a time.
func (p *Plane) Responsive(within time.Duration) bool {
	done := make(chan struct{}, len(p.loops))
	p.postAll(func(*loop) { done <- struct{}{} })
	limit := time.NewTimer(within)
	defer limit.Stop()
	for range p.loops {
		select {
		case <-done:
		case <-limit.C:
			return false
		}
	}
	return true
}

// warningInterval is the shortest time between two rate-limited warnings.
const warningInterval = time.Second

// warnLimited logs a warning, at most one per warningInterval.
func (p *Plane) warnLimited(what string, args ...any) {
	if p.allowWarning() {
		p.warn(what, args...)
	}
}

// allowWarning reports whether a rate-limited warning may be logged now, and counts those that may not.
func (p *Plane) allowWarning() bool {
	now := int64(p.Now())
	last := p.lastWarning.Load()
	if now-last < int64(warningInterval) || !p.lastWarning.CompareAndSwap(last, now) {
		p.suppressed.Add(1)
		return false
	}
	return true
}

func (p *Plane) warn(what string, args ...any) {
	if n := p.suppressed.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	p.log.Warn(what, args...)
}

// DescriptorLimit returns the descriptor limit of this process.
func DescriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, math.MaxInt32))
}
