package main

import (
	"fmt"
	"slices"
)

// Limits beyond which a figure is doubtful.
const (
	otherCoresDoubt = 0.15 // CPUs busy with something else
	spreadDoubt     = 0.15 // half the distance between the lowest and the highest ratio
	headroomDoubt   = 1.15 // direct over the fastest proxy: below it, generator or server may be the limit
)

// reasonsForDoubt lists the reasons not to trust a figure; nil if there are none.
func reasonsForDoubt(records []record, lines []comparison) []string {
	var all []string
	for _, r := range rows() {
		var busy []float64
		failures := 0
		for _, run := range records {
			if run.Row != r.name {
				continue
			}
			if run.Error != "" {
				all = append(all, fmt.Sprintf("%s, %s, round %d failed: %s", run.Row, run.Product, run.Round, run.Error))
			}
			busy = append(busy, run.OtherCores)
			failures += run.Failures
		}
		if s, ok := spreadOf(busy); ok && s.high > otherCoresDoubt {
			all = append(all, fmt.Sprintf("%s: up to %.2f CPUs were busy with something else (median %.2f)", r.name, s.high, s.median))
		}
		if failures > 0 {
			all = append(all, fmt.Sprintf("%s: %d requests or connections failed", r.name, failures))
		}
	}
	for _, c := range lines {
		if c.ratio != nil && c.ratio.high-c.ratio.low > 2*spreadDoubt {
			all = append(all, fmt.Sprintf("%s: %s: the ratio wandered between %s", c.row.name, c.metric.title(), rangeCell(*c.ratio)))
		}
		top, ok := c.of[direct]
		if !ok || !c.metric.more() {
			continue
		}
		for _, product := range slices.Concat(peers(), []string{weirNew}) {
			if s, ok := c.of[product]; ok && top.median < headroomDoubt*s.median {
				all = append(all, fmt.Sprintf("%s: %s: direct is only %.2f times %s: generator or server may be the limit",
					c.row.name, c.metric.title(), top.median/s.median, product))
			}
		}
	}
	return all
}
