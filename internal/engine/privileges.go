package engine

// Running as another user than root (runtime.user): which files that user must own and be able to read.

import (
	"errors"
	"fmt"
	"os"

	"weir/conf"
	"weir/internal/direntry"
	"weir/internal/privileges"
	"weir/l4"
)

// dropPrivileges switches to runtime.user once the first configuration is bound and before anything is served. The user
// becomes the owner of the listeners and of the files that weir writes. A file that a reload reads and the user cannot
// read is an error; for the configuration file it is a warning. Without runtime.user only the capabilities are limited.
func (e *Engine) dropPrivileges(cfg *conf.Config, listeners map[string]*l4.Listener) error {
	name := cfg.Runtime.User
	if name == "" {
		if err := privileges.Limit(); err != nil {
			return fmt.Errorf("cannot limit capabilities: %w", err)
		}
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
		if e.chown != nil {
			if err := e.chown(u.UID, u.GID); err != nil {
				return wrap(err)
			}
		}
		if path := cfg.Runtime.StateFile; path != "" {
			if err := direntry.Chown(path, u.UID, u.GID); err != nil {
				e.log.Warn("state file not given to runtime.user", "user", name, "error", err)
			}
		}
	}
	if err := privileges.Drop(u, privileges.Needs{ClientSource: usesClientSource(cfg), Addresses: len(cfg.VIPs) > 0, Promotion: promotes(cfg)}); err != nil {
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

// Harden closes the descriptors that this process has inherited, except those in keep, and keeps it and its children from
// gaining privileges.
func Harden(keep ...int) error {
	privileges.CloseInherited(keep...)
	return privileges.NoNewPrivileges()
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
	for c, i := range levelsWithProvider(cfg) {
		for _, path := range []string{c.Levels[i].Discover.TokenFile, c.Levels[i].Discover.TLS.CAFile, c.Levels[i].Discover.TLS.CertFile, c.Levels[i].Discover.TLS.KeyFile} {
			add(path)
		}
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
	for _, s := range cfg.Servers() {
		if s.Source.Client {
			return true
		}
	}
	return false
}
