package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"weir/internal/direntry"
)

var errNotRegular = errors.New("not a regular file")

// readRegular reads a regular file of at most MaxSize bytes.
func readRegular(at *direntry.Entry) ([]byte, error) {
	if err := checkRegular(at.Lstat()); err != nil {
		return nil, err
	}
	f, err := at.Open(os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkRegular(f.Stat()); err != nil { // it may have been replaced
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

func checkRegular(info fs.FileInfo, err error) error {
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNotRegular
	case info.Size() > MaxSize:
		return fmt.Errorf("larger than %d MB", MaxSize>>20)
	}
	return nil
}

// withoutPath removes the path from an error that is shown beside it.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// setAside renames a file to a free name with the time, whose path it returns.
func setAside(at *direntry.Entry) (string, error) {
	suffix := ".bad-" + time.Now().UTC().Format("20060102T150405Z")
	for n := 1; n < 100; n++ {
		to := at.Sibling(suffix)
		if n > 1 {
			to = at.Sibling(fmt.Sprintf("%s.%d", suffix, n))
		}
		if _, err := to.Lstat(); errors.Is(err, fs.ErrNotExist) {
			return to.Path(), at.Rename(to)
		}
	}
	return "", errors.New("too many such files")
}

// replace replaces the content of a file that is not a symbolic link. After a crash at any moment the file is complete and
// has the old content or the new one.
func replace(at *direntry.Entry, text []byte) error {
	if info, err := at.Lstat(); err == nil && !info.Mode().IsRegular() {
		return errNotRegular
	}
	next := at.Sibling(".new")
	_ = next.Remove() // left by a process that was killed; other errors show in Open
	f, err := next.Open(os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = next.Rename(at)
	}
	if err != nil {
		_ = next.Remove()
		return err
	}
	at.SyncDirectory()
	return nil
}
