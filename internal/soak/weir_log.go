package soak

// The log of the weir under test.

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"time"
)

// record is a JSON log line of weir.
type record struct {
	Msg      string    `json:"msg"`
	Time     time.Time `json:"time"`
	Client   string    `json:"client"`
	Listener string    `json:"listener"`
	Cluster  string    `json:"cluster"`
	Server   string    `json:"server"`
	Route    string    `json:"route"`
	SNI      string    `json:"sni"`
	Phase    string    `json:"phase"` // of a session record
	Up       uint64    `json:"bytes_up"`
	Down     uint64    `json:"bytes_down"`
	Millis   float64   `json:"duration_ms"`
	Event    string    `json:"event"`
	Layer    string    `json:"layer"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Level    string    `json:"level"`
}

// end returns phase and reason of a session, separated by a space; "" for other records.
func (r *record) end() string {
	if r.Phase == "" {
		return ""
	}
	return r.Phase + " " + r.Reason
}

func (r *record) begun() time.Time {
	return r.Time.Add(-time.Duration(r.Millis * float64(time.Millisecond)))
}

func (p *weirProcess) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var rec record
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			p.mu.Lock()
			p.otherLines = append(p.otherLines, lines.Text())
			p.mu.Unlock()
			continue
		}
		switch {
		case rec.Msg == "session" || strings.HasPrefix(rec.Event, "server_") || strings.HasPrefix(rec.Event, "rebalance_"):
			p.onRecord(rec)
		case rec.Msg == "ready":
			p.once.Do(func() { close(p.ready) })
		case rec.Msg == "stopped":
			p.mu.Lock()
			p.stopMessages = append(p.stopMessages, lines.Text())
			p.mu.Unlock()
		case rec.Level == "ERROR" && rec.Event != "reload_failed": // expected: rejectInvalid
			p.mu.Lock()
			p.errors = append(p.errors, lines.Text())
			p.mu.Unlock()
		}
	}
}

// errorLines returns the log lines that indicate a problem.
func (p *weirProcess) errorLines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append([]string(nil), p.otherLines...), p.errors...)
}
