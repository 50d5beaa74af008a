package main

import (
	"math"
	"slices"
)

// target is the floor and the aim of weir in one row and metric.
type target struct {
	floor, aim float64
	absolute   bool   // of weir's own figure; otherwise of a ratio
	against    string // product that the ratio is taken to; "" = the better peer
}

// targetOf returns the target of a figure, if it has one.
func targetOf(r row, m metric) (target, bool) {
	busy := r.hogs > 0
	requests := slices.Contains([]string{familyRequests, familyBusy}, r.family)
	short := slices.Contains([]string{familyShort, familyShortB}, r.family)
	trips := slices.Contains([]string{familyDatagrams, familyLarge, familyBursts, familyLargeB}, r.family)
	switch {
	case r.family == familyRequests && m == metricCPU:
		return target{floor: 0.95, aim: 0.85}, true
	case requests && m == metricRate && r.point == 50:
		return floorBetween(busy, 1, 1.05, 1.12), true
	case requests && m == metricP99 && r.point == 50:
		return floorBetween(busy, 1, 0.95, 0.9), true
	case requests && m == metricP50 && r.point == 1:
		return floorBetween(busy, 1.2, 0.9, 0.8), true
	case short && m == metricRate:
		return floorBetween(busy, 1, 1.08, 1.2), true
	case r.family == familyShort && m == metricCPU:
		return target{floor: 0.87, aim: 0.7}, true
	case r.kind.streams() && m == metricBulk && r.point <= 4:
		return target{floor: 1.05, aim: 1.1}, true
	case r.kind.streams() && m == metricBulkCPU:
		return target{floor: 0.8, aim: 0.6}, true
	case r.methods != nil && m == metricP99:
		return target{floor: 0.6, aim: 0.6}, true
	case r.family == familyIdle && m == metricMemory:
		return target{floor: 512, aim: 448, absolute: true}, true
	case r.family == familyIdle && m == metricDescriptors:
		return target{floor: 2, aim: 2, absolute: true}, true
	case r.kind.datagrams() && m == metricLost:
		return target{floor: 0, aim: 0, absolute: true}, true
	case trips && m == metricRate:
		return target{floor: 0.93, aim: 0.97, against: bare}, true
	case trips && m == metricCPU:
		return target{floor: 1.08, aim: 1.03, against: bare}, true
	case r.family == familyFlows && m == metricMemory:
		return target{floor: 1024, aim: 512, absolute: true}, true
	case r.family == familyFlows && m == metricDescriptors:
		return target{floor: 1, aim: 1, absolute: true}, true
	case r.family == familyChecks && m == metricCores && r.point == 1000:
		return target{floor: 1, aim: 0.7}, true
	case r.family == familyChecks && m == metricCores && r.point == 10000:
		return target{floor: 0.3, aim: 0.15, absolute: true}, true
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

// floorBetween returns a target whose floor is lower beside spinning processes.
func floorBetween(busy bool, busyFloor, floor, aim float64) target {
	if busy {
		floor = busyFloor
	}
	return target{floor: floor, aim: aim}
}
