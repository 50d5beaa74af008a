package soak

// Random changes of the configuration.

import (
	"math/rand/v2"
	"slices"
	"time"
)

// mutate makes one change and returns what it changed.
func (w *randomConfig) mutate(r *rand.Rand) string {
	c := &w.clusters[r.IntN(len(w.clusters))]
	switch r.IntN(24) {
	case 0, 1:
		level := c.levels[r.IntN(2)]
		if len(level) == 0 {
			return "nothing"
		}
		m := &level[r.IntN(len(level))]
		m.weight = r.IntN(10)
		return "weigh"
	case 2:
		level := r.IntN(2)
		if len(c.levels[0])+len(c.levels[1]) < 3 || len(c.levels[level]) == 0 {
			return "nothing"
		}
		i := r.IntN(len(c.levels[level]))
		c.levels[level] = slices.Delete(c.levels[level], i, i+1)
		return "remove a server"
	case 3, 4:
		gone := w.absent()
		for i, s := range w.servers {
			if gone[s.name] && w.clusters[s.cluster].name == c.name {
				level := r.IntN(2)
				c.levels[level] = slices.Insert(c.levels[level], r.IntN(len(c.levels[level])+1), member{i, 1 + r.IntN(5)})
				return "add a server"
			}
		}
		return "nothing"
	case 5:
		from := r.IntN(2)
		if len(c.levels[from]) == 0 {
			return "nothing"
		}
		i := r.IntN(len(c.levels[from]))
		m := c.levels[from][i]
		c.levels[from] = slices.Delete(c.levels[from], i, i+1)
		c.levels[1-from] = append(c.levels[1-from], m)
		return "move a server"
	case 6:
		if c.maxSessions, c.queue = 0, false; r.IntN(2) == 0 {
			c.maxSessions, c.queue = 1+r.IntN(6), r.IntN(2) == 0
		}
		return "limit a cluster"
	case 7:
		w.listeners[r.IntN(len(w.listeners))].limit(r)
		return "limit a listener"
	case 8:
		l := &w.listeners[permanentListeners+r.IntN(len(w.listeners)-permanentListeners)]
		if w.fixed(l) {
			return "nothing"
		}
		l.present = !l.present
		return "add or remove a listener"
	case 9:
		c.sendProxy = []string{"", "v1", "v2"}[r.IntN(3)]
		return "PROXY headers"
	case 10:
		if w.maxSessions = 0; r.IntN(4) == 0 {
			w.maxSessions = 8 + r.IntN(20)
		}
		return "limit the process"
	case 11:
		c.balance = methods[r.IntN(len(methods))]
		return "balance"
	case 12:
		c.unprotected = r.IntN(2) == 0
		return "protection"
	case 13:
		if c.hold = (hold{}); r.IntN(3) > 0 {
			c.hold = hold{milliseconds(r, 200, 2000), 1 + r.IntN(20), r.IntN(50)}
		}
		return "hold"
	case 14, 15:
		c.closing.mutate(r)
		return "gentle closing"
	case 16, 17:
		w.flows[r.IntN(len(w.flows))].mutate(r)
		return "UDP"
	case 18:
		l := &w.flows[1+r.IntN(len(w.flows)-1)]
		l.present = !l.present
		return "add or remove a UDP listener"
	case 20, 21:
		w.listeners[sourceListener+r.IntN(listenerCount-sourceListener)].mutateRoutes(r)
		return "routes"
	case 19:
		w.stopDelay = milliseconds(r, 0, 2000)
		for i := range w.listeners {
			if l := &w.listeners[i]; l.onUnix() {
				l.mode = []int{0o600, 0o660, 0o666}[r.IntN(3)]
			}
		}
		return "stop_delay and unix_mode"
	case 22:
		l := &w.listeners[r.IntN(len(w.listeners))]
		l.rateUp, l.rateDown, l.fastOpen = 0, 0, r.IntN(2)*100
		if r.IntN(2) == 0 {
			l.rateUp, l.rateDown = leastRate<<r.IntN(6), leastRate<<r.IntN(6)
		}
		return "limits of the rate"
	default:
		c.closeOnDown = r.IntN(2) == 0
		c.interval = []int{0, 100, 200, 500}[r.IntN(4)]
		return "checks"
	}
}

// leastRate is the lowest limit of a session's rate, in bytes per second: the longest stream passes in one second.
const leastRate = maxStream

// limit sets a random limit, or none.
func (l *listener) limit(r *rand.Rand) {
	l.maxSessions, l.perSource, l.rate, l.ratePerSource, l.prefix = 0, 0, 0, 0, []int{48, 64, 128}[r.IntN(3)]
	l.wait = r.IntN(2) == 0
	switch r.IntN(8) {
	case 0:
		l.maxSessions = 1 + r.IntN(8)
		if l.wait { // enough for those that wait to be served before they give up
			l.maxSessions += 7
		}
	case 1:
		l.perSource = 1 + r.IntN(8)
	case 2:
		l.rate = 1 + r.IntN(40)
	case 3:
		l.ratePerSource = 1 + r.IntN(20)
	}
}

// mutate changes why and how sessions are closed.
func (c *closing) mutate(r *rand.Rand) {
	if *c = (closing{}); r.IntN(3) == 0 {
		return
	}
	if r.IntN(2) == 0 {
		c.rate = 1 + r.IntN(100)
	}
	if r.IntN(2) == 0 {
		c.quiet = milliseconds(r, 5, 100)
	}
	if r.IntN(3) == 0 {
		c.age = milliseconds(r, 500, 5000)
	}
	c.failback, c.rebalance = r.IntN(2) == 0, r.IntN(2) == 0
}

// mutate changes the options of flows.
func (l *flowListener) mutate(r *rand.Rand) {
	l.responses, l.requests, l.maxAge, l.maxFlows, l.perSource = 0, 0, 0, 0, 0
	switch r.IntN(6) {
	case 0:
		l.responses = 1
	case 1:
		l.requests = 1 + r.IntN(3)
	case 2:
		l.maxAge = milliseconds(r, 20, 1000)
	case 3:
		l.maxFlows = 1 + r.IntN(4)
	case 4:
		l.perSource = 1 + r.IntN(3)
	}
}

// milliseconds returns a random duration.
func milliseconds(r *rand.Rand, least, most int) time.Duration {
	return time.Duration(least+r.IntN(most-least)) * time.Millisecond
}
