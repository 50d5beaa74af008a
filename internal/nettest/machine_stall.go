package nettest

import (
	"sync"
	"time"
)

// A machine that is busy, or stands still for a while, makes everybody late. Tests that promise when something happens
// tell that from a fault by a goroutine that does nothing but look at the clock, every few milliseconds: for as long as
// it is late itself, nobody else can be expected to be in time.

const (
	stallTick  = 5 * time.Millisecond
	stallLeast = 2 * time.Millisecond // less is what timers do
)

var stalls struct {
	once  sync.Once
	mu    sync.Mutex
	begun time.Time   // the nap under way; zero = nobody watches
	log   [8192]stall // a ring
	n     int         // how many were written
}

// stall is a nap that was too long: by how much, and when it was over.
type stall struct {
	late time.Duration
	end  time.Time
}

// watchStalls looks at the clock for as long as the process lives.
func watchStalls() {
	stalls.once.Do(func() {
		go func() {
			for {
				stalls.mu.Lock()
				now := stallNow()
				if now.late >= stallLeast {
					stalls.log[stalls.n%len(stalls.log)] = now
					stalls.n++
				}
				stalls.begun = now.end
				stalls.mu.Unlock()
				time.Sleep(stallTick)
			}
		}()
	})
}

// stallNow is what the nap under way would be if it were over.
func stallNow() stall {
	now := time.Now()
	if stalls.begun.IsZero() {
		return stall{end: now}
	}
	return stall{now.Sub(stalls.begun) - stallTick, now}
}

// since is how much of it came after a time.
func (s stall) since(at time.Time) time.Duration {
	if s.late < stallLeast {
		return 0
	}
	return max(0, min(s.late, s.end.Sub(at)))
}

// StalledSince is for how long, since then, the machine has kept those waiting who wanted next to nothing of it.
func StalledSince(since time.Time) time.Duration {
	stalls.mu.Lock()
	defer stalls.mu.Unlock()
	total := stallNow().since(since)
	for i := stalls.n - 1; i >= max(0, stalls.n-len(stalls.log)); i-- {
		late := stalls.log[i%len(stalls.log)].since(since)
		if late == 0 {
			break
		}
		total += late
	}
	return total
}

// Elapsed is the time since begin, without that for which the machine stood still. It is for upper bounds; lower ones are of
// the clock's time.
func Elapsed(begin time.Time) time.Duration { return time.Since(begin) - StalledSince(begin) }
