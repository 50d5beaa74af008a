package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// reader reads a file that another process may be writing.
type reader struct {
	limit int64         // maximum size of a file, in bytes
	tries int           // how often a file that keeps changing is read
	pause time.Duration // between two tries
	// settle is the age at which a change is certainly visible in the file's time: kernels stamp files with a clock
	// that ticks every 1 to 10 ms. A younger file is checked again after this time.
	settle time.Duration
	files  *Files            // records the versions that are read; nil = not needed
	texts  map[string][]byte // the files of a request, by path; nil = files of this host
	during func()            // called while a file is open, by tests
}

// clockTick is longer than a tick of the clock that stamps files.
const clockTick = 10 * time.Millisecond

// rereadPause is the pause before a file that keeps changing is read again.
const rereadPause = 20 * time.Millisecond

func newReader() reader {
	return reader{limit: MaxFileSize, tries: 20, pause: rereadPause, settle: clockTick}
}

// read returns the content of a file whose size and time did not change while it was read. Errors do not contain the
// path. A pipe or device is read once, if pipes are allowed.
func (r reader) read(path string, pipes bool) ([]byte, error) {
	if r.texts != nil {
		return r.text(path)
	}
	for range r.tries {
		text, stable, err := r.once(path, pipes)
		if err != nil {
			return nil, errorReason(err)
		}
		if stable {
			return text, nil
		}
		time.Sleep(r.pause)
	}
	return nil, fmt.Errorf("changed while being read, %d times", r.tries)
}

var (
	errDirectory = errors.New("is a directory, want a file")
	errSpecial   = errors.New("not a regular file")
)

// ofKernel reports whether a file or directory is one of /proc or /sys. Such a file has no size and may block its reader.
func ofKernel(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	return err == nil && (strings.HasPrefix(real+"/", "/proc/") || strings.HasPrefix(real+"/", "/sys/"))
}

func (r reader) once(path string, pipes bool) (text []byte, stable bool, err error) {
	info, err := os.Stat(path)
	if r.files != nil && (err != nil || info.Mode().IsRegular()) {
		r.files.record(path, info)
	}
	switch {
	case err != nil:
		return nil, false, err
	case info.IsDir():
		return nil, false, errDirectory
	case !pipes && (!info.Mode().IsRegular() || ofKernel(path)):
		return nil, false, errSpecial
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if before.IsDir() {
		return nil, false, errDirectory
	}
	tooLarge := fmt.Errorf("larger than %d MB", r.limit>>20)
	if before.Mode().IsRegular() {
		if before.Size() > r.limit {
			return nil, false, tooLarge
		}
		// A file of /proc has no size and may block its reader; one that is being written is read again when it has some.
		text, err = io.ReadAll(io.LimitReader(f, before.Size()))
	} else {
		text, err = io.ReadAll(io.LimitReader(f, r.limit+1))
	}
	if err != nil {
		return nil, false, err
	}
	if int64(len(text)) > r.limit {
		return nil, false, tooLarge
	}
	if !before.Mode().IsRegular() {
		return text, true, nil
	}
	if int64(len(text)) != before.Size() { // it has become shorter, or is a file of /sys
		return nil, false, nil
	}
	if r.during != nil {
		r.during()
	}
	if age := time.Since(before.ModTime()); age >= 0 && age < r.settle && len(text) > 0 {
		time.Sleep(r.settle)
	}
	after, err := os.Stat(path) // by name: a rename over it is a change too
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // it is being replaced
	}
	if err != nil {
		return nil, false, err
	}
	return text, sameVersion(before, after), nil
}

// ReadFile reads a file that a configuration names, such as one with a password. It must be a regular file outside of /proc
// and /sys, which cannot block, of at most limit bytes. A byte order mark at its start is not part of the text.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || ofKernel(path)) {
		err = &fs.PathError{Op: "open", Path: path, Err: errSpecial}
	}
	if err != nil {
		return nil, asOpenError(err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", limit)}
	}
	return bytes.TrimPrefix(text, []byte("\ufeff")), err
}

// asOpenError changes the operation in an error of os.Stat to "open".
func asOpenError(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "open", Path: at.Path, Err: at.Err}
	}
	return err
}

// errorReason removes the operation and the path from an error of package os.
func errorReason(err error) error {
	var perr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such file")
	case errors.As(err, &perr):
		return perr.Err
	}
	return err
}
