package sessionlog

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/l4"
)

// Writer takes session records from event loops, gathers them for up to 25 ms and writes their lines together, so that a
// record costs little compared with a short session. Records that do not fit are dropped and counted. Unless every record
// is wanted, those of one reason above 100 per second are summarised in one line.
type Writer struct {
	out      func(lines []byte) bool // takes whole lines, or returns false if it has no room; must not block
	settings func() Settings         // of the next lines

	limit limiter // of the goroutine

	wake    chan struct{} // capacity 1: the queue is no longer empty
	ending  chan struct{} // closed by Close
	done    sync.WaitGroup
	dropped atomic.Uint64

	mu    sync.Mutex // held only to append a record or to swap the queue
	queue []entry
}

// Settings are what a configuration wants of session records.
type Settings struct {
	JSON bool // lines are JSON, not text
	All  bool // write every record, however many there are
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
// must not block; with a nil out every record is discarded. settings returns those of the next lines.
func NewWriter(out func(lines []byte) bool, settings func() Settings) *Writer {
	w := &Writer{out: out, settings: settings, wake: make(chan struct{}, 1), ending: make(chan struct{})}
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
	var second <-chan time.Time // when the second has passed in which records were omitted
	for more := true; more; {
		select {
		case <-w.wake:
			pause := time.NewTimer(gatherTime)
			select {
			case <-pause.C:
			case <-w.ending:
			}
			pause.Stop()
		case <-second:
		case <-w.ending:
			more = false
		}
		spare = w.flush(spare, !more)
		second = nil
		if w.limit.omits() {
			second = time.After(time.Until(w.limit.end()))
		}
	}
}

// flush writes the queued records, and summaries of the seconds that have passed; the last one writes all summaries. It
// replaces the queue with spare, emptied, and returns the old queue for reuse.
func (w *Writer) flush(spare []entry, last bool) []entry {
	w.mu.Lock()
	batch := w.queue
	w.queue = spare[:0]
	w.mu.Unlock()
	settings := w.settings()
	c := chunk{w: w, json: settings.JSON}
	for i := range batch {
		e := &batch[i]
		if w.limit.passed(e.at) {
			c.summarise()
		}
		if settings.All || w.limit.admit(e) {
			c.record(e)
		}
	}
	if last || w.limit.passed(time.Now()) {
		c.summarise()
	}
	c.write()
	clear(batch)
	if cap(batch) > 64 && len(batch) < cap(batch)/8 { // release the memory of a burst
		return nil
	}
	return batch
}

// chunk gathers lines until they are passed on.
type chunk struct {
	w     *Writer
	json  bool
	clock timeFormatter
	lines []byte
	n     int // lines
}

func (c *chunk) record(e *entry) {
	c.begin()
	if c.json {
		c.lines = appendJSON(c.lines, e, &c.clock)
	} else {
		c.lines = appendText(c.lines, e, &c.clock)
	}
	c.end()
}

// summarise writes a line for each reason of which records were omitted.
func (c *chunk) summarise() {
	for _, s := range c.w.limit.take() {
		c.begin()
		if c.json {
			c.lines = s.appendJSON(c.lines, &c.clock)
		} else {
			c.lines = s.appendText(c.lines, &c.clock)
		}
		c.end()
	}
}

func (c *chunk) begin() {
	if c.lines == nil {
		c.lines = make([]byte, 0, chunkSize+1024)
	}
}

func (c *chunk) end() {
	if c.n++; len(c.lines) >= chunkSize {
		c.write()
	}
}

// write passes the lines on.
func (c *chunk) write() {
	if c.n > 0 && !c.w.out(c.lines) {
		c.w.dropped.Add(uint64(c.n))
	}
	c.lines, c.n = nil, 0
}
