package weirtest

import (
	"fmt"

	"weir/internal/nettest"
)

// Events returns the records of events of these kinds, as "event level server from→to" without empty parts.
func (w *Weir) Events(kinds ...string) []string {
	var out []string
	for _, r := range w.Records(func(r Record) bool {
		for _, k := range kinds {
			if r.Text("event") == k {
				return true
			}
		}
		return false
	}) {
		text := r.Text("event") + " " + r.Text("cluster_level")
		if r.Text("server") != "" {
			text += " " + r.Text("server")
		}
		if r.Text("from") != "" {
			text += " " + r.Text("from") + "→" + r.Text("to")
		}
		out = append(out, text)
	}
	return out
}

// WaitEvents waits until n events of a kind are logged.
func (w *Weir) WaitEvents(event string, n int) {
	w.T.Helper()
	nettest.Wait(w.T, patience, fmt.Sprintf("%d × %s", n, event), func() bool { return len(w.Events(event)) >= n })
}

// WaitEvent waits for an event about a server.
func (w *Weir) WaitEvent(event, server string) {
	w.T.Helper()
	w.WaitRecord(patience, event+" of "+server, func(r Record) bool { return r.IsEvent(event) && r.Text("server") == server })
}
