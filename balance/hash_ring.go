package balance

import "math"

// buildRing gives the places of the consistent ring away. Every server throws darts at the ring, as many per unit of time as
// it has weight, each at a random place; a place belongs to the server whose dart hits it first.
//
// A server's darts depend on its address and its weight alone. So a server that leaves gives up its own places and no
// other place changes hands; one that comes, or gains weight, takes places and none change hands between others; and
// the order of servers does not matter. The first hit of a place by a server comes after an exponentially distributed
// time with the server's weight as its rate, so each place is won with a chance exactly by weight: this is weighted
// rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA
// 2005) for all places at once, in time that does not depend on the number of servers (compare Christiani, "DartMinHash",
// 2020).
//
// The classical ring of Karger et al. (STOC 1997) gives each server random points and each point the arc before it. Its
// shares stray by 1/√points: 160 points per weight, as usual, are 8 % off, and 1 % would take 10,000 points. Here a share p
// strays by √((1-p)/(p·2¹⁸)): 0.6 % of itself for one server of ten.
//
// All of it is integer arithmetic, so the ring is the same on every machine.
func buildRing(points []uint64, weights []int) []int32 {
	owner := make([]int32, places)
	hit := make([]uint64, places) // when, in 1/2³² of the time in which weight 1 throws once
	for i := range hit {
		hit[i] = math.MaxUint64
	}
	total := uint64(0)
	for _, w := range weights {
		total += uint64(w)
	}
	// After ln(places) darts for each place about one place is still without. Then go on, a little at a time.
	round := max(1, places<<32/total)
	thrown := make([]uint64, len(points))
	for until := placesLog * round; ; until += round {
		for i, w := range weights {
			thrown[i] = throw(int32(i), points, uint64(w), thrown[i], until, hit, owner)
		}
		settled := true
		for _, at := range hit {
			settled = settled && at < until
		}
		if settled {
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
// the next. Dart j hits at a random moment between j and j+1 turns.
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
