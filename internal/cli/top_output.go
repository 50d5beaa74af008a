package cli

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// outputChunk is the size of writes to the terminal. Each has its own deadline, so that a slow link is not taken for a lost one.
const outputChunk = 512

// output writes to a terminal in the background, so that a slow link delays no key. Its owner draws nothing while it is busy: what
// waits is at most what one screen needs.
type output struct {
	w       io.Writer
	drained func() // is called when everything is written, if the owner has asked for it; must not wait
	drop    func() // drops what the terminal has taken and not shown; nil = nothing

	mu      sync.Mutex
	changed *sync.Cond
	waiting bytes.Buffer
	writing bool
	notify  bool // call drained
	ending  bool // what is written restores the terminal
	closed  bool
	err     error
}

func newOutput(w io.Writer, drained func()) *output {
	o := &output{w: w, drained: drained}
	o.changed = sync.NewCond(&o.mu)
	go o.run()
	return o
}

// Write queues p.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	o.changed.Broadcast()
	return o.waiting.Write(p)
}

// isBusy reports whether something is not written. drained is then called when it is.
func (o *output) isBusy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notify = o.hasWork()
	return o.notify
}

func (o *output) hasWork() bool { return o.err == nil && (o.writing || o.waiting.Len() > 0) }

// run writes until close or an error.
func (o *output) run() {
	chunk := make([]byte, outputChunk)
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil {
		switch {
		case o.waiting.Len() > 0:
			n, _ := o.waiting.Read(chunk)
			o.writing = true
			o.mu.Unlock()
			_, err := o.w.Write(chunk[:n])
			o.mu.Lock()
			o.writing, o.err = false, err
		case o.closed:
			o.err = os.ErrClosed
		default:
			if o.notify {
				o.notify = false
				o.drained()
			}
			o.changed.Broadcast()
			o.changed.Wait()
		}
	}
	o.changed.Broadcast()
}

// discard drops what waits: the program ends, and only what restores the terminal matters. That is written afterwards, so later
// calls do nothing.
func (o *output) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ending {
		return
	}
	o.ending = true
	o.waiting.Reset()
	if o.drop != nil {
		o.drop()
	}
}

// flush waits until everything is written or the terminal is lost.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.hasWork() {
		o.changed.Wait()
	}
}

// close writes what waits and ends the goroutine.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.ending = true, true
	o.changed.Broadcast()
	for o.err == nil {
		o.changed.Wait()
	}
}
