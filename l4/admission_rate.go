package l4

// The rate of new sessions of each source. Memory is bounded: a full set of the table replaces the source that has used
// up the least, so a source that uses up its rate is not replaced by others that come once.

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	rateSets = 4096
	rateWays = 8 // sources of a set
)

// sourceRates holds a bucket for each source that has used some of its rate.
type sourceRates struct {
	seed maphash.Seed
	sets [rateSets]rateSet
}

type rateSet struct {
	mu      sync.Mutex // held for one access
	entries [rateWays]rateEntry
}

// rateEntry is the bucket of a source. Once it is full again, the entry is free.
type rateEntry struct {
	key  source
	full time.Duration // when it will be full
}

// sourceRates returns the table, which exists from the first call on.
func (g *AdmissionState) sourceRates() *sourceRates {
	if t := g.rates.Load(); t != nil {
		return t
	}
	g.rates.CompareAndSwap(nil, &sourceRates{seed: maphash.MakeSeed()})
	return g.rates.Load()
}

func (t *sourceRates) set(key *source) *rateSet {
	return &t.sets[maphash.Bytes(t.seed, key[:])%rateSets]
}

// take removes one unit of the source's rate, or reports that there is none.
func (t *sourceRates) take(key source, now time.Duration, rate int) bool {
	s := t.set(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(&key)
	if e.key != key {
		*e = rateEntry{key: key}
	}
	each := time.Duration(rateInterval(rate))
	next := max(e.full, now) + each
	if next-now > each*time.Duration(rate) {
		return false
	}
	e.full = next
	return true
}

// refund adds one unit.
func (t *sourceRates) refund(key source, rate int) {
	s := t.set(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entry(&key); e.key == key {
		e.full -= time.Duration(rateInterval(rate))
	}
}

// entry returns the entry of a source, or else the one that is full first.
func (s *rateSet) entry(key *source) *rateEntry {
	first := &s.entries[0]
	for i := range s.entries {
		e := &s.entries[i]
		if e.key == *key {
			return e
		}
		if e.full < first.full {
			first = e
		}
	}
	return first
}
