package engine

// Running as somebody else than root: who that is, what must be theirs, and what they must be able to read.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"

	"weir/conf"
	"weir/l4"
)

// become gives up root's rights, once the first configuration is bound and before anything is served. What weir writes
// and listens at becomes the user's, and what a reload will read must be readable.
func (e *Engine) become(cfg *conf.Config, listeners map[string]*l4.Listener) error {
	name := cfg.Runtime.User
	if name == "" {
		return nil
	}
	wrong := func(err error) error { return fmt.Errorf("%s: runtime.user: %s: %w", cfg.File, name, err) }
	who, err := identityOf(name)
	if err != nil {
		return wrong(err)
	}
	if os.Geteuid() == 0 {
		for _, ln := range listeners {
			if err := ln.GiveTo(who); err != nil {
				return wrong(err)
			}
		}
		for _, path := range filesOf(cfg) {
			if err := os.Lchown(path, who.UID, who.GID); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return wrong(err)
			}
		}
	}
	if err := l4.Become(who, isTransparent(cfg)); err != nil {
		return wrong(err)
	}
	var unreadable []error
	for _, path := range secretsOf(cfg) {
		if err := readable(path); err != nil {
			unreadable = append(unreadable, wrong(fmt.Errorf("cannot read what a reload has to read: %w", err)))
		}
	}
	if err := readable(cfg.File); err != nil {
		e.log.Warn("runtime.user: no reload will be possible", "user", name, "error", err)
	}
	return errors.Join(unreadable...)
}

// checkUser tells whether the user of a configuration exists.
func checkUser(cfg *conf.Config) conf.Errors {
	if cfg.Runtime.User == "" {
		return nil
	}
	if _, err := identityOf(cfg.Runtime.User); err != nil {
		return conf.Errors{cfg.KeyError("runtime", "user", fmt.Errorf("%s: %w", cfg.Runtime.User, err))}
	}
	return nil
}

// identityOf finds a user by name or number, with an optional group after a colon.
func identityOf(text string) (l4.Identity, error) {
	name, group, grouped := strings.Cut(text, ":")
	who := l4.Identity{GID: -1}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			if who.UID, err = strconv.Atoi(name); err != nil {
				return who, errors.New("there is no such user")
			}
		}
	}
	if u != nil {
		who.UID, _ = strconv.Atoi(u.Uid)
		who.GID, _ = strconv.Atoi(u.Gid)
		ids, err := u.GroupIds()
		if err != nil {
			return who, err
		}
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil {
				who.Groups = append(who.Groups, n)
			}
		}
	}
	if grouped {
		g, err := user.LookupGroup(group)
		if err == nil {
			group = g.Gid
		}
		if who.GID, err = strconv.Atoi(group); err != nil {
			return who, fmt.Errorf("there is no group %s", group)
		}
	}
	if who.GID < 0 {
		return who, fmt.Errorf("a number without a name needs a group too, such as \"%s:%[1]s\"", name)
	}
	return who, nil
}

// filesOf are the files that weir writes to or listens at, besides those of its listeners. What is a link stays whose it is:
// whoever may write to the directory could make it lead anywhere.
func filesOf(cfg *conf.Config) []string {
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

// secretsOf are the files that a reload reads again.
func secretsOf(cfg *conf.Config) []string {
	var paths []string
	add := func(path string) {
		if path != "" {
			paths = append(paths, path)
		}
	}
	add(cfg.Admin.TokenFile)
	for i := range cfg.Clusters {
		for _, check := range cfg.Clusters[i].Checks {
			add(check.Password.File)
			add(check.TLS.CAFile)
		}
	}
	return paths
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func isTransparent(cfg *conf.Config) bool {
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
