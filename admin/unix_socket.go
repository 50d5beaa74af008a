package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"weir/conf"
)

// socketMode is who may use a unix socket: its owner and group.
const socketMode = 0o660

// listenUnix makes a unix socket, and its directory if that is missing. It takes the place of a socket that nobody listens
// at any more, as a killed process leaves it; one that is alive, or a file that is no socket, is left alone.
func listenUnix(at conf.Address) (*apiListener, error) {
	path := at.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	ln.SetUnlinkOnClose(false)
	d := &apiListener{address: at.String(), ln: ln, remove: unlinkUnlessReplaced(path)}
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		d.remove()
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return d, nil
}

// unlinkUnlessReplaced removes the file that a unix socket has now, unless another has taken its place.
func unlinkUnlessReplaced(path string) func() {
	own, err := os.Lstat(path)
	if path == "" || err != nil {
		return func() {}
	}
	return func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) {
			os.Remove(path)
		}
	}
}

func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
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
