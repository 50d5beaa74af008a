package conf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pieces of a configuration that are described at run time, as JSON: one server, one cluster.

// ParseServer reads a server of a cluster, either as an object with the keys of a server and level, or as a string. It
// returns the index of the level that it is for: that of the key level (a name, or a number counted from 1), else 0. The
// error is of type Mistakes.
func ParseServer(text []byte, c *Cluster) (s Server, level int, err error) {
	n, err := parseJSON(text)
	if err != nil {
		return s, 0, err
	}
	d := newDecoder()
	table := n
	if words, ok := n.value.(string); ok {
		table = wordsAsTable(d, n, words)
	} else if n.kind != nodeTable {
		d.fault(n, "want a server such as {\"address\": \"10.0.0.1:6379\"} or \"10.0.0.1:6379 weight=5\", got %s", n.got())
		table = nil
	}
	if table == nil {
		return s, 0, d.verdict(n.file)
	}
	if at := table.get("level"); at != nil {
		level = d.levelOf(at, c)
		table.drop("level")
	}
	s = c.Defaults
	decodeTable(d, table, d.schema.server, &s)
	finishServer(d, table, &s)
	if len(d.mistakes) == 0 {
		d.sameElsewhere(table, &s, c)
	}
	return s, level, d.verdict(n.file)
}

// levelOf finds the level that a value names.
func (d *decoder) levelOf(n *node, c *Cluster) int {
	number := 0
	switch v := n.value.(type) {
	case string:
		if i := slices.IndexFunc(c.Levels, func(l Level) bool { return l.Name == v && v != "" }); i >= 0 {
			return i
		}
		number, _ = strconv.Atoi(v)
	case int64:
		number = int(max(0, min(v, most)))
	default:
		d.fault(n, "want a level's name or its number counted from 1, got %s", n.got())
		return 0
	}
	if number < 1 || number > len(c.Levels) {
		names := make(map[string]bool)
		for _, l := range c.Levels {
			names[l.Name] = l.Name != ""
		}
		word, _ := n.value.(string)
		d.fault(n, "cluster %s has no level %s%s", c.Name, n.got(), suggest(d, word, names))
		return 0
	}
	return number - 1
}

// sameElsewhere refuses a server that is in another level already and described otherwise there.
func (d *decoder) sameElsewhere(n *node, s *Server, c *Cluster) {
	for i, l := range c.Levels {
		for j := range l.Servers {
			old := &l.Servers[j]
			if old.Name != s.Name {
				continue
			}
			for _, k := range d.schema.server {
				if k.name == "weight" || k.show == nil {
					continue
				}
				if x, y := k.show(old), k.show(s); x != y {
					d.fault(n, "server %q is in level %s too and has %s %s there, not %s; only the weight may differ", s.Name, label(c, i), k.name, x, y)
				}
			}
			return
		}
	}
}

// ParseCluster reads a cluster as in the file; the repeated tables are the arrays levels and checks. If it has levels
// alone, all the rest is that of old, which may be nil. The error is of type Mistakes.
func ParseCluster(name string, text []byte, old *Cluster) (Cluster, error) {
	n, err := parseObject(text)
	if err != nil {
		return Cluster{}, err
	}
	root := &node{file: n.file, kind: nodeTable}
	all := &node{file: n.file, kind: nodeTable, parent: root, name: "cluster", keys: []*node{n}}
	root.keys = []*node{all}
	n.parent, n.name = all, name
	d := newDecoder()
	d.arrays(n)
	named := len(d.mistakes) // by the names that they have in the request
	var c clusterDraft
	if old != nil && len(n.keys) == 1 && n.keys[0].name == "level" {
		c = clusterDraft{Cluster: *old, node: n}
		c.Levels = nil
		decodeGiven(d, n, d.schema.cluster, &c)
		if len(c.levels) == 0 {
			d.fault(n.keys[0], "cluster %s has no server: it has no level; want at least one", name)
		}
		checkLevels(d, &c)
		for _, l := range c.levels {
			c.Levels = append(c.Levels, l.finish())
		}
		d.watched(n.keys[0], &c.Cluster)
	} else {
		c = decodeCluster(d, n)
	}
	for i := range d.mistakes {
		m := &d.mistakes[i]
		m.Path = strings.TrimPrefix(strings.TrimPrefix(m.Path, n.path()), ".")
		for _, key := range []string{"level", "check"} {
			if i < named {
				break
			}
			if rest, ok := strings.CutPrefix(m.Path, key); ok && (rest == "" || rest[0] == '[') {
				m.Path = key + "s" + rest
			}
		}
	}
	return c.Cluster, d.verdict(n.file)
}

// arrays gives the arrays of a cluster the names that they have in the file, and leaves out the cluster's own name.
func (d *decoder) arrays(n *node) {
	for _, key := range []string{"level", "check"} {
		if wrong := n.get(key); wrong != nil {
			d.faultKey(wrong, "unknown key %s, did you mean %ss?", key, key)
			d.seen(n, key)
			n.drop(key)
		}
		if right := n.get(key + "s"); right != nil {
			right.name = key
		}
	}
	if own := n.get("name"); own != nil {
		if own.value != n.name {
			d.fault(own, "the cluster is %s, got %s", n.name, own.got())
		}
		n.drop("name")
	}
}

// watched refuses levels that leave a check without a server that it names.
func (d *decoder) watched(n *node, c *Cluster) {
	servers := make(map[string]bool)
	for _, l := range c.Levels {
		for _, s := range l.Servers {
			servers[s.Name] = true
		}
	}
	for _, k := range c.Checks {
		for _, name := range k.ServerNames {
			if !servers[name] {
				d.fault(n, "check %s is for server %q, which is in no level", k.ID, name)
			}
		}
	}
}

// Datagrams finds servers that a udp listener cannot use, in a configuration put together from pieces.
func (c *Config) Datagrams() error {
	for _, l := range c.Listeners {
		i := slices.IndexFunc(c.Clusters, func(k Cluster) bool { return k.Name == l.Cluster })
		if l.Protocol != "udp" || i < 0 {
			continue
		}
		for j, level := range c.Clusters[i].Levels {
			if l.Levels != nil && !slices.Contains(l.Levels, j) {
				continue
			}
			for _, s := range level.Servers {
				switch {
				case s.SendProxy == "v1":
					return fmt.Errorf("server %s: PROXY v1 is TCP only; use v2: cluster %s serves the udp listener %s", s.Name, l.Cluster, l.Name)
				case s.Address.Path != "":
					return fmt.Errorf("cluster %s: server %s is a unix socket, which the udp listener %s cannot reach", l.Cluster, s.Name, l.Name)
				}
			}
		}
	}
	return nil
}

// Loops finds servers that lead back to the listener that they serve, in a configuration put together from pieces.
func (c *Config) Loops() error {
	owner := make(map[Address]int)
	for i, l := range c.Listeners {
		for _, a := range l.Addresses {
			if l.Protocol == "tcp" {
				owner[a] = i
			}
		}
	}
	for i := range c.Clusters {
		k := &c.Clusters[i]
		for j, level := range k.Levels {
			for _, s := range level.Servers {
				to, found := arrives(s.Address, owner)
				if !found {
					continue
				}
				if l := &c.Listeners[to]; l.Cluster == k.Name && (l.Levels == nil || slices.Contains(l.Levels, j)) {
					return fmt.Errorf("cluster %s: server %s points back to listener %s", k.Name, s.Name, l.Name)
				}
			}
		}
	}
	return nil
}
