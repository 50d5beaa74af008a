package engine

// Running as another user than root (runtime.user): which files that user must own and be able to read.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"weir/conf"
	"weir/internal/privileges"
	"weir/l4"
)

// dropPrivileges switches to runtime.user once the first configuration is bound and before anything is served. The user
// becomes the owner of the listeners and of the files that weir writes. A file that a reload reads and the user cannot
// read is an error; for the configuration file it is a warning.
func (e *Engine) dropPrivileges(cfg *conf.Config, listeners map[string]*l4.Listener) error {
	name := cfg.Runtime.User
	if name == "" {
		return nil
	}
	wrap := func(err error) error { return fmt.Errorf("%s: runtime.user: %s: %w", cfg.File, name, err) }
	u, err := privileges.LookupUser(name)
	if err != nil {
		return wrap(err)
	}
	if os.Geteuid() == 0 {
		for _, ln := range listeners {
			if err := ln.Chown(u.UID, u.GID); err != nil {
				return wrap(err)
			}
		}
		for _, path := range writtenFiles(cfg) {
			if err := os.Lchown(path, u.UID, u.GID); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return wrap(err)
			}
		}
	}
	if err := privileges.Drop(u, usesClientSource(cfg)); err != nil {
		return wrap(err)
	}
	var unreadable []error
	for _, path := range reloadedFiles(cfg) {
		if err := checkReadable(path); err != nil {
			unreadable = append(unreadable, wrap(fmt.Errorf("cannot read a file that a reload needs: %w", err)))
		}
	}
	if err := checkReadable(cfg.File); err != nil {
		e.log.Warn("configuration not readable by runtime.user: reload will fail", "user", name, "error", err)
	}
	return errors.Join(unreadable...)
}

// checkUser returns an error if runtime.user does not exist.
func checkUser(cfg *conf.Config) conf.Errors {
	if cfg.Runtime.User == "" {
		return nil
	}
	if _, err := privileges.LookupUser(cfg.Runtime.User); err != nil {
		return conf.Errors{cfg.KeyError("runtime", "user", fmt.Errorf("%s: %w", cfg.Runtime.User, err))}
	}
	return nil
}

// writtenFiles returns the log file, the state file and the unix sockets of the API. A log or state file that is a
// symbolic link is left out: a user who can write to its directory could point it at any file.
func writtenFiles(cfg *conf.Config) []string {
	var paths []string
	for _, path := range []string{cfg.Log.File, cfg.Runtime.StateFile} {
		if info, err := os.Lstat(path); path != "" && err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	for _, at := range cfg.Admin.Listen {
		if at.Path != "" && at.Path[0] != '@' {
			paths = append(paths, at.Path)
		}
	}
	return paths
}

// reloadedFiles returns the secrets and certificates that every reload reads again.
func reloadedFiles(cfg *conf.Config) []string {
	var paths []string
	add := func(path string) {
		if path != "" {
			paths = append(paths, path)
		}
	}
	for _, path := range []string{cfg.Admin.TokenFile, cfg.Admin.ReadTokenFile, cfg.Admin.TLSCertFile, cfg.Admin.TLSKeyFile, cfg.Admin.TLSClientCAFile} {
		add(path)
	}
	for i := range cfg.Clusters {
		for _, check := range cfg.Clusters[i].Checks {
			add(check.Password.File)
			add(check.ServerKeyFile)
			add(check.TLS.CAFile)
			add(check.TLS.CertFile)
			add(check.TLS.KeyFile)
		}
	}
	return paths
}

func checkReadable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// usesClientSource reports whether a server is dialed from its clients' addresses.
func usesClientSource(cfg *conf.Config) bool {
	for _, c := range cfg.Clusters {
		for _, level := range c.Levels {
			for _, s := range level.Servers {
				if s.Source.Client {
					return true
				}
			}
		}
	}
	return false
}
