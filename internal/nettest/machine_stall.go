package nettest

import (
	"sync"
	"time"
)

// A busy or suspended machine delays every process. Tests with time limits
// distinguish that from a fault by a goroutine that reads the clock every few milliseconds. While
// it is late itself, no other process can be expected to be in time.

const (
	stallTick  = 5 * time.Millisecond
	stallLeast = 2 * time.Millisecond // smaller delays are the precision of timers
)

var stalls struct {
	once  sync.Once
	mu    sync.Mutex
	begun time.Time   // start of the current sleep; zero = not watching
	log   [8192]stall // ring buffer
	n     int         // number of entries written
}

// stall is a sleep that took too long: the delay and its end.
type stall struct {
	late time.Duration
	end  time.Time
}

// watchStalls reads the clock until the process ends.
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

// stallNow returns the stall of the current sleep if it ended now.
func stallNow() stall {
	now := time.Now()
	if stalls.begun.IsZero() {
		return stall{end: now}
	}
	return stall{now.Sub(stalls.begun) - stallTick, now}
}

// since returns the part of the delay after a time.
func (s stall) since(at time.Time) time.Duration {
	if s.late < stallLeast {
		return 0
	}
	return max(0, min(s.late, s.end.Sub(at)))
}

// StalledSince returns for how long the machine has delayed this process since a time.
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

// Elapsed returns the time since begin without the time for which the machine stalled. It is for upper limits. Lower
// limits use the clock.
func Elapsed(begin time.Time) time.Duration { return time.Since(begin) - StalledSince(begin) }
