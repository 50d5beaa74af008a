package soak

// The end of the load: weir becomes idle, and its last records arrive.

import (
	"fmt"
	"strings"
	"time"
)

// waitIdle waits until weir has no sessions.
func (s *soak) waitIdle() {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := s.weir.metrics()
		if err != nil {
			s.verifier.report("metrics: %v", err)
			return
		}
		busy := ""
		for name, v := range m {
			for _, gauge := range []string{"weir_sessions{", "weir_server_sessions{", "weir_cluster_queue{", "weir_cluster_held_sessions{", "weir_sessions_closing{", "weir_loop_sessions{"} {
				if strings.HasPrefix(name, gauge) && v != 0 {
					busy = fmt.Sprintf("%s is %g", name, v)
				}
			}
		}
		open := 0
		for _, h := range s.faults.hosts {
			open += h.sessions()
		}
		if busy == "" && open == 0 {
			return
		}
		if time.Now().After(end) {
			s.verifier.report("20 s after the last session: %s; servers have %d connections", busy, open)
			return
		}
	}
}

// waitRecords waits for the last records and reports records without a session.
func (s *soak) waitRecords() {
	for end := time.Now().Add(recordTimeout + 2*time.Second); s.verifier.verifyEnded(time.Now()) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range s.verifier.unmatchedRecords() {
		s.verifier.report("a record without a session: %+v", r)
	}
}
