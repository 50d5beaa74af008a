package direntry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Entry is a name in an open directory. A file with this name need not exist.
type Entry struct {
	dir     int    // descriptor, with O_PATH
	name    string // without a slash, except in /proc
	path    string // for errors
	private bool   // no other user can replace a directory on the way to the file
	proc    bool   // the name is a path in /proc, where links of the kernel are followed
}

// Close closes the directory.
func (e *Entry) Close() { unix.Close(e.dir) }

// Sibling returns the entry of the same directory whose name has a suffix more. It is valid until e is closed, and is not
// closed itself.
func (e *Entry) Sibling(suffix string) *Entry {
	s := *e
	s.name, s.path = e.name+suffix, e.path+suffix
	return &s
}

// Path returns the path of the file for messages.
func (e *Entry) Path() string { return e.path }

func (e *Entry) failed(op string, err error) error {
	return &fs.PathError{Op: op, Path: e.path, Err: err}
}

// Open opens the file like os.OpenFile. A link under its name is an error. To read a pipe, Open does not wait for a writer.
func (e *Entry) Open(flag int, mode fs.FileMode) (*os.File, error) {
	if !e.proc {
		flag |= unix.O_NOFOLLOW
	}
	if flag&(unix.O_ACCMODE|unix.O_PATH) == unix.O_RDONLY {
		flag |= unix.O_NONBLOCK
	}
	fd, err := openat(e.dir, e.name, flag, uint32(mode.Perm()))
	if err != nil {
		return nil, e.failed("open", err)
	}
	return os.NewFile(uintptr(fd), e.path), nil
}

// Lstat describes the file. It does not follow a link.
func (e *Entry) Lstat() (fs.FileInfo, error) {
	f, err := e.Open(unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// Remove removes the file, if it is not a directory.
func (e *Entry) Remove() error {
	if err := unix.Unlinkat(e.dir, e.name, 0); err != nil {
		return e.failed("remove", err)
	}
	return nil
}

// Rename gives the file the name of another entry of the same directory, and replaces the file with that name.
func (e *Entry) Rename(to *Entry) error {
	if err := unix.Renameat(e.dir, e.name, to.dir, to.name); err != nil {
		return &os.LinkError{Op: "rename", Old: e.path, New: to.path, Err: err}
	}
	return nil
}

// SyncDirectory writes the directory to the disk, if its file system supports that.
func (e *Entry) SyncDirectory() {
	if fd, err := openat(e.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
		_ = unix.Fsync(fd)
		unix.Close(fd)
	}
}

// SocketPath returns the path with which the file of a unix socket is bound and reached: the given one, or one through the
// descriptor of the directory if other users could replace a directory on the way. It is valid until e is closed.
func (e *Entry) SocketPath() string {
	if e.private {
		return e.path
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", e.dir, e.name)
}

// checkNames returns an error if an open regular file is not the one with the name of the entry, or has other names.
func (e *Entry) checkNames(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	named, err := e.Lstat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, named) || named.Sys().(*syscall.Stat_t).Nlink > 1 {
		return fmt.Errorf("%s: %w: the file has several names", e.path, ErrForeignLink)
	}
	return nil
}

// OpenFile opens a file like os.OpenFile, without following links of other users. As root it opens no file that has
// several names: another user could have made one for a file of root.
func OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	e, err := Find(path)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	f, err := e.Open(flag, mode)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 && !e.proc {
		if err := e.checkNames(f); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// Chown gives a regular file to a user, if it belongs to root or to that user and has one name. A file that does not exist
// is not an error.
func Chown(path string, uid, gid int) error {
	e, err := Find(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer e.Close()
	f, err := e.Open(unix.O_PATH|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; !info.Mode().IsRegular() || owner != 0 && int(owner) != uid || e.checkNames(f) != nil {
		return nil
	}
	if err := unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return e.failed("chown", err)
	}
	return nil
}

// Lstat is os.Lstat without following links of other users.
func Lstat(path string) (fs.FileInfo, error) {
	e, err := FindNoFollow(path)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.Lstat()
}

// Remove removes a file that is not a directory, without following links of other users.
func Remove(path string) error {
	e, err := FindNoFollow(path)
	if err != nil {
		return err
	}
	defer e.Close()
	return e.Remove()
}

// MakeDirectories creates a directory and its missing parents, without following links of other users. remove removes
// those that it has created and that are empty.
func MakeDirectories(dir string, mode fs.FileMode) (remove func(), err error) {
	var created []string
	remove = func() {
		for _, d := range created {
			if e, err := FindNoFollow(d); err == nil {
				_ = unix.Unlinkat(e.dir, e.name, unix.AT_REMOVEDIR) // fails if it is not empty
				e.Close()
			}
		}
	}
	missing := []string{}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		e, err := FindNoFollow(missing[i])
		if err == nil {
			err = unix.Mkdirat(e.dir, e.name, uint32(mode.Perm()))
			if err != nil {
				err = e.failed("mkdir", err)
			}
			e.Close()
		}
		if err != nil {
			if errors.Is(err, fs.ErrExist) { // another process was faster
				continue
			}
			remove()
			return nil, err
		}
		created = append([]string{missing[i]}, created...)
	}
	return remove, nil
}

func openat(dir int, name string, flag int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flag|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
