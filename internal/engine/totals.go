package engine

// What is counted and measured, gathered for those who look on.

import (
	"cmp"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"weir/checks"
	"weir/internal/status"
	"weir/l4"
)

// checkCounters count results of checks.
type checkCounters struct {
	mu     sync.Mutex
	all    map[checks.Key]*checkCounter
	before map[checks.Key]*checkCounter // in another process
}

type checkCounter struct {
	passed, failed uint64
	took           time.Duration
	buckets        [len(checkBounds)]uint64 // of each alone
}

// checkBounds are the upper bounds of the buckets for the time that checks take.
var checkBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 10 * time.Second,
}

func (t *checkCounters) count(r *checks.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[checks.Key]*checkCounter{}
	}
	key := checks.Key{Cluster: r.Cluster, Server: r.Server, Check: r.Check}
	c := t.all[key]
	if c == nil {
		c = &checkCounter{}
		t.all[key] = c
	}
	if r.Pass {
		c.passed++
	} else {
		c.failed++
	}
	c.took += r.Took
	for i, bound := range checkBounds {
		if r.Took <= bound {
			c.buckets[i]++
			break
		}
	}
}

// sum returns what was counted of checks that run, and forgets the others.
func (t *checkCounters) sum(runs func(checks.Key) bool) []status.Check {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []status.Check
	for _, key := range t.keys() {
		if !runs(key) {
			delete(t.all, key)
			delete(t.before, key)
			continue
		}
		c := t.total(key)
		list = append(list, status.Check{
			Cluster: key.Cluster, Server: key.Server, Check: key.Check, Passed: c.passed, Failed: c.failed,
			Took: histogram(c.passed+c.failed, c.took, checkBounds[:], c.buckets[:]),
		})
	}
	slices.SortFunc(list, func(a, b status.Check) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Check, b.Check))
	})
	return list
}

// histogram turns buckets, each counted alone, into cumulative ones.
func histogram(count uint64, sum time.Duration, bounds []time.Duration, buckets []uint64) status.Histogram {
	h := status.Histogram{Count: count, Sum: sum.Seconds(), Buckets: make(map[float64]uint64, len(bounds))}
	total := uint64(0)
	for i, bound := range bounds {
		total += buckets[i]
		h.Buckets[bound.Seconds()] = total
	}
	h.Count = max(h.Count, total) // a count and its bucket are not read at one moment
	return h
}

// Totals is everything that is counted and measured. It is a copy.
func (e *Engine) Totals() status.Totals {
	running := e.running.Load()
	t := status.Totals{
		Document: e.Status(), Events: e.published.eventLog.count(), RecordsLost: e.recordsLost(),
		Descriptors: openDescriptors(), MaxDescriptors: l4.DescriptorLimit(), Goroutines: runtime.NumGoroutine(),
	}
	bounds := l4.HistogramBounds()
	if open := e.published.listeners.Load(); open != nil && running.cfg != nil {
		for i := range running.cfg.Listeners {
			ln := &running.cfg.Listeners[i]
			ended := make([]uint64, len(l4.Terminations()))
			refused := map[l4.Rejection]uint64{}
			dropped := map[l4.Drop]uint64{}
			var took l4.Histogram
			for _, at := range ln.Addresses {
				if opened := (*open)[listenerID(ln.Protocol, at)]; opened != nil {
					c := opened.Counters()
					for i, n := range c.Ended {
						ended[i] += n
					}
					for _, why := range l4.Rejections() {
						refused[why] += c.Rejected[why]
					}
					for _, why := range l4.Drops() {
						dropped[why] += c.Dropped[why]
					}
					took.Count += c.Lifetime.Count
					took.Sum += c.Lifetime.Sum
					for i, n := range c.Lifetime.Buckets {
						took.Buckets[i] += n
					}
				}
			}
			for i, end := range l4.Terminations() {
				t.Ended = append(t.Ended, status.Ended{Listener: ln.Name, Phase: end.Phase.String(), Reason: end.Reason.String(), Sessions: ended[i]})
			}
			for _, why := range l4.Rejections() {
				t.Rejected = append(t.Rejected, status.Rejected{Listener: ln.Name, Reason: why.String(), Clients: refused[why]})
			}
			for _, why := range l4.Drops() {
				if ln.Protocol == "udp" {
					t.Dropped = append(t.Dropped, status.Dropped{Listener: ln.Name, Reason: why.String(), Datagrams: dropped[why]})
				}
			}
			t.SessionDurations = append(t.SessionDurations, status.SessionDurations{Listener: ln.Name, Took: histogram(took.Count, took.Sum, bounds, took.Buckets[:])})
		}
	}
	now := e.plane.Now()
	for _, c := range e.plane.Counters() {
		t.Loops = append(t.Loops, status.Loop{Sessions: c.Sessions, BusySeconds: max(0, now-c.Slept).Seconds()})
		t.Pipes += c.Pipes
	}
	dials := e.dialTimes()
	t.Dials = histogram(dials.Count, dials.Sum, bounds, dials.Buckets[:])
	t.Checks = e.published.checks.sum(func(key checks.Key) bool { return running.jobs[key] != nil })
	return t
}

// openDescriptors is how many descriptors this process has. Kernels since 6.2 tell it as the size of the directory
// (proc(5)); before, its entries are counted.
func openDescriptors() int {
	const dir = "/proc/self/fd"
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}
