package privileges

// Files that a process with privileges opens in directories of other users. Such a user could replace a file by a link to
// any file of the system.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLinks is the limit of the kernel (MAXSYMLINKS).
const maxLinks = 40

// ErrForeignLink is wrapped by the errors of files that are reached through a link of another user.
var ErrForeignLink = errors.New("link of another user")

// ResolveLinks returns path without symbolic links. A link must belong to root or to the user of this process. The file
// need not exist. Paths in /proc, such as /dev/stdout leads to, are returned unresolved.
func ResolveLinks(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if resolved == "/proc" {
			return filepath.Join(append([]string{resolved, name}, rest...)...), nil
		}
		switch name {
		case "", ".":
			continue
		case "..":
			resolved = filepath.Dir(resolved)
			continue
		}
		next := filepath.Join(resolved, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil: // opening the file reports it
			return filepath.Join(append([]string{next}, rest...)...), nil
		case info.Mode()&fs.ModeSymlink == 0:
			resolved = next
			continue
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 && int(uid) != os.Geteuid() {
			return "", fmt.Errorf("%s: %w: its owner is user %d, want root or the user of weir", next, ErrForeignLink, uid)
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			resolved = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return resolved, nil
}

// OpenFile opens a file like os.OpenFile, without following links of other users. As root it opens no file that has
// several names: another user could have made one for a file of root.
func OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	path, err := ResolveLinks(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(path, "/proc/") {
		flag |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && os.Geteuid() == 0 && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Nlink > 1 {
		err = fmt.Errorf("%s: %w: the file has several names", path, ErrForeignLink)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ChownFile gives a regular file to a user, if it belongs to root or to that user and has one name. A file that does not
// exist is not an error.
func ChownFile(path string, uid, gid int) error {
	path, err := ResolveLinks(path)
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Nlink != 1 || stat.Uid != 0 && int(stat.Uid) != uid {
		return nil
	}
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}
