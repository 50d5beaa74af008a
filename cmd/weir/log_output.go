package main

// The log: formatted where things happen, written by a goroutine of its own. Whoever logs never waits for whoever
// reads: what a blocked or slow reader leaves no room for is counted and left out.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/conf"
)

const (
	logQueue = 8192    // writes
	logBytes = 4 << 20 // and how much they may hold
	// logPatience is how long an exit waits for the log to take its last lines, and logSilence for it to take any.
	logPatience = time.Second
	logSilence  = 250 * time.Millisecond
)

// logOutput is where log lines go.
type logOutput struct {
	stderr io.Writer
	queue  chan []byte
	reset  chan io.Writer // another place to write to
	done   chan struct{}
	lost   atomic.Uint64
	queued atomic.Int64 // bytes
	level  slog.LevelVar
	inJSON atomic.Bool

	mu   sync.Mutex // guards what follows
	path string
	file *os.File
}

// openLog opens the log file, if there is one, and starts to write.
func openLog(spec conf.Log, stderr io.Writer) (*logOutput, error) {
	o := &logOutput{stderr: stderr, queue: make(chan []byte, logQueue), reset: make(chan io.Writer), done: make(chan struct{})}
	to := stderr
	if spec.File != "" {
		f, err := openLogFile(spec.File)
		if err != nil {
			return nil, err
		}
		o.path, o.file, to = spec.File, f, f
	}
	go o.write(to)
	return o, nil
}

// openLogFile does not wait for the reader of a pipe: there has to be one.
func openLogFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
}

// Write queues one line. It never blocks and never fails.
func (o *logOutput) Write(p []byte) (int, error) {
	o.put(bytes.Clone(p))
	return len(p), nil
}

// put queues lines, which are its own from then on. It never blocks; false means that there was no room for them.
func (o *logOutput) put(lines []byte) bool {
	if o.queued.Add(int64(len(lines))) <= logBytes {
		select {
		case o.queue <- lines:
			return true
		default:
		}
	}
	o.queued.Add(-int64(len(lines)))
	o.lost.Add(uint64(bytes.Count(lines, []byte{'\n'})))
	return false
}

func (o *logOutput) write(to io.Writer) {
	defer close(o.done)
	for {
		select {
		case line, open := <-o.queue:
			if !open {
				return
			}
			if n := o.lost.Swap(0); n > 0 {
				fmt.Fprintf(to, "weir: %d log lines were left out here: the log was not taking them\n", n)
			}
			to.Write(line) // a log that cannot be written has nobody to tell
			o.queued.Add(-int64(len(line)))
		case to = <-o.reset:
		}
	}
}

// reopen opens the file anew, for a log that was renamed. Lines queued before go to the new file too.
func (o *logOutput) reopen() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.path == "" {
		return nil
	}
	f, err := openLogFile(o.path)
	if err != nil {
		return err
	}
	return o.goOver(o.path, f)
}

// prepare opens the file of another configuration's log, for change or to be closed; nil stands for none or the same.
func (o *logOutput) prepare(spec conf.Log) (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if spec.File == "" || spec.File == o.path {
		return nil, nil
	}
	return openLogFile(spec.File)
}

// change goes over to the log of another configuration, with the file that prepare has opened.
func (o *logOutput) change(spec conf.Log, f *os.File) error {
	o.setForm(spec)
	o.mu.Lock()
	defer o.mu.Unlock()
	if spec.File == o.path {
		return nil
	}
	return o.goOver(spec.File, f)
}

// goOver writes to another file from now on, or to standard error with none; mu is held.
func (o *logOutput) goOver(path string, f *os.File) error {
	to := o.stderr
	if f != nil {
		to = f
	}
	select {
	case o.reset <- to:
	case <-time.After(logPatience): // stuck in a write to the old place
		f.Close()
		return fmt.Errorf("log.file: the log is blocked")
	}
	if o.file != nil {
		o.file.Close()
	}
	o.path, o.file = path, f
	return nil
}

func (o *logOutput) setForm(spec conf.Log) {
	var level slog.Level
	if level.UnmarshalText([]byte(spec.Level)) == nil {
		o.level.Set(level)
	}
	o.inJSON.Store(spec.Format == "json")
}

// logger is for everything but session records.
func (o *logOutput) logger(spec conf.Log) *slog.Logger {
	o.setForm(spec)
	return slog.New(o.handler(&o.level))
}

func (o *logOutput) handler(level slog.Leveler) slog.Handler {
	plain := &slog.HandlerOptions{Level: level}
	placed := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if _, severity := a.Value.Any().(slog.Level); severity && len(groups) == 0 && a.Key == slog.LevelKey {
			a.Key = "severity"
		}
		return a
	}}
	return formats{
		inJSON: &o.inJSON,
		text:   slog.NewTextHandler(o, plain), placedText: slog.NewTextHandler(o, placed),
		json: slog.NewJSONHandler(o, plain), placedJSON: slog.NewJSONHandler(o, placed),
	}
}

// formats writes each record in the format that is configured at the time. In records of sessions and events, "level" is
// that of a cluster, and how grave the record is goes by the name of severity.
type formats struct {
	inJSON                             *atomic.Bool
	text, json, placedText, placedJSON slog.Handler
}

func (f formats) Enabled(ctx context.Context, level slog.Level) bool {
	return f.text.Enabled(ctx, level)
}

func (f formats) Handle(ctx context.Context, r slog.Record) error {
	placed := false
	r.Attrs(func(a slog.Attr) bool {
		placed = a.Key == slog.LevelKey
		return !placed
	})
	switch inJSON := f.inJSON.Load(); {
	case inJSON && placed:
		return f.placedJSON.Handle(ctx, r)
	case inJSON:
		return f.json.Handle(ctx, r)
	case placed:
		return f.placedText.Handle(ctx, r)
	}
	return f.text.Handle(ctx, r)
}

func (f formats) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (f formats) WithGroup(name string) slog.Handler {
	return f.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f formats) each(with func(slog.Handler) slog.Handler) slog.Handler {
	f.text, f.json, f.placedText, f.placedJSON = with(f.text), with(f.json), with(f.placedText), with(f.placedJSON)
	return f
}

// close writes what is queued, as far as the log takes it in time. Nothing may be logged any more.
func (o *logOutput) close() {
	close(o.queue)
	for deadline := time.Now().Add(logPatience); time.Now().Before(deadline); {
		left := o.queued.Load()
		select {
		case <-o.done:
			return
		case <-time.After(logSilence):
			if o.queued.Load() == left { // nobody reads it
				return
			}
		}
	}
}

// lines are the single errors of a joined one.
func lines(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
