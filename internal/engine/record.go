package engine

// Session records on their way from the loops to the log.

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/l4"
)

// recorder takes records from the loops without ever making them wait. They are gathered for a moment and written
// together: what a record costs must be little beside a short session. What does not fit is counted and left out.
type recorder struct {
	out  func(lines []byte) bool // takes whole lines, or reports that there is no room for them; must not block
	json func() bool             // whether lines are JSON now

	wake    chan struct{} // holds one: there is a record
	ending  chan struct{} // closed at the end
	done    sync.WaitGroup
	dropped atomic.Uint64

	mu    sync.Mutex // held for the copy of a record, or for a swap
	queue []entry
}

// entry is a record and when it was made.
type entry struct {
	at time.Time
	l4.Record
}

const (
	// recordQueue bounds the records that wait. It is what half a million sessions a second leave in gatherTime.
	recordQueue = 16384
	// gatherTime is how long records are gathered: long enough for few wake-ups, and nobody reads faster.
	gatherTime = 25 * time.Millisecond
	// chunkSize is how much is handed to the log at once.
	chunkSize = 32 << 10
)

func newRecorder(out func(lines []byte) bool, json func() bool) *recorder {
	r := &recorder{out: out, json: json, wake: make(chan struct{}, 1), ending: make(chan struct{})}
	if out != nil {
		r.done.Go(r.run)
	}
	return r
}

func (r *recorder) put(rec l4.Record) {
	if r.out == nil {
		return
	}
	now := time.Now()
	r.mu.Lock()
	n := len(r.queue)
	if n < recordQueue {
		r.queue = append(r.queue, entry{now, rec})
	}
	r.mu.Unlock()
	switch n {
	case 0:
		select {
		case r.wake <- struct{}{}:
		default:
		}
	case recordQueue:
		r.dropped.Add(1)
	}
}

func (r *recorder) run() {
	var spare []entry
	for more := true; more; {
		select {
		case <-r.wake:
			pause := time.NewTimer(gatherTime)
			select {
			case <-pause.C:
			case <-r.ending:
			}
			pause.Stop()
		case <-r.ending:
			more = false
		}
		spare = r.flush(spare)
	}
}

// awaitCut writes what is queued and leaves an empty queue in its place.
func (r *recorder) flush(spare []entry) []entry {
	r.mu.Lock()
	batch := r.queue
	r.queue = spare[:0]
	r.mu.Unlock()
	inJSON := r.json()
	var lines []byte
	var clock stamp
	n := 0
	hand := func() {
		if n > 0 && !r.out(lines) {
			r.dropped.Add(uint64(n))
		}
		lines, n = nil, 0
	}
	for i := range batch {
		if lines == nil {
			lines = make([]byte, 0, chunkSize+1024)
		}
		if inJSON {
			lines = appendJSON(lines, &batch[i], &clock)
		} else {
			lines = appendText(lines, &batch[i], &clock)
		}
		if n++; len(lines) >= chunkSize {
			hand()
		}
	}
	hand()
	clear(batch)
	if cap(batch) > 64 && len(batch) < cap(batch)/8 { // after a rush, its room is given back
		return nil
	}
	return batch
}

// close writes what is queued. Nothing may be put any more.
func (r *recorder) close() {
	close(r.ending)
	r.done.Wait()
}
