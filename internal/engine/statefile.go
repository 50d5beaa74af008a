package engine

// The file in which a weir leaves what it knows to its successor (runtime.state_file).

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weir/internal/state"
	"weir/internal/status"
)

// When the file is written. What an operator says is written before it is answered. Of the rest a killed weir has lost
// what it learnt in the last stateDelay + stateEvery, and the time that writing takes, at most.
const (
	stateDelay   = 100 * time.Millisecond // after a change, so that what belongs together is written together
	stateEvery   = 400 * time.Millisecond // between two times at least
	stateRefresh = time.Minute            // also without a change: the file tells until when weir was at work
	stateRetry   = 5 * time.Second        // at most, between two attempts that fail
	stateWait    = time.Second            // what an operator waits for the file at most: a disk that hangs holds up nobody
)

// stateFile is what the engine knows of its state file.
type stateFile struct {
	wake  chan struct{} // holds one: there is something new to write
	hurry chan struct{} // holds one: somebody waits for it to be written

	writing  sync.Mutex // held while the file is written; guards what follows
	released bool       // the file is another process's

	mu      sync.Mutex // guards what follows
	seen    status.StateFile
	waiting []chan struct{} // to be closed by the next attempt to write that begins, when it ends
}

// changed has the state written soon. It does not block.
func (e *Engine) changed() {
	select {
	case e.journal.wake <- struct{}{}:
	default:
	}
}

// settled returns when what was said so far is in the state file, or an attempt to write it has failed, which is told
// elsewhere. Those who wait at once share an attempt.
func (e *Engine) settled() {
	if e.running.Load().cfg.Runtime.StateFile == "" {
		return
	}
	done := make(chan struct{})
	e.journal.mu.Lock()
	e.journal.waiting = append(e.journal.waiting, done)
	e.journal.mu.Unlock()
	e.changed()
	select {
	case e.journal.hurry <- struct{}{}:
	default:
	}
	late := time.NewTimer(stateWait)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// leaveStateFile gives the state file up to another process, or takes it back. When it returns, this process writes it no
// more.
func (e *Engine) leaveStateFile(leave bool) {
	e.journal.writing.Lock()
	e.journal.released = leave
	e.journal.writing.Unlock()
	e.changed()
}

// readState returns what the state file holds, or nil. A file that cannot be understood is set aside, for people to look
// at, and weir starts without it.
func (e *Engine) readState(path string) *state.Snapshot {
	if path == "" {
		return nil
	}
	text, err := readRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var m state.Snapshot
		if m, err = state.Decode(text); err == nil {
			return &m
		}
	}
	args := []any{"error", fmt.Sprintf("%s:%v", path, bare(err))}
	if !errors.Is(err, errNotAFile) {
		if aside, failed := setAside(path); failed != nil {
			args = append(args, "cannot_set_aside", bare(failed))
		} else {
			args = append(args, "set_aside", aside)
			e.journal.seen.SetAside = aside
		}
	}
	e.log.Warn("state file: cannot be used", args...)
	return nil
}

var errNotAFile = errors.New("not a regular file")

// readRegular reads a file that is one, up to the size that a state may have.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errNotAFile
	case info.Size() > state.MaxSize:
		return nil, fmt.Errorf("larger than %d MB", state.MaxSize>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, state.MaxSize+1))
}

// bare leaves the path out of an error whose reader has it already.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// setAside renames a file to a name that nothing has yet.
func setAside(path string) (string, error) {
	name := path + ".bad-" + time.Now().UTC().Format("20060102T150405Z")
	for n := 1; n < 100; n++ {
		to := name
		if n > 1 {
			to = fmt.Sprintf("%s.%d", name, n)
		}
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, os.Rename(path, to)
		}
	}
	return "", errors.New("too many such files")
}

// writeState replaces the file: after a crash at any moment there is the old one or the new one, and it is whole.
func writeState(path string, text []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return errNotAFile
	}
	next := path + ".new"
	os.Remove(next) // of an earlier process that was killed; whatever else is wrong shows below
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every file system can
		dir.Close()
	}
	return nil
}

// saveState writes the state now. It tells the log when that begins to fail, when the reason changes, and when it works
// again.
func (e *Engine) saveState() (ok bool) {
	path := e.running.Load().cfg.Runtime.StateFile
	e.journal.writing.Lock()
	defer e.journal.writing.Unlock()
	e.journal.mu.Lock()
	waiting := e.journal.waiting
	e.journal.waiting = nil
	e.journal.mu.Unlock()
	defer func() {
		for _, w := range waiting {
			close(w)
		}
	}()
	if path == "" || e.journal.released {
		return true
	}
	text, err := state.Encode(e.Memory())
	if err == nil {
		err = writeState(path, text)
	}
	now := time.Now()
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	seen := &e.journal.seen
	if seen.File != path {
		*seen = status.StateFile{File: path, SetAside: seen.SetAside}
	}
	before := seen.LastError
	if err != nil {
		if seen.LastError = err.Error(); seen.LastError != before {
			e.log.Warn("state file: cannot be written, a restart would forget what was said at run time", "file", path, "error", seen.LastError)
		}
		return false
	}
	seen.LastError, seen.SavedAt = "", &now
	if before != "" {
		e.log.Info("state file: can be written again", "file", path)
	}
	return true
}

// stateStatus is nil where no state file is asked for.
func (e *Engine) stateStatus(path string) *status.StateFile {
	if path == "" {
		return nil
	}
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	seen := e.journal.seen
	if seen.File != path { // not tried yet
		seen = status.StateFile{File: path, SetAside: seen.SetAside}
	}
	return &seen
}

// keepState writes the state when something has changed, from time to time, and at the end.
func (e *Engine) keepState() {
	retry := stateDelay
	e.rest(time.Now().Add(stateRefresh), e.journal.wake)
	e.rest(time.Now().Add(stateDelay), e.journal.hurry)
	for e.ctx.Err() == nil {
		began := time.Now()
		if !e.saveState() {
			retry = min(2*retry, stateRetry)
			e.rest(began.Add(retry), e.journal.hurry)
			continue
		}
		retry = stateDelay
		if !e.rest(began.Add(stateEvery), e.journal.hurry) {
			e.rest(began.Add(stateRefresh), e.journal.wake)
			e.rest(time.Now().Add(stateDelay), e.journal.hurry)
		}
	}
	e.saveState()
}

// rest waits until a time, or until the engine ends or is woken, and tells whether it was woken.
func (e *Engine) rest(until time.Time, wake <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-wake:
		return true
	case <-e.ctx.Done():
		return false
	}
}
