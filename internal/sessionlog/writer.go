package sessionlog

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/l4"
)

// Writer takes session records from event loops, gathers them for up to 25 ms and writes their lines together, so that a
// record costs little compared with a short session. Records that do not fit are dropped and counted.
type Writer struct {
	out  func(lines []byte) bool // takes whole lines, or returns false if it has no room; must not block
	json func() bool             // reports whether the next lines are JSON

	wake    chan struct{} // capacity 1: the queue is no longer empty
	ending  chan struct{} // closed by Close
	done    sync.WaitGroup
	dropped atomic.Uint64

	mu    sync.Mutex // held only to append a record or to swap the queue
	queue []entry
}

// entry is a record and the time it was written.
type entry struct {
	at time.Time
	l4.Record
}

const (
	// queueSize bounds the records that wait: half a million sessions per second produce about 12,500 in gatherTime.
	queueSize = 16384
	// gatherTime trades wake-ups for delay: people who read the log do not notice 25 ms.
	gatherTime = 25 * time.Millisecond
	// chunkSize is the number of bytes after which lines are passed to out.
	chunkSize = 32 << 10
)

// NewWriter starts a Writer, which Close ends. out receives whole lines, returns false if it has no room for them, and
// must not block; with a nil out every record is discarded. json reports whether the next lines are JSON.
func NewWriter(out func(lines []byte) bool, json func() bool) *Writer {
	w := &Writer{out: out, json: json, wake: make(chan struct{}, 1), ending: make(chan struct{})}
	if out != nil {
		w.done.Go(w.run)
	}
	return w
}

// Write queues a record. It does not block.
func (w *Writer) Write(rec l4.Record) {
	if w.out == nil {
		return
	}
	now := time.Now()
	w.mu.Lock()
	n := len(w.queue)
	if n < queueSize {
		w.queue = append(w.queue, entry{now, rec})
	}
	w.mu.Unlock()
	switch n {
	case 0:
		select {
		case w.wake <- struct{}{}:
		default:
		}
	case queueSize:
		w.dropped.Add(1)
	}
}

// Dropped returns the number of records that were dropped because the queue or the log had no room.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Close writes the queued records and ends the Writer. Write must not be called afterwards.
func (w *Writer) Close() {
	close(w.ending)
	w.done.Wait()
}

func (w *Writer) run() {
	var spare []entry
	for more := true; more; {
		select {
		case <-w.wake:
			pause := time.NewTimer(gatherTime)
			select {
			case <-pause.C:
			case <-w.ending:
			}
			pause.Stop()
		case <-w.ending:
			more = false
		}
		spare = w.flush(spare)
	}
}

// flush writes the queued records and replaces the queue with spare, emptied. It returns the old queue for reuse.
func (w *Writer) flush(spare []entry) []entry {
	w.mu.Lock()
	batch := w.queue
	w.queue = spare[:0]
	w.mu.Unlock()
	inJSON := w.json()
	var lines []byte
	var clock timeFormatter
	n := 0
	writeChunk := func() {
		if n > 0 && !w.out(lines) {
			w.dropped.Add(uint64(n))
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
			writeChunk()
		}
	}
	writeChunk()
	clear(batch)
	if cap(batch) > 64 && len(batch) < cap(batch)/8 { // release the memory of a burst
		return nil
	}
	return batch
}
