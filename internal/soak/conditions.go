package soak

// What a configuration explains while it is in force.

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// closeDeadline is close_deadline of all clusters.
const closeDeadline = 2 * time.Second

// condition is a fault of the configuration itself: a limit, an absence, or a cause of closed sessions.
type condition struct {
	fault   fault
	subject string
}

// conditions returns the conditions of the configuration.
func (w *randomConfig) conditions() map[condition]bool {
	all := map[condition]bool{}
	add := func(is bool, f fault, subject string) {
		if is {
			all[condition{f, subject}] = true
		}
	}
	for name := range w.absent() {
		add(true, absent, name)
	}
	for i := range w.clusters {
		c := &w.clusters[i]
		add(c.maxSessions > 0, limit, c.name)
		add(c.closing.rate > 0 || c.closing.quiet > 0, gentle, c.name)
		add(c.closing.age > 0, ageing, c.name)
		add(c.closing.failback, failback, c.name)
	}
	for _, l := range w.listeners {
		full := w.maxSessions > 0 || l.maxSessions > 0
		add(l.present && (full || l.perSource > 0 || l.rate > 0 || l.ratePerSource > 0), limit, l.name)
		add(l.present && full && l.wait, waiting, l.name)
	}
	for _, l := range w.flows {
		add(l.present && (w.maxSessions > 0 || l.maxFlows > 0 || l.perSource > 0), limit, l.name)
	}
	return all
}

// absent returns the names of servers and listeners that are not in the configuration.
func (w *randomConfig) absent() map[string]bool {
	gone := map[string]bool{}
	for _, s := range w.servers {
		if !s.found() { // the absence of those is in the log of their provider
			gone[s.name] = true
		}
	}
	for _, c := range w.clusters {
		for _, level := range c.levels {
			for _, m := range level {
				delete(gone, w.servers[m.server].name)
			}
		}
	}
	for _, l := range w.listeners {
		if !l.present {
			gone[l.name] = true
		}
	}
	for _, l := range w.flows {
		if !l.present {
			gone[l.name] = true
		}
	}
	return gone
}

// inOrder returns the conditions sorted, so that a seed has one order.
func inOrder(all map[condition]bool) []condition {
	return slices.SortedFunc(maps.Keys(all), func(a, b condition) int {
		if a.fault != b.fault {
			return strings.Compare(string(a.fault), string(b.fault))
		}
		return strings.Compare(a.subject, b.subject)
	})
}
