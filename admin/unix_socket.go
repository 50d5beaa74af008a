package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"weir/conf"
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
	removeDirs, err := makeDirs(filepath.Dir(path))
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

// makeDirs creates a directory and its missing parents. remove removes those that it has created and that are empty.
func makeDirs(dir string) (remove func(), err error) {
	var created []string
	remove = func() {
		for _, d := range created {
			os.Remove(d) // fails if it is not empty
		}
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		created = append(created, d)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		remove()
		return nil, err
	}
	return remove, nil
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
	_, err := os.Lstat(l.path)
	return errors.Is(err, fs.ErrNotExist)
}

// unlinkUnlessReplaced returns a function that removes the current file at path, unless another file has replaced it.
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
