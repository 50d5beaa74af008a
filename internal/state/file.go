package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"weir/internal/direntry"
)

// When the file is written. A killed process has lost at most the changes of the last writeDelay + writeInterval and the
// time of one write. Changes by an operator are written before they are answered; see Sync.
const (
	writeDelay      = 100 * time.Millisecond // after a change, so that related changes share a write
	writeInterval   = 400 * time.Millisecond // least time between two writes
	refreshInterval = time.Minute            // without a change: saved_at tells how long the process was running
	maxRetryDelay   = 5 * time.Second        // between attempts that fail
	syncTimeout     = time.Second            // a disk that hangs must not block operators
)

// FileOptions are the parameters of a File. The functions are called by any goroutine.
type FileOptions struct {
	Path     func() string   // of the file now; "" = none
	Snapshot func() Snapshot // the state to write
	Log      *slog.Logger
}

// File keeps a file up to date with the state of a process. Its methods may be called by any goroutine.
type File struct {
	o     FileOptions
	dirty chan struct{} // capacity 1: there is something to write
	now   chan struct{} // capacity 1: Sync waits for a write

	writeMu  sync.Mutex // held during a write; guards the fields below
	released bool       // another process owns the file
	checked  string     // path of the file that was read or written last

	mu      sync.Mutex // guards the fields below
	status  FileStatus
	waiting []chan struct{} // of Sync; closed after the next write that starts
}

// FileStatus is the outcome of reads and writes.
type FileStatus struct {
	File      string
	SavedAt   *time.Time // last write by this process; nil = none yet
	LastError string     // of the last write; "" = it succeeded
	SetAside  string     // new name of a file that could not be read at the start
}

// NewFile returns a File. Nothing is read or written yet.
func NewFile(o FileOptions) *File {
	return &File{o: o, dirty: make(chan struct{}, 1), now: make(chan struct{}, 1)}
}

// Load returns the content of the file at path, or nil if there is none. A file that cannot be decoded is logged and
// renamed, and nil is returned.
func (f *File) Load(path string) *Snapshot {
	if path == "" {
		return nil
	}
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	s, _ := f.read(path)
	f.checked = path
	return s
}

// Peek returns the content of the file at path, or nil if it is missing or cannot be decoded. It changes nothing.
func Peek(path string) *Snapshot {
	at, err := direntry.Find(path)
	if err != nil {
		return nil
	}
	defer at.Close()
	text, err := readRegular(at)
	if err != nil {
		return nil
	}
	s, err := Decode(text)
	if err != nil {
		return nil
	}
	return &s
}

// read returns the content of the file at path, or nil if it is missing or cannot be decoded. The latter is logged and renamed; if it
// should be renamed and cannot, read returns an error. writeMu is held.
func (f *File) read(path string) (*Snapshot, error) {
	at, err := direntry.Find(path)
	var text []byte
	if err == nil {
		defer at.Close()
		text, err = readRegular(at)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		var s Snapshot
		if s, err = Decode(text); err == nil {
			return &s, nil
		}
	}
	args := []any{"error", fmt.Sprintf("%s:%v", path, withoutPath(err))}
	var kept error
	if at != nil && !errors.Is(err, errNotRegular) {
		var name string
		if name, kept = setAside(at); kept != nil {
			args = append(args, "cannot_set_aside", withoutPath(kept))
		} else {
			args = append(args, "set_aside", name)
			f.mu.Lock()
			f.status.SetAside = name
			f.mu.Unlock()
		}
	}
	f.o.Log.Warn("state file: cannot be used", args...)
	return nil, kept
}

// Changed schedules a write. It does not block.
func (f *File) Changed() { signal(f.dirty) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sync returns when the changes made so far are in the file, a write has failed, or a second has passed. Concurrent calls
// share a write.
func (f *File) Sync() {
	if f.o.Path() == "" {
		return
	}
	done := make(chan struct{})
	f.mu.Lock()
	f.waiting = append(f.waiting, done)
	f.mu.Unlock()
	f.Changed()
	signal(f.now)
	timeout := time.NewTimer(syncTimeout)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}

// Release gives the file up to another process. When it returns, this process writes it no more.
func (f *File) Release() { f.setReleased(true) }

// Reclaim takes the file back after Release.
func (f *File) Reclaim() { f.setReleased(false) }

func (f *File) setReleased(released bool) {
	f.writeMu.Lock()
	f.released = released
	f.writeMu.Unlock()
	f.Changed()
}

// Save writes the file and reports whether that succeeded. It logs the first failure, each new reason, and recovery.
func (f *File) Save() (ok bool) {
	path := f.o.Path()
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	f.mu.Lock()
	waiting := f.waiting
	f.waiting = nil
	f.mu.Unlock()
	defer func() {
		for _, w := range waiting {
			close(w)
		}
	}()
	if path == "" || f.released {
		return true
	}
	err := f.write(path)
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = f.statusOf(path)
	before := f.status.LastError
	if err != nil {
		if f.status.LastError = err.Error(); f.status.LastError != before {
			f.o.Log.Warn("state file: cannot be written", "file", path, "error", f.status.LastError)
		}
		return false
	}
	f.status.LastError, f.status.SavedAt = "", &now
	if before != "" {
		f.o.Log.Info("state file: writable again", "file", path)
	}
	return true
}

// write writes the file. A file that is written for the first time and holds something else is set aside. writeMu is held.
func (f *File) write(path string) error {
	if info, err := os.Stat(path); path != f.checked && (err != nil || info.Size() > 0) {
		if _, err := f.read(path); err != nil {
			return err
		}
	}
	f.checked = path
	text, err := Encode(f.o.Snapshot())
	if err != nil {
		return err
	}
	at, err := direntry.Find(path)
	if err != nil {
		return err
	}
	defer at.Close()
	return replace(at, text)
}

// Status returns the outcome of reads and writes of the file at path.
func (f *File) Status(path string) FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.statusOf(path)
}

// statusOf returns the status, emptied if path was not written yet. mu is held.
func (f *File) statusOf(path string) FileStatus {
	if f.status.File != path {
		return FileStatus{File: path, SetAside: f.status.SetAside}
	}
	return f.status
}

// Run writes the file after changes, once a minute, and when ctx ends.
func (f *File) Run(ctx context.Context) {
	retry := writeDelay
	wait(ctx, time.Now().Add(refreshInterval), f.dirty)
	wait(ctx, time.Now().Add(writeDelay), f.now)
	for ctx.Err() == nil {
		began := time.Now()
		if !f.Save() {
			retry = min(2*retry, maxRetryDelay)
			wait(ctx, began.Add(retry), f.now)
			continue
		}
		retry = writeDelay
		if !wait(ctx, began.Add(writeInterval), f.now) {
			wait(ctx, began.Add(refreshInterval), f.dirty)
			wait(ctx, time.Now().Add(writeDelay), f.now)
		}
	}
	f.Save()
}

// wait waits until a time, a signal or the end of ctx, and reports whether there was a signal.
func wait(ctx context.Context, until time.Time, signal <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-signal:
		return true
	case <-ctx.Done():
		return false
	}
}
