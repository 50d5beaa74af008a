package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"weir/conf"
	"weir/internal/direntry"
)

// socketMode is the file mode of a unix socket.
const socketMode = 0o660

// UnixSockets opens the unix sockets of the API.
type UnixSockets struct {
	// Listen listens on a socket whose file has the given permissions from the beginning. It replaces the file of a socket
	// on which no process listens. A socket in use, or another kind of file, is an error.
	Listen func(path string, mode fs.FileMode) (*os.File, error)
	// Change sets permissions and owner of a socket's file. It follows no symbolic link.
	Change func(path string, mode fs.FileMode, uid, gid int) error
}

// listenUnix listens on a unix socket. It creates missing directories, which disappear with the socket.
func (s *Server) listenUnix(at conf.Address) (*apiListener, error) {
	path := at.Path
	removeDirs, err := direntry.MakeDirectories(filepath.Dir(path), 0o755)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	f, err := s.sockets.Listen(path, socketMode)
	if err != nil {
		removeDirs()
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	defer f.Close()
	unlink := unlinkUnlessReplaced(path)
	remove := func() {
		unlink()
		removeDirs()
	}
	ln, err := net.FileListener(f)
	if err != nil {
		remove()
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return &apiListener{address: at.String(), path: path, ln: ln, remove: remove}, nil
}

// Chown gives the unix sockets that Prepare has opened to a user. Those of other processes are not changed.
func (c *Change) Chown(uid, gid int) error {
	for _, l := range c.opened {
		if l.path != "" && !l.inherited {
			if err := c.server.sockets.Change(l.path, socketMode, uid, gid); err != nil {
				return fmt.Errorf("listen on %s: %w", l.address, err)
			}
		}
	}
	return nil
}

// fileLost reports whether the file of a unix socket was removed: clients cannot reach it.
func (l *apiListener) fileLost() bool {
	if l.path == "" {
		return false
	}
	_, err := direntry.Lstat(l.path)
	return errors.Is(err, fs.ErrNotExist)
}

// unlinkUnlessReplaced returns a function that removes the current file at path, unless another file has replaced it.
func unlinkUnlessReplaced(path string) func() {
	own, err := direntry.Lstat(path)
	if path == "" || err != nil {
		return func() {}
	}
	return func() {
		if now, err := direntry.Lstat(path); err == nil && os.SameFile(own, now) {
			_ = direntry.Remove(path)
		}
	}
}
