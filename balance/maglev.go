package balance

import (
	"cmp"
	"slices"
)

// buildMaglevTable gives the places of a Maglev table away: Eisenbud et al., "Maglev: A Fast and Reliable Software Network
// Load Balancer", NSDI 2016, section 3.4. Every server prefers the places in an order of its own, and the servers take
// turns in taking the first place in their order that is still free. Weights are turns: in each round a server has its
// weight's share of the turns of the heaviest one.
//
// Shares are even to within a place per server. Losing a server moves its own keys (the walk sees to that); building the
// table without it, or with another, moves a few of the others' as well. The servers take their turns in the order of
// their points, so that their order in the file does not matter.
func buildMaglevTable(points []uint64, weights []int) []int32 {
	size := uint64(smallTable)
	if smallTable < 100*len(points) {
		size = bigTable
	}
	type taker struct {
		slot           int32
		weight, credit int
		next, skip     uint64
	}
	var takers []taker
	heaviest := 0
	for i, w := range weights {
		if w > 0 {
			takers = append(takers, taker{
				slot: int32(i), weight: w,
				next: points[i] % size, skip: splitMix64(points[i]+goldenRatio)%(size-1) + 1,
			})
			heaviest = max(heaviest, w)
		}
	}
	slices.SortFunc(takers, func(a, b taker) int { return cmp.Compare(points[a.slot], points[b.slot]) })

	owner := make([]int32, size)
	for i := range owner {
		owner[i] = -1
	}
	for free := size; ; {
		for i := range takers {
			t := &takers[i]
			if t.credit += t.weight; t.credit < heaviest {
				continue
			}
			t.credit -= heaviest
			for owner[t.next] >= 0 {
				if t.next += t.skip; t.next >= size {
					t.next -= size
				}
			}
			owner[t.next] = t.slot
			if free--; free == 0 {
				return owner
			}
		}
	}
}

// The paper's two table sizes. They are primes, so that every skip visits every place. It asks for a hundred places per
// server; the big table is for clusters of more than 655.
const (
	smallTable = 65537
	bigTable   = 655373
)
