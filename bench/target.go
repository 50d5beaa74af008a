package main

import (
	"math"
	"slices"
)

// target is the floor and the aim of weir in one row and metric.
type target struct {
	floor, aim float64
	absolute   bool // of weir's own figure; otherwise of its ratio to the better peer
}

// targetOf returns the target of a figure, if it has one.
func targetOf(r row, m metric) (target, bool) {
	switch {
	case r.family == familyRequests && m == metricCPU:
		return target{floor: 1, aim: 0.85}, true
	case r.family == familyRequests && m == metricRate && r.point == 50:
		return target{floor: 1, aim: 1.15}, true
	case r.family == familyRequests && m == metricP99 && r.point == 50:
		return target{floor: 1, aim: 0.9}, true
	case r.family == familyRequests && m == metricP50 && r.point == 1:
		return target{floor: 1, aim: 0.9}, true
	case r.family == familyShort && m == metricRate:
		return target{floor: 1.05, aim: 1.3}, true
	case r.family == familyShort && m == metricCPU:
		return target{floor: 0.9, aim: 0.7}, true
	case r.family == familyBulk && m == metricBulk && r.point <= 4:
		return target{floor: 1, aim: 1.1}, true
	case r.family == familyBulk && m == metricBulkCPU:
		return target{floor: 1, aim: 0.8}, true
	case r.family == familyIdle && m == metricMemory:
		return target{floor: 1024, aim: 512, absolute: true}, true
	case r.family == familyIdle && m == metricDescriptors:
		return target{floor: 2, aim: 2, absolute: true}, true
	case r.kind.datagrams() && m == metricLost:
		return target{floor: 0, aim: 0, absolute: true}, true
	case slices.Contains([]string{familyDatagrams, familyLarge, familyJoined, familyLargeJ}, r.family) && m == metricRate && r.point == 16:
		return target{floor: 2, aim: 3}, true
	case (r.family == familyBursts || r.family == familyLargeB) && m == metricRate && r.point == 16:
		return target{floor: 1.2, aim: 1.6}, true
	case r.kind.datagrams() && m == metricCPU && r.point == 16 && r.family != familyNewFlows:
		return target{floor: 0.6, aim: 0.4}, true
	case r.family == familyFlows && m == metricMemory:
		return target{floor: 1024, aim: 512, absolute: true}, true
	case r.family == familyFlows && m == metricDescriptors:
		return target{floor: 1, aim: 1, absolute: true}, true
	case r.family == familyChecks && m == metricCores && r.point == 10000:
		return target{floor: 0.5, aim: 0.2, absolute: true}, true
	case r.family == familyChecks && m == metricVerdicts:
		bound := (checkInterval*checkFall + checkTimeout).Seconds()
		return target{floor: bound, aim: bound, absolute: true}, true
	}
	return target{}, false
}

// The verdicts on a figure.
const (
	aimMet   = "aim met"
	floorMet = "floor met"
	missed   = "missed"
)

// judge compares a figure or ratio, at the two decimals that are shown, with the target.
func (t target) judge(figure float64, more bool) string {
	figure = math.Round(figure*100) / 100
	meets := func(bound float64) bool {
		if more {
			return figure >= bound
		}
		return figure <= bound
	}
	switch {
	case meets(t.aim):
		return aimMet
	case meets(t.floor):
		return floorMet
	}
	return missed
}
