package main

import (
	"maps"
	"slices"
)

// spread is a median with the smallest and the largest of the figures it came from.
type spread struct{ median, low, high float64 }

// spreadOf summarises figures; ok is false when there are none.
func spreadOf(figures []float64) (s spread, ok bool) {
	if len(figures) == 0 {
		return spread{}, false
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{median: median, low: sorted[0], high: sorted[len(sorted)-1]}, true
}

// byRound holds one product's figures of one row and metric.
type byRound map[int]float64

// spread summarises the rounds.
func (b byRound) spread() (spread, bool) {
	return spreadOf(slices.Collect(maps.Values(b)))
}

// over divides each round's figure by the other product's of the same round: disturbances affect both. Rounds without a
// figure of one of them, or with a figure of the other that is not positive, are omitted.
func (b byRound) over(other byRound) (spread, bool) {
	var ratios []float64
	for round, figure := range b {
		if base := other[round]; base > 0 {
			ratios = append(ratios, figure/base)
		}
	}
	return spreadOf(ratios)
}
