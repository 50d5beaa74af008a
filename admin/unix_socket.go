package admin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"weir/conf"
)

// socketMode is the file mode of a unix socket.
const socketMode = 0o660

// listenUnix listens on a unix socket. It creates a missing directory and replaces a stale socket, as a killed process leaves
// it. A socket in use, or a file that is not a socket, is an error.
func (s *Server) listenUnix(at conf.Address) (*apiListener, error) {
	path := at.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	if err := s.removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	ln.SetUnlinkOnClose(false)
	l := &apiListener{address: at.String(), ln: ln, remove: unlinkUnlessReplaced(path)}
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		l.remove()
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return l, nil
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
