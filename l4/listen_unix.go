package l4

// The files of unix listen sockets.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"weir/internal/direntry"
)

// RemoveStaleSocket removes a socket file on which no process listens, as a killed process leaves it. A socket in use, or
// another kind of file, is an error and stays.
func RemoveStaleSocket(path string) error {
	if path[0] == '@' {
		return nil
	}
	at, err := direntry.FindNoFollow(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // binding reports it
	}
	if err != nil {
		return err
	}
	defer at.Close()
	info, err := at.Lstat()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%w: the file is not a socket", syscall.EEXIST)
	}
	conn, err := net.Dial("unix", at.SocketPath())
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return at.Remove()
}

// UnixFile describes the file of a unix listen socket.
type UnixFile struct {
	Mode     os.FileMode // permissions
	UID, GID int         // owner; -1 = that of the process
}

// bindUnix returns a socket that is bound to a path, with a file as described. The file never has more permissions than
// that. An abstract name has no file.
func bindUnix(path string, file UnixFile) (int32, error) {
	if path[0] == '@' {
		return bindUnixName(path, file)
	}
	at, err := direntry.FindNoFollow(path)
	if at, ok := errors.AsType[*os.PathError](err); ok {
		return -1, at.Err // the caller names the address
	}
	if err != nil {
		return -1, err
	}
	defer at.Close()
	fd, err := bindUnixName(at.SocketPath(), file)
	if err != nil {
		return -1, err
	}
	if err := file.applyTo(at); err != nil {
		_ = at.Remove()
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

func bindUnixName(name string, file UnixFile) (int32, error) {
	var to rawAddr
	if !to.setPath(name) {
		return -1, syscall.ENAMETOOLONG
	}
	fd, e := openSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if e != 0 {
		return -1, e
	}
	err := unix.Fchmod(int(fd), uint32(file.Mode.Perm())) // bind(2) takes the mode from the socket, less the umask
	if err == nil {
		if e := bindSocket(fd, &to); e != 0 {
			err = e
		}
	}
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// apply sets owner and permissions of a socket's file. It never follows a symbolic link of another user and changes no file
// that is not a socket.
func (f UnixFile) apply(path string) error {
	at, err := direntry.FindNoFollow(path)
	if err != nil {
		return err
	}
	defer at.Close()
	return f.applyTo(at)
}

func (f UnixFile) applyTo(at *direntry.Entry) error {
	file, err := at.Open(unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	fd := int(file.Fd())
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return os.NewSyscallError("stat", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%w: the file is not a socket", syscall.EEXIST)
	}
	if f.UID >= 0 && uint32(f.UID) != stat.Uid || f.GID >= 0 && uint32(f.GID) != stat.Gid {
		if err := unix.Fchownat(fd, "", f.UID, f.GID, unix.AT_EMPTY_PATH); err != nil {
			return os.NewSyscallError("chown", err)
		}
	}
	if stat.Mode&0o777 != uint32(f.Mode.Perm()) {
		return os.NewSyscallError("chmod", unix.Fchmodat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), uint32(f.Mode.Perm()), 0))
	}
	return nil
}

// ListenUnix listens on a unix socket with a file as described. A stale socket is replaced.
func ListenUnix(path string, file UnixFile) (*os.File, error) {
	if err := RemoveStaleSocket(path); err != nil {
		return nil, err
	}
	fd, err := bindUnix(path, file)
	if err != nil {
		return nil, err
	}
	if e := listenFD(fd, unix.SOMAXCONN); e != 0 {
		closeFD(fd)
		_ = direntry.Remove(path)
		return nil, e
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ChangeUnixFile changes owner and permissions of the file of a unix socket.
func ChangeUnixFile(path string, file UnixFile) error { return file.apply(path) }

func (ln *Listener) hasFile() bool { return ln.at.Path != "" && ln.at.Path[0] != '@' }

// identifyFile remembers which file the listener's socket has.
func (ln *Listener) identifyFile() {
	if ln.hasFile() {
		ln.file, _ = direntry.Lstat(ln.at.Path)
	}
}

// removeFile removes the file of a unix socket, unless another file has replaced it.
func (ln *Listener) removeFile() {
	if ln.file == nil {
		return
	}
	if now, err := direntry.Lstat(ln.at.Path); err == nil && os.SameFile(now, ln.file) {
		_ = direntry.Remove(ln.at.Path)
	}
}

// KeepsFile reports whether the file of a unix socket stays when the listener stops: another process has created it.
func (ln *Listener) KeepsFile() bool { return ln.hasFile() && ln.file == nil }

// KeepFile leaves the file of a unix socket in place when the listener stops. It must be called before Start.
func (ln *Listener) KeepFile() { ln.file = nil }

// Chown gives a listener that is not started to another user: the sockets, so that they share their port with those that
// the user binds later (SO_REUSEPORT compares owners), and the file of a unix socket, unless its settings name an owner.
func (ln *Listener) Chown(uid, gid int) error {
	for _, fd := range ln.fds {
		if err := unix.Fchown(int(fd), uid, gid); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	if file := ln.set.Load().UnixFile; ln.file != nil {
		if file.UID < 0 {
			file.UID = uid
		}
		if file.GID < 0 {
			file.GID = gid
		}
		if err := file.apply(ln.at.Path); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	return nil
}

// FileLost reports whether the file of a unix socket was removed or replaced: clients cannot reach the socket.
func (ln *Listener) FileLost() bool {
	if ln.file == nil {
		return false
	}
	now, err := direntry.Lstat(ln.at.Path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(now, ln.file)
}

// ReplaceSocket makes the socket of next, which was not started, that of the listener. The clients that are queued at the
// old socket are accepted.
func (ln *Listener) ReplaceSocket(next *Listener) {
	ln.plane.runOnLoops(func(l *loop) { l.closeListenSockets(ln) })
	ln.fds, ln.file, ln.inherited = next.fds, next.file, false
	next.fds = nil
	for i, fd := range ln.fds {
		ln.plane.loops[i%len(ln.plane.loops)].post(message{do: func(l *loop) { l.addListenSocket(ln, fd) }})
	}
}
