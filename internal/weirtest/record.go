package weirtest

import (
	"net"
	"time"

	"weir/internal/nettest"
)

// Record is one line of the log.
type Record map[string]any

// Termination returns phase and reason of a session record, separated by a space; "" for any other record.
func (r Record) Termination() string {
	if r.Text("msg") != "session" {
		return ""
	}
	return r.Text("phase") + " " + r.Text("reason")
}

func (r Record) Text(key string) string { s, _ := r[key].(string); return s }

func (r Record) Int(key string) int { n, _ := r[key].(float64); return int(n) }

// IsAfter reports whether the record was made after a moment; a port may have several sessions in a long test.
func (r Record) IsAfter(t time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, r.Text("time"))
	return err == nil && at.After(t.Add(-time.Millisecond))
}

// IsEvent reports whether the record is an event of that name.
func (r Record) IsEvent(event string) bool { return r.Text("event") == event || r.Text("msg") == event }

// Records returns the records so far that match.
func (w *Weir) Records(match func(Record) bool) []Record {
	found, _ := w.recordsFrom(0, match)
	return found
}

// recordsFrom returns the records from a number on that match, and the number of the next record. The reader of the log goes on
// meanwhile: while it does not read, weir drops lines.
func (w *Weir) recordsFrom(n int, match func(Record) bool) (found []Record, next int) {
	w.mu.Lock()
	all := w.records
	w.mu.Unlock()
	for _, r := range all[n:] {
		if match(r) {
			found = append(found, r)
		}
	}
	return found, len(all)
}

// WaitRecord waits for a record and returns the first that matches.
func (w *Weir) WaitRecord(within time.Duration, what string, match func(Record) bool) Record {
	w.T.Helper()
	return w.waitRecordFrom(0, within, what, match)
}

// waitRecordFrom is WaitRecord among the records from a number on. It looks at each record once.
func (w *Weir) waitRecordFrom(n int, within time.Duration, what string, match func(Record) bool) Record {
	w.T.Helper()
	var found []Record
	nettest.Wait(w.T, within, what, func() bool {
		exited := w.HasExited() // before the look at the records: the last ones are in by then
		if found, n = w.recordsFrom(n, match); len(found) == 0 && exited {
			w.T.Fatalf("weir ended while waiting for %s", what)
		}
		return len(found) > 0
	})
	return found[0]
}

// SessionRecord waits for the record of a client connection's session. A record that it has returned for another
// connection does not count: a port may be used again at once.
func (w *Weir) SessionRecord(c net.Conn) Record {
	w.T.Helper()
	client := c.LocalAddr().String()
	key := func(r Record) string { return client + " " + r.Text("time") }
	r := w.WaitRecord(patience, "the session's record", func(r Record) bool {
		if r.Termination() == "" || r.Text("client") != client {
			return false
		}
		of, known := w.recordOf.Load(key(r))
		return !known || of == c
	})
	w.recordOf.Store(key(r), c)
	return r
}

// Warnings returns the records at warn and above, except those of events: servers may go down; and of checks that had no
// result because this machine did not run weir.
func (w *Weir) Warnings() []Record {
	return w.Records(func(r Record) bool {
		return r.Text("event") == "" && r.Text("reason") != "stalled" && (r.Text("level") == "WARN" || r.Text("level") == "ERROR")
	})
}
