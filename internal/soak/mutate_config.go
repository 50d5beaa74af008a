package soak

// Random changes of the configuration.

import (
	"math/rand/v2"
	"slices"
)

// mutate makes one change and returns what it changed.
func (w *randomConfig) mutate(r *rand.Rand) string {
	c := &w.clusters[r.IntN(len(w.clusters))]
	switch r.IntN(13) {
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
		l := &w.listeners[r.IntN(len(w.listeners))]
		if l.maxSessions, l.perSource, l.rate = 0, 0, 0; r.IntN(2) == 0 {
			switch r.IntN(3) {
			case 0:
				l.maxSessions = 1 + r.IntN(8)
			case 1:
				l.perSource = 1 + r.IntN(8)
			case 2:
				l.rate = 1 + r.IntN(40)
			}
		}
		return "limit a listener"
	case 8:
		l := &w.listeners[permanentListeners+r.IntN(len(w.listeners)-permanentListeners)]
		l.present = !l.present
		return "add or remove a listener"
	case 9:
		c.sendProxy = []string{"", "v1", "v2"}[r.IntN(3)]
		return "PROXY headers"
	case 10:
		if w.maxSessions = 0; r.IntN(2) == 0 {
			w.maxSessions = 1 + r.IntN(20)
		}
		return "limit the process"
	case 11:
		c.balance = methods[r.IntN(len(methods))]
		return "balance"
	default:
		c.closeOnDown = r.IntN(2) == 0
		c.interval = []int{0, 100, 200, 500}[r.IntN(4)]
		return "checks"
	}
}
