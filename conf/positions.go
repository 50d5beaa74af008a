package conf

// Positions of keys whose values depend on the host, such as a password file that must exist. Errors that are
// found after loading get the position in the file from here.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// keyID identifies a key whose value depends on the host.
type keyID struct {
	cluster string // of a check; else ""
	name    string // the id of the check, or topologyTable, or "event " and the hook's name, or the table
	key     string
}

// hostKeys are the keys of checks and hooks whose values depend on the host.
var hostKeys = [...]string{"password_file", "password_env", "tls_ca_file", "tls_cert_file", "tls_key_file", "server_public_key_file", "token_file", "path", "command", "exec"}

// positions returns the positions of the keys that are in the files.
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
		for _, key := range []string{"user", "loops", "promote_interfaces"} {
			note("", "runtime", key, root.Get("runtime"))
		}
		note("", "log", "file", root.Get("log"))
		for _, key := range []string{"listen", "token_file", "read_token_file", "tls_cert_file", "tls_key_file", "tls_client_ca_file"} {
			note("", "admin", key, root.Get("admin"))
		}
		for _, key := range []string{"node", "password_file", "password_env", "tls_ca_file", "tls_cert_file", "tls_key_file"} {
			note("", "fleet", key, root.Get("fleet"))
		}
	}
	for _, l := range all.listeners {
		for _, key := range []string{"address", "unix_owner", "unix_group"} {
			note("", "listener "+l.Name, key, l.node)
		}
	}
	for _, c := range all.clusters {
		for _, l := range c.levels {
			for _, s := range l.servers {
				if id := zoneID(c.Name, &s.Server); s.Address.Addr.Addr().Zone() != "" && found[id].Line == 0 {
					n := s.keyOrServer("address")
					found[id] = n.File.Diagnostic(n.Offset, strings.TrimSuffix(n.Path(), ".address")+".address", "")
				}
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
			if c.topology != nil {
				note(c.Name, topologyTable, key, c.topology.node)
			}
			for i, l := range c.levels {
				if l.discover != nil {
					note(c.Name, discoverTable(i), key, l.discover.node)
				}
			}
		}
		for _, h := range all.hooks {
			note("", "event "+h.Name, key, h.node)
		}
	}
	return found
}

// CheckError returns err with the position of a key of a check.
func (c *Config) CheckError(cluster, id, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{cluster, id, key}, "cluster "+cluster+": check "+id+": "+key, err)
}

// topologyTable stands for the topology of a cluster; no check has this id.
const topologyTable = "[topology]"

// TopologyError returns err with the position of a key of the topology of a cluster.
func (c *Config) TopologyError(cluster, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{cluster, topologyTable, key}, "cluster "+cluster+": topology: "+key, err)
}

// discoverTable stands for the provider of the level with index i; no check has this id.
func discoverTable(i int) string { return fmt.Sprintf("[discover %d]", i) }

// DiscoverError returns err with the position of a key of the provider of the level with index i of a cluster.
func (c *Config) DiscoverError(cluster string, i int, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{cluster, discoverTable(i), key}, fmt.Sprintf("cluster %s: level[%d].discover: %s", cluster, i, key), err)
}

// HookError returns err with the position of a key of an event hook.
func (c *Config) HookError(name, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{"", "event " + name, key}, "event "+name+": "+key, err)
}

// KeyError returns err with the position of a key of [runtime], [log], [admin] or [fleet].
func (c *Config) KeyError(table, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{"", table, key}, table+"."+key, err)
}

// ListenerError returns err with the position of a key of a listener whose value depends on the host.
func (c *Config) ListenerError(name, key string, err error) Diagnostic {
	return c.diagnosticFor(keyID{"", "listener " + name, key}, "listener "+name+": "+key, err)
}

// ListenerPosition formats the position of the addresses of a listener: weir.toml:3:11: listener[0].address.
func (c *Config) ListenerPosition(name string) string {
	return c.positionOf(keyID{"", "listener " + name, "address"}, "listener "+name+": address")
}

// AdminPosition formats the position of the addresses of the API.
func (c *Config) AdminPosition() string {
	return c.positionOf(keyID{"", "admin", "listen"}, "admin.listen")
}

// HostPosition formats the position of the first server with a host name, or returns "" if the files have none.
func (c *Config) HostPosition(host string) string {
	s := keyID{"", "host " + host, "address"}
	if _, known := c.positions[s]; !known {
		return ""
	}
	return c.positionOf(s, "")
}

// zoneID is the key of a server's address whose zone is an interface of the host.
func zoneID(cluster string, s *Server) keyID {
	return keyID{cluster, "zone " + s.Address.String(), "address"}
}

// ZoneError returns err with the position of a server whose address names an interface.
func (c *Config) ZoneError(cluster string, s *Server, err error) Diagnostic {
	return c.diagnosticFor(zoneID(cluster, s), "cluster "+cluster+": server "+s.Name+": address", err)
}

func (c *Config) positionOf(s keyID, other string) string {
	return strings.TrimSuffix(c.diagnosticFor(s, other, errors.New("")).String(), ": ")
}

// diagnosticFor returns err with the position of a key, or with the path other if the key is not in a file.
func (c *Config) diagnosticFor(s keyID, other string, err error) Diagnostic {
	m, known := c.positions[s]
	m.Msg = err.Error()
	if !known {
		m.Path = other
		if s.cluster == "" { // every key of a check in a file has a position
			m.File = c.File
		}
	}
	return m
}

// DropPositions removes the positions of a cluster that is not as in the file.
func (c *Config) DropPositions(cluster string) {
	c.positions = maps.Clone(c.positions)
	maps.DeleteFunc(c.positions, func(s keyID, _ Diagnostic) bool { return s.cluster == cluster })
}

// SortErrors sorts like Load: the main file first, then by line.
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
