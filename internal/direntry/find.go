package direntry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the limit of the kernel (MAXSYMLINKS).
const maxLinks = 40

// ErrForeignLink is wrapped by the errors of files that are reached through a link of another user.
var ErrForeignLink = errors.New("link of another user")

// Find returns the entry of a file. Symbolic links, that of the last name included, are followed if they belong to root or
// to the user of this process; another one is an error. The file need not exist, its directory must. Links of the kernel
// in /proc, such as /dev/stdout leads to, are left to Open.
func Find(path string) (*Entry, error) { return find(path, true) }

// FindNoFollow is Find for a file that may be a link itself.
func FindNoFollow(path string) (*Entry, error) { return find(path, false) }

// CheckLinks returns an error if Find would not follow the links in path.
func CheckLinks(path string) error {
	e, err := Find(path)
	if err == nil {
		e.Close()
	}
	if errors.Is(err, ErrForeignLink) || errors.Is(err, unix.ELOOP) {
		return err
	}
	return nil // opening the file reports others
}

// walk is the way to a file, one name at a time. The owner of a link is checked, and the link is read, at one descriptor:
// nothing can be replaced between the two.
type walk struct {
	path    string // as given
	at      string // path of dir, without links
	dir     int
	private bool     // no other user can replace a name in the directories so far
	rest    []string // the names that follow
	links   int
}

func find(path string, followLast bool) (e *Entry, err error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: path, dir: -1, private: true, rest: names(absolute)}
	if err := w.enter(unix.AT_FDCWD, "/"); err != nil {
		return nil, w.failed(err)
	}
	for e == nil && err == nil {
		e, err = w.step(followLast)
	}
	if err != nil {
		unix.Close(w.dir)
		return nil, w.failed(err)
	}
	return e, nil
}

// names returns the names in a path.
func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// step follows one name. It returns an entry at the end of the way.
func (w *walk) step(followLast bool) (*Entry, error) {
	switch {
	case len(w.rest) == 0: // the way ended with ".." or at the root
		return w.entry("."), nil
	case w.at == "/proc":
		e := w.entry(strings.Join(w.rest, "/"))
		e.proc = true
		return e, nil
	}
	name, last := w.rest[0], len(w.rest) == 1
	w.rest = w.rest[1:]
	switch {
	case name == "..":
		return nil, w.enter(w.dir, name)
	case last && !followLast:
		return w.entry(name), nil
	case !last:
		if err := w.enter(w.dir, name); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return nil, err
		}
	}
	fd, err := openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if last && errors.Is(err, unix.ENOENT) {
		return w.entry(name), nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	switch {
	case stat.Mode&unix.S_IFMT == unix.S_IFLNK:
		return nil, w.follow(fd, name, stat.Uid)
	case last:
		return w.entry(name), nil
	}
	return nil, unix.ENOTDIR
}

// enter continues in a directory. O_DIRECTORY makes the kernel mount what is mounted on demand.
func (w *walk) enter(dir int, name string) error {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	unix.Close(w.dir)
	w.dir, w.at = fd, filepath.Join("/", w.at, name)
	if name == "/" {
		w.at = name
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	writable := stat.Mode&0o022 != 0 && stat.Mode&unix.S_ISVTX == 0
	w.private = w.private && trusted(stat.Uid) && !writable
	return nil
}

// follow continues with the target of a link.
func (w *walk) follow(link int, name string, owner uint32) error {
	if !trusted(owner) {
		return fmt.Errorf("%s: %w: its owner is user %d, want root or the user of weir", filepath.Join(w.at, name), ErrForeignLink, owner)
	}
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", buffer)
	if err != nil {
		return err
	}
	target := string(buffer[:n])
	w.rest = append(names(target), w.rest...)
	if filepath.IsAbs(target) {
		return w.enter(unix.AT_FDCWD, "/")
	}
	return nil
}

// trusted reports whether the links and directories of a user cannot be used against this process.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// entry ends the way: the entry has the directory.
func (w *walk) entry(name string) *Entry {
	return &Entry{dir: w.dir, name: name, path: w.path, private: w.private}
}

func (w *walk) failed(err error) error {
	if errors.Is(err, ErrForeignLink) {
		return err
	}
	return &fs.PathError{Op: "open", Path: w.path, Err: err}
}
