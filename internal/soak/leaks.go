package soak

// What weir uses before and after the load: descriptors, goroutines and memory.

import (
	"maps"
	"time"
)

// minFootprint returns the minimum footprint of two seconds, because checks and API requests come and go.
func (s *soak) minFootprint() (footprint, error) {
	least, err := s.weir.footprint()
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		f, err := s.weir.footprint()
		if err != nil {
			return f, err
		}
		for kind, n := range least.descriptors {
			least.descriptors[kind] = min(n, f.descriptors[kind])
		}
		least.goroutines, least.rss = min(least.goroutines, f.goroutines), f.rss
	}
	return least, err
}

// idleFootprint returns the footprint of an idle weir, after a time in which it frees its reserves.
func (s *soak) idleFootprint() (footprint, error) {
	time.Sleep(4 * time.Second)
	return s.minFootprint()
}

// idleWorkers is how many goroutines weir may keep for checks after it has needed them.
const idleWorkers = 32

// checkLeaks compares the footprint with the one before.
func (s *soak) checkLeaks(before footprint) footprint {
	var after footprint
	for range 5 {
		var err error
		if after, err = s.minFootprint(); err != nil {
			s.verifier.report("footprint: %v", err)
			return after
		}
		if maps.Equal(kinds(before), kinds(after)) && after.goroutines <= before.goroutines+idleWorkers {
			break
		}
	}
	if !maps.Equal(kinds(before), kinds(after)) || after.goroutines > before.goroutines+idleWorkers {
		s.verifier.report("leak: descriptors %v, then %v; goroutines %d, then %d", kinds(before), kinds(after), before.goroutines, after.goroutines)
	}
	if grown := after.rss - before.rss; grown > before.rss+64<<20 {
		s.verifier.report("resident memory has grown from %d to %d MB", before.rss>>20, after.rss>>20)
	}
	return after
}

// kinds returns the descriptors without those that depend on the Go runtime, which opens its poller on first use.
func kinds(f footprint) map[string]int {
	k := maps.Clone(f.descriptors)
	delete(k, "eventpoll")
	delete(k, "eventfd")
	return k
}
