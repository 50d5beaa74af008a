package main

// The log is formatted by the goroutine that logs and written by a goroutine of its own. Logging never waits for the
// reader of the log: lines that find no room in the queue are dropped and counted.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"weir/conf"
	"weir/internal/direntry"
)

const (
	logQueueLines = 8192
	logQueueBytes = 4 << 20
	// At exit the log gets logCloseTimeout to take the queued lines, and logStallTimeout to take any.
	logCloseTimeout = time.Second
	logStallTimeout = 250 * time.Millisecond
)

// logOutput writes log lines to a file or to standard error. Write and enqueue are safe for concurrent use; the other
// methods belong to the daemon's goroutine.
type logOutput struct {
	stderr      io.Writer
	destination atomic.Pointer[logDestination]
	queue       chan []byte
	done        chan struct{} // closed when the writer has returned
	dropped     atomic.Uint64 // lines, since the last one that was written
	queued      atomic.Int64  // bytes
	level       slog.LevelVar
	inJSON      atomic.Bool
}

// logDestination is an open log file, or standard error.
type logDestination struct {
	io.Writer
	file *os.File // nil for standard error
	path string
	pipe bool
}

// atomicSize is how many bytes a pipe takes in one piece (PIPE_BUF).
const atomicSize = 4096

// Write writes lines, and returns how many bytes of whole writes were taken. A pipe gets whole lines in pieces that it takes at
// once: in an upgrade, two processes write to it.
func (d *logDestination) Write(lines []byte) (n int, err error) {
	for d.pipe && len(lines)-n > atomicSize {
		end := bytes.LastIndexByte(lines[n:n+atomicSize], '\n') + 1
		if end == 0 { // a longer line
			end = bytes.IndexByte(lines[n:], '\n') + 1
		}
		if end == 0 {
			break
		}
		if _, err = d.Writer.Write(lines[n : n+end]); err != nil {
			return n, err
		}
		n += end
	}
	if _, err = d.Writer.Write(lines[n:]); err != nil {
		return n, err
	}
	return len(lines), nil
}

func isPipe(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

func (d *logDestination) close() {
	if d != nil && d.file != nil {
		d.file.Close()
	}
}

// openLog opens the log that spec describes and starts to write.
func openLog(spec conf.Log, stderr io.Writer) (*logOutput, error) {
	o := &logOutput{stderr: stderr, queue: make(chan []byte, logQueueLines), done: make(chan struct{})}
	change, err := o.prepare(spec)
	if err != nil {
		return nil, err
	}
	change.commit()
	go o.run()
	return o, nil
}

// Write queues one line. It never blocks and never fails.
func (o *logOutput) Write(p []byte) (int, error) {
	o.enqueue(bytes.Clone(p))
	return len(p), nil
}

// enqueue queues lines and takes ownership of them. It never blocks. It returns false, and counts the lines as dropped,
// if there is no room.
func (o *logOutput) enqueue(lines []byte) bool {
	if o.queued.Add(int64(len(lines))) <= logQueueBytes {
		select {
		case o.queue <- lines:
			return true
		default:
		}
	}
	o.queued.Add(-int64(len(lines)))
	o.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
	return false
}

func (o *logOutput) run() {
	defer close(o.done)
	for lines := range o.queue {
		size := int64(len(lines))
		if n := o.dropped.Swap(0); n > 0 {
			lines = append(fmt.Appendf(nil, "weir: %d log lines dropped: log output was blocked\n", n), lines...)
		}
		// A commit closes the old file, which also ends a write that is blocked in a pipe. The lines then go to the new file.
		// Other errors are ignored: there is no place to report them.
		for {
			to := o.destination.Load()
			n, err := to.Write(lines)
			if !errors.Is(err, os.ErrClosed) || to == o.destination.Load() {
				break
			}
			lines = lines[n:]
		}
		o.queued.Add(-size)
	}
}

// logChange is a log configuration whose file is open but not in use.
type logChange struct {
	out  *logOutput
	spec conf.Log
	next *logDestination // nil to keep the current one
}

// prepare opens the log file that spec names, unless it is open already.
func (o *logOutput) prepare(spec conf.Log) (*logChange, error) {
	change := &logChange{out: o, spec: spec}
	if current := o.destination.Load(); current != nil && current.path == spec.File {
		return change, nil
	}
	var err error
	change.next, err = o.open(spec.File)
	return change, err
}

// open opens a log file, or standard error if path is empty. A pipe must have a reader: open does not wait for one.
func (o *logOutput) open(path string) (*logDestination, error) {
	if path == "" {
		return &logDestination{Writer: o.stderr, pipe: isPipe(o.stderr)}, nil
	}
	f, err := direntry.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, err
	}
	return &logDestination{Writer: f, file: f, path: path, pipe: isPipe(f)}, nil
}

