package balance

import (
	"math/bits"
	"slices"
)

// hashLookup implements hash and maglev. Both look the session's key up in a table whose places belong to servers. They
// differ only in how the table is built (buildRing, buildMaglevTable). If the owner of the key's place is not open, a
// bounded number of further places is probed. The stride depends on the key, because neighbours in a Maglev table are
// not independent of each other. The result depends only on the key, on the servers' addresses and weights, and on
// which servers are open. The keys of a server that closes go to the others by weight. The server gets the same keys
// back when it opens.
//
// A session without a key is balanced by wrr.
type hashLookup struct{}

// maxProbes is how many places a pick probes. With one server in a hundred open, one pick in 30,000 finds none in that
// many. The servers themselves are then compared by rendezvous.
const maxProbes = 1024

func (hashLookup) pick(l *level, a pickInput) int {
	if !a.keyed {
		return l.wrr.next()
	}
	t := l.table
	if n := uint64(len(t.owner)); n > 0 {
		place, _ := bits.Mul64(a.hash, n)
		stride, _ := bits.Mul64(splitMix64(a.hash), n-1)
		stride |= 1 // the table's size is a prime or a power of two, so every place is reached
		for range maxProbes {
			if i := int(t.owner[place]); l.steps[i] > 0 && l.acceptsKey(i, a.hash, place) {
				return i
			}
			if place += stride; place >= n {
				place -= n
			}
		}
	}
	return l.rendezvous(a.hash, &l.running)
}

// acceptsKey reports whether a slot takes a key at one of its places. If the slot's weight is below the weight its
// table was built with, it takes the corresponding share of its places. Slow start and an agent's percentage therefore
// need no new table. The decision is fixed for a key at a place: as the weight grows, keys only move to the server, and
// they leave in reverse order as it falls. A rejected key continues along the table, where the shares are the same, so
// the distribution follows the weights exactly.
func (l *level) acceptsKey(i int, hash, place uint64) bool {
	have := uint64(l.slots[i].weight) * uint64(l.slots[i].server.percent)
	full := uint64(l.table.weights[i]) * fullPercent
	return have >= full || splitMix64(hash+place*goldenRatio)>>32*full>>32 < have
}

// rendezvous picks the slot with the highest score for the key: Thaler and Ravishankar, "Using Name-Based Mappings to
// Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998. It returns -1 if the set is empty.
func (l *level) rendezvous(hash uint64, among *bitset) int {
	best, most := -1, uint64(0)
	for i := among.next(0); i >= 0; i = among.next(i + 1) {
		if score := splitMix64(hash ^ l.table.points[i]); best < 0 || score > most {
			best, most = i, score
		}
	}
	return best
}

// table maps places to the slots of a level. It is immutable.
type table struct {
	method  Method
	owner   []int32  // slot by place; empty if no server has weight
	points  []uint64 // by slot, hash of the address
	weights []int    // by slot, when built
}

// newTable builds the table for slots with the given points and weights.
func newTable(m Method, points []uint64, weights []int) *table {
	t := &table{method: m, points: points, weights: weights}
	switch {
	case !slices.ContainsFunc(weights, func(w int) bool { return w > 0 }):
	case m == Maglev:
		t.owner = buildMaglevTable(t.points, weights)
	default:
		t.owner = buildRing(t.points, weights)
	}
	return t
}

// same reports whether newTable would build this table.
func (t *table) same(m Method, points []uint64, weights []int) bool {
	return t.method == m && slices.Equal(t.points, points) && slices.Equal(t.weights, weights)
}

// addressPoints hashes addresses. Duplicate addresses get different points.
func addressPoints(addresses []string) []uint64 {
	list := make([]uint64, len(addresses))
	seen := make(map[uint64]bool, len(addresses))
	for i, a := range addresses {
		p := HashKey([]byte(a))
		for seen[p] {
			p = splitMix64(p)
		}
		seen[p] = true
		list[i] = p
	}
	return list
}

// tableWeight returns the weight that a slot's table is built with, from the configured weight and the weight in force.
// It is the configured weight doubled until it is at least the weight in force. Overrides and agents therefore rarely
// require a new table. The table depends only on the present state, so two instances in the same state have the same
// table.
func tableWeight(configured, now int) int {
	w := max(1, configured)
	for w < now {
		w *= 2
	}
	if configured == 0 && now == 0 {
		return 0
	}
	return w
}

// goldenRatio is 2⁶⁴ divided by the golden ratio.
const goldenRatio = 0x9e3779b97f4a7c15

// splitMix64 is the output function of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
// Generators", OOPSLA 2014.
func splitMix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
