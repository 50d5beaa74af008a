package engine

// The files of unix sockets: permissions and owners.

import (
	"io/fs"
	"os"

	"weir/conf"
	"weir/internal/privileges"
	"weir/l4"
)

// unixFile returns what the files of a listener's unix sockets are like. checkUnixFiles reports unknown users and groups.
func unixFile(ln *conf.Listener) l4.UnixFile {
	uid, _ := ownerID(ln.UnixOwner, privileges.LookupUID)
	gid, _ := ownerID(ln.UnixGroup, privileges.LookupGID)
	return l4.UnixFile{Mode: ln.UnixMode, UID: uid, GID: gid}
}

// ownerID returns the number of a user or group, or -1 for none and for an unknown one. It asks the host for names only:
// for no name, a look-up by the C library would connect to a name service.
func ownerID(name string, lookUp func(string) (int, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	return lookUp(name)
}

// checkUnixFiles returns an error for each owner or group of a unix socket that does not exist.
func checkUnixFiles(cfg *conf.Config) (errs conf.Errors) {
	for i := range cfg.Listeners {
		ln := &cfg.Listeners[i]
		if _, err := ownerID(ln.UnixOwner, privileges.LookupUID); err != nil {
			errs = append(errs, cfg.ListenerError(ln.Name, "unix_owner", err))
		}
		if _, err := ownerID(ln.UnixGroup, privileges.LookupGID); err != nil {
			errs = append(errs, cfg.ListenerError(ln.Name, "unix_group", err))
		}
	}
	return errs
}

// ListenUnix listens on a unix socket whose file has the given permissions. It replaces the file of a socket on which no
// process listens. A socket in use, or another kind of file, is an error.
func ListenUnix(path string, mode fs.FileMode) (*os.File, error) {
	return l4.ListenUnix(path, l4.UnixFile{Mode: mode, UID: -1, GID: -1})
}

// ChangeUnixFile sets the permissions and the owner of the file of a unix socket. It follows no symbolic link.
func ChangeUnixFile(path string, mode fs.FileMode, uid, gid int) error {
	return l4.ChangeUnixFile(path, l4.UnixFile{Mode: mode, UID: uid, GID: gid})
}