// checkLogFile returns the error with which open would fail. It creates nothing and opens no pipe, whose reader would
// notice.
func checkLogFile(path string) error {
	if path == "" {
		return nil
	}
	wrong := func(err error) error { return &fs.PathError{Op: "open", Path: path, Err: err} }
	if err := direntry.CheckLinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := checkNewFile(path); err != nil {
			return wrong(err)
		}
		return nil
	case err != nil:
		return wrong(errors.Unwrap(err))
	case info.IsDir():
		return wrong(syscall.EISDIR)
	case info.Mode()&fs.ModeSocket != 0:
		return wrong(syscall.ENXIO)
	}
	if err := syscall.Access(path, accessWrite); err != nil {
		return wrong(err)
	}
	return nil
}

// checkNewFile returns the reason why a file cannot be created, or nil.
func checkNewFile(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	var at *fs.PathError
	switch {
	case errors.As(err, &at):
		return at.Err
	case err != nil:
		return err
	case !info.IsDir():
		return syscall.ENOTDIR
	}
	return syscall.Access(dir, accessWrite|accessSearch)
}

// Modes of access(2).
const (
	accessSearch = 1
	accessWrite  = 2
)

// commit applies the change. Lines that are logged afterwards go to the new file. It cannot fail.
func (c *logChange) commit() {
	c.out.setFormat(c.spec)
	if c.next != nil {
		c.out.destination.Swap(c.next).close()
	}
}

// chown gives a regular log file to a user.
func (o *logOutput) chown(uid, gid int) error {
	f := o.destination.Load().file
	if f == nil {
		return nil
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return f.Chown(uid, gid)
}

// discard closes the file of a change that is not committed.
func (c *logChange) discard() { c.next.close() }

// reopen opens a log file that was renamed again under its name. Queued lines go to the new file.
func (o *logOutput) reopen() error {
	current := o.destination.Load()
	if current.file == nil {
		return nil
	}
	next, err := o.open(current.path)
	if err != nil {
		return err
	}
	o.destination.Swap(next).close()
	return nil
}

func (o *logOutput) setFormat(spec conf.Log) {
	var level slog.Level
	if level.UnmarshalText([]byte(spec.Level)) == nil {
		o.level.Set(level)
	}
	o.inJSON.Store(spec.Format == "json")
}

// logger returns the logger for everything but session records.
func (o *logOutput) logger() *slog.Logger { return slog.New(o.handler(&o.level)) }

func (o *logOutput) handler(level slog.Leveler) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	return formatHandler{inJSON: &o.inJSON, text: slog.NewTextHandler(o, opts), json: slog.NewJSONHandler(o, opts)}
}

// formatHandler writes each record in the format that is configured at the time.
type formatHandler struct {
	inJSON     *atomic.Bool
	text, json slog.Handler
}

func (f formatHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return f.text.Enabled(ctx, level)
}

func (f formatHandler) Handle(ctx context.Context, r slog.Record) error {
	if f.inJSON.Load() {
		return f.json.Handle(ctx, r)
	}
	return f.text.Handle(ctx, r)
}

func (f formatHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	f.text, f.json = f.text.WithAttrs(attrs), f.json.WithAttrs(attrs)
	return f
}

func (f formatHandler) WithGroup(name string) slog.Handler {
	f.text, f.json = f.text.WithGroup(name), f.json.WithGroup(name)
	return f
}

// close writes the queued lines, as far as the log takes them in time. Nothing may be logged afterwards.
func (o *logOutput) close() {
	close(o.queue)
	for deadline := time.Now().Add(logCloseTimeout); time.Now().Before(deadline); {
		left := o.queued.Load()
		select {
		case <-o.done:
			return
		case <-time.After(logStallTimeout):
			if o.queued.Load() == left { // the log is blocked
				return
			}
		}
	}
}

// errorLines returns the single errors of a joined error.
func errorLines(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
