package l4

// The files of unix listen sockets.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// RemoveStaleSocket removes a socket file on which no process listens, as a killed process leaves it. A socket in use, or
// another kind of file, is an error and stays.
func RemoveStaleSocket(path string) error {
	if path[0] == '@' {
		return nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%w: the file is not a socket", syscall.EEXIST)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func (ln *Listener) hasFile() bool { return ln.at.Path != "" && ln.at.Path[0] != '@' }

// identifyFile remembers which file the listener's socket has.
func (ln *Listener) identifyFile() {
	if ln.hasFile() {
		ln.file, _ = os.Lstat(ln.at.Path)
	}
}

// removeFile removes the file of a unix socket, unless another file has replaced it.
func (ln *Listener) removeFile() {
	if ln.file == nil {
		return
	}
	if now, err := os.Lstat(ln.at.Path); err == nil && os.SameFile(now, ln.file) {
		os.Remove(ln.at.Path)
	}
}

// KeepsFile reports whether the file of a unix socket stays when the listener stops: another process has created it.
func (ln *Listener) KeepsFile() bool { return ln.hasFile() && ln.file == nil }

// KeepFile leaves the file of a unix socket in place when the listener stops. It must be called before Start.
func (ln *Listener) KeepFile() { ln.file = nil }

// Chown gives a listener that is not started to another user: the sockets, so that they share their port with those that
// the user binds later (SO_REUSEPORT compares owners), and the file of a unix socket.
func (ln *Listener) Chown(uid, gid int) error {
	for _, fd := range ln.fds {
		if err := unix.Fchown(int(fd), uid, gid); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
	}
	if ln.file != nil {
		if err := os.Lchown(ln.at.Path, uid, gid); err != nil {
			return fmt.Errorf("listen on %s: %w", ln.at, err)
		}
		ln.identifyFile()
	}
	return nil
}
