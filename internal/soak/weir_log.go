package soak

// The log of the weir under test.

import (
	"bufio"
	"encoding/json"
	"fmt"
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

// maxUnhandled limits the records that were read and not handled. weir drops records if its log is not read, so they are handled by
// another goroutine, which may have to wait for the verification.
const maxUnhandled = 1 << 16

// readLog reads the log until its end, and returns when every record has been handled.
func (p *weirProcess) readLog(r io.Reader) {
	records, handled := make(chan record, maxUnhandled), make(chan struct{})
	go func() {
		defer close(handled)
		for rec := range records {
			p.onRecord(rec)
		}
	}()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.readLine(lines.Bytes(), records)
	}
	if err := lines.Err(); err != nil {
		p.keep(&p.errors, "the log: "+err.Error())
	}
	close(records)
	<-handled
}

// readLine handles one line of the log.
func (p *weirProcess) readLine(line []byte, records chan<- record) {
	var rec record
	err := json.Unmarshal(line, &rec)
	if rec.Msg != "session" && p.log != nil {
		fmt.Fprintf(p.log, "%s\n", line)
	}
	switch {
	case err != nil:
		p.keep(&p.otherLines, string(line))
	case rec.Msg == "session" || strings.HasPrefix(rec.Event, "server_") || strings.HasPrefix(rec.Event, "rebalance_"):
		records <- rec
	case rec.Msg == "ready":
		p.once.Do(func() { close(p.ready) })
	case rec.Msg == "stopped":
		p.keep(&p.stopMessages, string(line))
	case rec.Level == "ERROR" && rec.Event != "reload_failed": // expected: rejectInvalid
		p.keep(&p.errors, string(line))
	}
}

// keep appends a line to a list.
func (p *weirProcess) keep(list *[]string, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, line)
}

// errorLines returns the log lines that indicate a problem.
func (p *weirProcess) errorLines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append([]string(nil), p.otherLines...), p.errors...)
}
