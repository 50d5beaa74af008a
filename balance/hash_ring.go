package balance

import "math"

// buildRing builds the table of the hash method, a weighted consistent hash ring. Every server throws darts at the
// places, at a rate equal to its weight, each at a pseudo-random place. A place belongs to the server whose dart hits
// it first.
//
// A server's darts depend only on its address and its weight. So a server that leaves only gives up its own places, a
// server that joins or gains weight only takes places, and the order of servers does not matter. The time until a
// server first hits a place is exponentially distributed with the weight as the rate. Each place is therefore won with
// a probability proportional to the weight: this is weighted rendezvous hashing (Thaler and Ravishankar 1998;
// Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005) for all places at once, in time that does
// not depend on the number of servers (compare Christiani, "DartMinHash", 2020).
//
// The classical ring of Karger et al. (STOC 1997) gives each server random points and each point the arc before it. Its
// shares deviate by 1/√points: the usual 160 points per weight are 8 % off, and 1 % would take 10,000 points. Here a
// share p deviates by √((1-p)/(p·2¹⁸)): 0.6 % of itself for one server of ten.
//
// All arithmetic is on integers, so the ring is the same on every machine.
func buildRing(points []uint64, weights []int) []int32 {
	owner := make([]int32, places)
	hit := make([]uint64, places) // time of the first hit, in 1/2³² of the time between two darts of weight 1
	for i := range hit {
		hit[i] = math.MaxUint64
	}
	total := uint64(0)
	for _, w := range weights {
		total += uint64(w)
	}
	// After ln(places) darts per place about one place is still free. Continue in small rounds.
	round := max(1, places<<32/total)
	thrown := make([]uint64, len(points))
	for until := placesLog * round; ; until += round {
		for i, w := range weights {
			thrown[i] = throw(int32(i), points, uint64(w), thrown[i], until, hit, owner)
		}
		done := true
		for _, at := range hit {
			done = done && at < until
		}
		if done {
			return owner
		}
	}
}

const (
	placeBits = 18
	places    = 1 << placeBits
	placesLog = 13 // ln(places), rounded up
)

// throw throws a server's darts from the given one on, at least all that hit before until, and returns the number of
// the next dart. Dart j hits at a pseudo-random time between j and j+1 turns.
func throw(i int32, points []uint64, weight, dart, until uint64, hit []uint64, owner []int32) uint64 {
	if weight == 0 {
		return dart
	}
	point := points[i]
	for last := until * weight >> 32; dart <= last; dart++ {
		x := splitMix64(point + dart*goldenRatio)
		place, at := x>>(64-placeBits), (dart<<32|x&math.MaxUint32)/weight
		if at < hit[place] || at == hit[place] && point < points[owner[place]] {
			hit[place], owner[place] = at, i
		}
	}
	return dart
}
