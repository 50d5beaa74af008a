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
)

// Options are what a Plane is opened with.
type Options struct {
	Loops  int                  // event loops; 0 = one per CPU
	Record func(Record)         // serverGranted on a loop for every session that its Settings ask to record; must not block. May be nil
	Log    *slog.Logger         // must not block; nil = nothing is logged
	Origin time.Time            // where the plane's clock starts, so that it can be shared; zero = now
	Clock  func() time.Duration // replaces the time since Origin, for tests; nil = none
	LastID uint64               // sessions are numbered from here on
}

// Plane is the data plane: the loops, their listeners and sessions.
type Plane struct {
	loops  []*loop
	record func(Record)
	log    *slog.Logger
	clock  func() time.Duration
	done   sync.WaitGroup

	receivePaused atomic.Bool // flows of another process: listening sockets of UDP that open wait for them

	sessions           atomic.Int64 // sessions, those on their way into a loop included
	maxSessions        atomic.Int64
	rejected           atomic.Uint64 // clients turned away, for any reason
	maxDescriptors     atomic.Int64  // descriptors that sessions and pipes may have together
	sessionDescriptors atomic.Int64  // descriptors of a session
	idle               chan struct{} // has a value whenever count has come down to 0

	drainingMu sync.Mutex
	draining   map[conf.Address]*Listener // UDP listeners that have stopped and still have flows; guarded by drainingMu

	lastWarning atomic.Int64 // when the last complaint was logged, on the plane's clock
	suppressed  atomic.Int64 // complaints left out since
}

// Open starts the loops. The caller keeps GOMAXPROCS above their number, so that the rest of the process finds a
// processor, and closes the plane when it is done.
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
	if o.Clock == nil {
		o.Clock = func() time.Duration { return time.Since(o.Origin) }
	}
	p := &Plane{record: o.Record, log: o.Log, clock: o.Clock, idle: make(chan struct{}, 1), draining: map[conf.Address]*Listener{}}
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

// Close resets whatever sessions are left and returns when every loop has ended. Listeners are to be stopped before.
func (p *Plane) Close() {
	p.postAll(func(l *loop) { l.stopping = true })
	p.done.Wait()
}

// Now returns the time on the plane's clock, which is monotonic.
func (p *Plane) Now() time.Duration { return p.clock() }

// Loops is how many event loops there are.
func (p *Plane) Loops() int { return len(p.loops) }

// SetLimits sets how many sessions there may be at once; more clients are turned away. Lowering it ends none. Sessions, of so
// many descriptors each, and the pipes that they are lent have that many between them.
func (p *Plane) SetLimits(sessions, each, descriptors int) {
	p.maxSessions.Store(int64(sessions))
	p.sessionDescriptors.Store(int64(each))
	p.maxDescriptors.Store(int64(descriptors))
}

// Sessions is how many there are.
func (p *Plane) Sessions() int { return int(p.sessions.Load()) }

// Rejected is how many clients were turned away, at all listeners and for any reason. Listener.Counters tells more.
func (p *Plane) Rejected() uint64 { return p.rejected.Load() }

// Idle has a value after the last session has ended. Whoever waits checks Sessions, before and after.
func (p *Plane) Idle() <-chan struct{} { return p.idle }

// pipeDescriptors is how many descriptors pipes have.
func (p *Plane) pipeDescriptors() int64 {
	var n int64
	for _, l := range p.loops {
		n += 2 * int64(l.pipes.open.Load())
	}
	return n
}

// canOpenPipe reports whether the descriptors of another pipe can be spared: an eighth is left to sessions to come, which
// need them more.
func (p *Plane) canOpenPipe() bool {
	room := p.maxDescriptors.Load()
	return p.sessionDescriptors.Load()*p.sessions.Load()+p.pipeDescriptors()+2 <= room-room/8
}

// acquireSession counts a session in, unless there are as many as may be.
func (p *Plane) acquireSession() bool {
	return acquireCount(&p.sessions, max(1, min(p.maxSessions.Load(), (p.maxDescriptors.Load()-p.pipeDescriptors())/p.sessionDescriptors.Load())))
}

// releaseSession counts a session out.
func (p *Plane) releaseSession() {
	if p.sessions.Add(-1) == 0 {
		select {
		case p.idle <- struct{}{}:
		default:
		}
	}
}

// postAll leaves every loop something to do.
func (p *Plane) postAll(do func(*loop)) {
	for _, l := range p.loops {
		l.post(message{do: do})
	}
}

// runOnLoops has every loop do something and waits for it.
func (p *Plane) runOnLoops(do func(*loop)) {
	var wait sync.WaitGroup
	wait.Add(len(p.loops))
	p.postAll(func(l *loop) {
		do(l)
		wait.Done()
	})
	wait.Wait()
}

// Responsive reports whether every loop has done what it was left to do within a time: whether it still goes round.
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

// warningInterval bounds how often the loops log that something is short.
const warningInterval = time.Second

func (p *Plane) warnLimited(what string, args ...any) {
	if p.allowWarning() {
		p.warn(what, args...)
	}
}

// allowWarning reports whether it is time for a complaint, and counts those that are left out.
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
		args = append(args, "left_out", n)
	}
	p.log.Warn(what, args...)
}

// DescriptorLimit is how many descriptors this process may have.
func DescriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, math.MaxInt32))
}
