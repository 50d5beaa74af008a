package conf

// What only a host can tell whether it is right, such as a password file that has to be there: where in the
// configuration it stands, so that what is found out later has its place in the file as every other mistake.

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// keyID is a key that something on the host must go with.
type keyID struct {
	cluster string // of a check; "" for what is no check
	name    string // the check's id, the hook's name, or the table's
	key     string
}

// hostKeys are the keys of checks and hooks whose values name something on the host.
var hostKeys = [...]string{"password_file", "password_env", "tls_ca_file", "command", "exec"}

// positions tells where the keys stand that the files have.
func (all *draft) positions() map[keyID]Diagnostic {
	found := map[keyID]Diagnostic{}
	note := func(cluster, name, key string, table *tree.Node) {
		if table == nil {
			return
		}
		if n := table.Get(key); n != nil {
			found[keyID{cluster, name, key}] = n.File.Diagnostic(n.Offset, n.Path(), "")
		}
	}
	for _, root := range all.roots {
		note("", "runtime", "user", root.Get("runtime"))
		note("", "runtime", "loops", root.Get("runtime"))
		note("", "log", "file", root.Get("log"))
		note("", "admin", "token_file", root.Get("admin"))
		note("", "admin", "listen", root.Get("admin"))
	}
	for _, l := range all.listeners {
		note("", "listener "+l.Name, "address", l.node)
	}
	for _, c := range all.clusters {
		for _, l := range c.levels {
			for _, s := range l.servers {
				if host := (keyID{"", "host " + s.Address.Host, "address"}); s.Address.Host != "" && found[host].Line == 0 {
					n := s.keyOrServer("address")
					found[host] = n.File.Diagnostic(n.Offset, strings.TrimSuffix(n.Path(), ".address")+".address", "")
				}
			}
		}
	}
	for _, key := range hostKeys {
		for _, c := range all.clusters {
			for _, k := range c.checks {
				note(c.Name, k.ID, key, k.node)
			}
		}
		for _, h := range all.hooks {
			note("", "event "+h.Name, key, h.node)
		}
	}
	return found
}

// CheckError is what is wrong, as this host shows, with the value of a check's key.
func (c *Config) CheckError(cluster, id, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{cluster, id, key}, "cluster "+cluster+": check "+id+": "+key, err)
}

// HookError is the same of an event hook.
func (c *Config) HookError(name, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{"", "event " + name, key}, "event "+name+": "+key, err)
}

// KeyError is the same of a key of [runtime], [log] or [admin].
func (c *Config) KeyError(table, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{"", table, key}, table+"."+key, err)
}

// ListenerPosition is where the addresses of a listener stand: weir.toml:3:11: listener[0].address.
func (c *Config) ListenerPosition(name string) string {
	return c.positionOf(keyID{"", "listener " + name, "address"}, "listener "+name+": address")
}

// AdminPosition is the same of the addresses of the API.
func (c *Config) AdminPosition() string {
	return c.positionOf(keyID{"", "admin", "listen"}, "admin.listen")
}

// HostPosition is where a server is first given by a host name; "" if none is in the files.
func (c *Config) HostPosition(host string) string {
	s := keyID{"", "host " + host, "address"}
	if _, known := c.positions[s]; !known {
		return ""
	}
	return c.positionOf(s, "")
}

func (c *Config) positionOf(s keyID, other string) string {
	return strings.TrimSuffix(c.diagnosticFor(s, other, errors.New("")).String(), ": ")
}

// diagnosticFor puts a mistake at its place; other stands for the place of what does not come from a file.
func (c *Config) diagnosticFor(s keyID, other string, err error) Diagnostic {
	m, known := c.positions[s]
	m.Msg = err.Error()
	if !known {
		m.Path = other
		if s.cluster == "" { // all that a file's checks name has a place
			m.File = c.File
		}
	}
	return m
}

// DropPositions notes that a cluster is not as the file has it: what is wrong with it has no place there.
func (c *Config) DropPositions(cluster string) {
	c.positions = maps.Clone(c.positions)
	maps.DeleteFunc(c.positions, func(s keyID, _ Diagnostic) bool { return s.cluster == cluster })
}

// SortErrors sorts mistakes as those of Load are: the main file's first, then by line.
func (c *Config) SortErrors(ms Errors) Errors {
	slices.SortStableFunc(ms, func(a, b Diagnostic) int {
		switch {
		case a.File == b.File:
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		case a.File == c.File:
			return -1
		case b.File == c.File:
			return 1
		}
		return strings.Compare(a.File, b.File)
	})
	return ms
}
