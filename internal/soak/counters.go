package soak

// weir's own counters against what was seen.

import (
	"fmt"
	"strings"
)

// checkCounters compares weir's counters of the permanent listeners with the sums of its records. The records were
// compared with what clients and servers saw.
func (s *soak) checkCounters() {
	m, err := s.weir.metrics()
	if err != nil {
		s.verifier.report("metrics: %v", err)
		return
	}
	j := s.verifier
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := m["weir_session_records_dropped_total"]; n != 0 {
		j.reportLocked("%g session records were dropped", n)
	}
	same := func(what string, got, want float64) {
		if got != want {
			j.reportLocked("%s is %g, and the sum of what was seen is %g", what, got, want)
		}
	}
	for _, name := range s.faults.first.permanent() {
		total := 0
		for end, n := range j.ends[name] {
			total += n
			phase, reason, _ := strings.Cut(end, " ")
			key := fmt.Sprintf("weir_sessions_ended_total{listener=%q,phase=%q,reason=%q}", name, phase, reason)
			same(key, m[key], float64(n))
		}
		label := fmt.Sprintf("{listener=%q}", name)
		same("weir_sessions_total"+label, m["weir_sessions_total"+label], float64(total))
		sent := m["weir_sent_to_servers_bytes_total"+label]
		repeated := sent - float64(j.up[name]) // to the next server, after a refusal; a record counts them once
		if most := s.faults.sentBeforeRefusals(name); repeated < 0 || repeated > most {
			j.reportLocked("bytes sent to servers by %s: %g, which is %g more than in the records; want at most %g", name, sent, repeated, most)
		}
		same("weir_sent_to_clients_bytes_total"+label, m["weir_sent_to_clients_bytes_total"+label], float64(j.down[name]))
		sum := func(metric string) (sum float64) {
			for key, v := range m {
				if strings.HasPrefix(key, metric+"{") && strings.Contains(key, fmt.Sprintf("listener=%q", name)) {
					sum += v
				}
			}
			return sum
		}
		same("weir_route_sessions_total of "+name, sum("weir_route_sessions_total"), float64(j.routed[name]))
		rejected := sum("weir_sessions_refused_total")
		if name == flowsName { // a UDP client only sees that no reply came
			if rejected > float64(j.tally.lost+j.tally.missing) {
				j.reportLocked("%g flows were rejected, but only %d datagrams were lost", rejected, j.tally.lost+j.tally.missing)
			}
			if dropped := overflows() - s.overflowsBefore; j.tally.missing > dropped {
				j.reportLocked("%d datagrams are missing, and only %d were dropped by sockets: %s", j.tally.missing, dropped, strings.Join(j.tally.notes, "; "))
			}
			continue
		}
		same("weir_sessions_refused_total of "+name, rejected, float64(j.rejected[name]))
	}
}
