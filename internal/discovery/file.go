package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// file is a provider that reads a file, and those that this one includes. The files are polled: a watch of the kernel would
// miss changes behind symbolic links, bind mounts and network file systems.
type file struct {
	path  string
	parse func(text []byte) (Answer, error)

	// readAll reads the answer and returns the versions of all files that it has read; nil = path alone.
	readAll func() (Answer, []version, error)

	// always makes each question read the files, although those that were read have not changed: another one may have appeared.
	always bool

	read []version // that the last answer was read from; nil = none
}

func newFile(path string, parse func([]byte) (Answer, error)) *file {
	return &file{path: path, parse: parse}
}

// version is the version of a file.
type version struct {
	path string
	info fs.FileInfo // nil = there is no such file
	// settled is false if the file was so young that another change may have the same time.
	settled bool
}

const (
	pollInterval = 250 * time.Millisecond // between two looks at the files
	fileTick     = 20 * time.Millisecond  // more than a tick of the clock that stamps files
	writingTime  = 500 * time.Millisecond // a younger file that cannot be parsed may be incomplete
	writingPause = 50 * time.Millisecond  // before it is read again
)

// Ask implements Provider.
func (f *file) Ask(ctx context.Context) (Answer, error) {
	if f.read != nil && !f.always && !changed(f.read) {
		return Answer{}, ErrUnchanged
	}
	for {
		a, read, err := f.once()
		if err == nil {
			f.read = read
			return a, nil
		}
		f.read = nil
		if !beingWritten(read) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, err
		case <-time.After(writingPause):
		}
	}
}

func (f *file) once() (Answer, []version, error) {
	if f.readAll != nil {
		return f.readAll()
	}
	text, v, err := readVersion(f.path)
	if err != nil {
		return Answer{}, []version{v}, err
	}
	a, err := f.parse(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.path, err)
	}
	return a, []version{v}, err
}

// Wait implements Notifier.
func (f *file) Wait(ctx context.Context) {
	was := f.read
	if was == nil {
		was = []version{versionOf(f.path)}
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if changed(was) {
				return
			}
		}
	}
}

// readVersion reads a file and returns its version. A file that changes meanwhile is an error, and its version is young.
func readVersion(path string) (text []byte, v version, err error) {
	v = versionOf(path)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, v, err
	case !info.Mode().IsRegular():
		return nil, v, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	case info.Size() > maxAnswer:
		return nil, v, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d MB", maxAnswer>>20)}
	}
	from, err := os.Open(path)
	if err != nil {
		return nil, v, err
	}
	defer from.Close()
	if text, err = io.ReadAll(io.LimitReader(from, maxAnswer)); err != nil {
		return nil, v, err
	}
	if changed([]version{{path: path, info: v.info, settled: true}}) {
		return nil, versionOf(path), &fs.PathError{Op: "read", Path: path, Err: errors.New("changed while being read")}
	}
	return text, v, nil
}

func versionOf(path string) version {
	info, err := os.Stat(path)
	if err != nil {
		return version{path: path, settled: true}
	}
	age := time.Since(info.ModTime())
	return version{path, info, age > fileTick || age < -fileTick}
}

// changed reports whether a file has, or may have, another version.
func changed(versions []version) bool {
	for _, v := range versions {
		info, err := os.Stat(v.path)
		switch {
		case !v.settled, (err != nil) != (v.info == nil):
			return true
		case err != nil:
		case !os.SameFile(info, v.info) || info.Size() != v.info.Size() || !info.ModTime().Equal(v.info.ModTime()):
			return true
		}
	}
	return false
}

// beingWritten reports whether a file is so young that it may be incomplete.
func beingWritten(versions []version) bool {
	for _, v := range versions {
		if v.info != nil {
			if age := time.Since(v.info.ModTime()); age >= 0 && age < writingTime {
				return true
			}
		}
	}
	return false
}
