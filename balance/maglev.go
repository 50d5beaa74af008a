package balance

import (
	"cmp"
	"slices"
)

// buildMaglevTable builds a Maglev lookup table: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
// Balancer", NSDI 2016, section 3.4. Every server has its own permutation of the places. The servers take turns; in its
// turn a server takes the first place of its permutation that is still free. In each round a server has turns in
// proportion to its weight, and the heaviest one has one turn.
//
// Shares are even to within one place per server. If a server is lost, only its own keys move, because further places
// are probed. Building the table without it, or with another server, also moves a few keys of others. The turns are in
// the order of the servers' points, so the order in the file does not matter.
func buildMaglevTable(points []uint64, weights []int) []int32 {
	size := uint64(smallTable)
	if smallTable < 100*len(points) {
		size = bigTable
	}
	type candidate struct {
		slot           int32
		weight, credit int
		next, skip     uint64
	}
	var candidates []candidate
	heaviest := 0
	for i, w := range weights {
		if w > 0 {
			candidates = append(candidates, candidate{
				slot: int32(i), weight: w,
				next: points[i] % size, skip: splitMix64(points[i]+goldenRatio)%(size-1) + 1,
			})
			heaviest = max(heaviest, w)
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(points[a.slot], points[b.slot]) })

	owner := make([]int32, size)
	for i := range owner {
		owner[i] = -1
	}
	for free := size; ; {
		for i := range candidates {
			t := &candidates[i]
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

// The two table sizes of the paper. They are primes, so every skip visits every place. The paper asks for 100 places per
// server; the big table is for clusters of more than 655 servers.
const (
	smallTable = 65537
	bigTable   = 655373
)
