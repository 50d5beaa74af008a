package balance

// leastSessions picks the server with the fewest sessions per weight. A waiting session counts from the moment its
// lease is granted. Ties go by smooth weighted round robin among the tied servers, as in nginx
// (src/stream/ngx_stream_upstream_least_conn_module.c), so that idle servers take turns.
type leastSessions struct{}

func (leastSessions) pick(l *level, _ pickInput) int { return l.wrr.next() }

// setLoad sets how many leases a slot's server has.
func (l *level) setLoad(i, leases int) {
	l.load[i] = int64(leases)
	if l.byLoad {
		l.wrr.set(i, l.steps[i], l.load[i])
	}
}
