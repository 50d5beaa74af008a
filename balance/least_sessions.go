package balance

// leastSessions picks the server with the fewest sessions per weight. A waiting session counts from the moment its
// lease is granted. Ties go by smooth weighted round robin among the tied servers, as in nginx
// (src/stream/ngx_stream_upstream_least_conn_module.c), so that idle servers take turns.
type leastSessions struct{}

func (leastSessions) pick(l *level, _ pickInput) int {
	steps, loads := l.steps, l.load[:len(l.steps)]
	best, ties := -1, 0
	least, weight := int64(0), int64(0) // leases and step of the best
	for i, step := range steps {
		if step == 0 {
			continue
		}
		// Compare loads[i]/step with least/weight without dividing.
		mine, theirs := loads[i]*weight, least*step
		if best < 0 || mine < theirs {
			best, ties, least, weight = i, 1, loads[i], step
		} else if mine == theirs {
			ties++
		}
	}
	if ties == 1 {
		return best
	}
	return l.subset.next(best, func(i int) int64 {
		if loads[i]*weight == least*steps[i] {
			return steps[i]
		}
		return 0
	})
}
