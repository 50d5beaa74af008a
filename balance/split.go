package balance

import (
	"cmp"
	"math/bits"
	"slices"
)

// Split divides clients among parts by weight, by weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
// Distributed Hash Tables", SPAA 2005): every part draws a pseudo-random, exponentially distributed time for the client,
// with its weight as the rate, and the first one gets the client. The draws depend on the name of the part and the key
// of the client only. So a part whose weight grows only takes clients, one that is removed only gives its own up, and the
// order of the parts does not matter. All arithmetic is on integers: the result is the same on every machine.
type Split struct {
	parts []splitPart // by name, without those of weight 0
}

type splitPart struct {
	index  int // in the list that NewSplit was given
	seed   uint64
	weight uint64
}

// MaxSplitWeight is the largest weight of a part.
const MaxSplitWeight = 1 << 16

// NewSplit returns a split among parts with the given names and weights, from 0 to MaxSplitWeight and not all 0.
func NewSplit(names []string, weights []int) *Split {
	order := make([]int, 0, len(names))
	for i, w := range weights {
		if w > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(names[a], names[b]) })
	s := &Split{}
	for _, i := range order {
		s.parts = append(s.parts, splitPart{index: i, seed: HashKey([]byte(names[i])), weight: uint64(weights[i])})
	}
	return s
}

// Pick returns the index of the part that gets the client with a key.
func (s *Split) Pick(key uint64) int {
	best := &s.parts[0]
	bestTime := best.time(key)
	for i := range s.parts[1:] {
		p := &s.parts[i+1]
		if t := p.time(key); t*best.weight < bestTime*p.weight { // t/p.weight < bestTime/best.weight
			best, bestTime = p, t
		}
	}
	return best.index
}

// time returns the part's draw for a key with the rate 1, below 2⁶⁴ / MaxSplitWeight.
func (p *splitPart) time(key uint64) uint64 {
	return 64<<logBits - log2(splitMix64(p.seed^splitMix64(key)))
}

// logBits is the number of binary places of log2.
const logBits = 32

// log2 returns the logarithm of x + 1 to the base 2 in fixed point, truncated: one binary place for each square of the
// mantissa.
func log2(x uint64) uint64 {
	if x++; x == 0 {
		return 64 << logBits
	}
	whole := bits.Len64(x) - 1
	m := x << (63 - whole) // in [1, 2), with 63 binary places
	log := uint64(whole)
	for range logBits {
		high, low := bits.Mul64(m, m) // in [1, 4), with 126
		log <<= 1
		if high>>63 != 0 {
			log |= 1
			m = high
		} else {
			m = high<<1 | low>>63
		}
	}
	return log
}
