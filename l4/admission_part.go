package l4

// Parts of the limits of a listener, for a process that shares them with others.

import "sync/atomic"

// AllOf is the part of a limit that is not divided.
const AllOf = -1

// SetParts sets what this process may use of MaxSessionRate and of MaxPerSource; negative = all of it (AllOf). The parts stay
// when the Admission is replaced. Loops that are admitting a client may use the previous part once more.
func (g *AdmissionState) SetParts(rate, perSource int) {
	g.ratePart.Store(int64(max(rate, AllOf)) + 1)
	g.sourcePart.Store(int64(max(perSource, AllOf)) + 1)
}

// Parts returns what SetParts has set.
func (g *AdmissionState) Parts() (rate, perSource int) {
	return int(g.ratePart.Load()) - 1, int(g.sourcePart.Load()) - 1
}

// MostOfSource returns the number of sessions of the source that has most, as far as sessions are counted by source. It looks
// at all sources.
func (g *AdmissionState) MostOfSource() int {
	if t := g.sources.Load(); t != nil {
		return t.most()
	}
	return 0
}

// partOf returns the limit in force, 0 for none. It reports false if nothing may be used.
func partOf(limit int, part *atomic.Int64) (int, bool) {
	n := int(part.Load())
	if n == 0 || limit == 0 {
		return limit, true
	}
	return min(limit, n-1), n > 1
}
