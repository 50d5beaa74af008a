package conf

import (
	"slices"
	"strings"

	"weir/conf/internal/tree"
)

// keyOwners returns the kinds of tables that have a key, in the order in which they appear in a file.
func (d *decoder) keyOwners(name string) (kinds []string) {
	if d.owners == nil {
		d.owners = make(map[string][]string)
		s := &d.schema
		for _, t := range []struct {
			kind string
			keys []string
		}{
			{"the top level", keyNames(s.root)}, {"runtime", keyNames(s.runtime)}, {"log", keyNames(s.log)}, {"admin", keyNames(s.admin)}, {"fleet", keyNames(s.fleet)},
			{"listener", keyNames(s.listener)}, {"route", keyNames(s.route)}, {"cluster", keyNames(s.cluster)}, {"level", keyNames(s.level)}, {"server", keyNames(s.server)},
			{"check", keyNames(s.check)}, {"topology", keyNames(s.topology)}, {"discover", keyNames(s.discover)}, {"event", keyNames(s.event)}, {"vip", keyNames(s.vip)},
		} {
			for _, key := range t.keys {
				d.owners[key] = append(d.owners[key], t.kind)
			}
		}
	}
	return d.owners[name]
}

// maxOwners limits the tables that a message names: a key of many tables belongs to none in particular.
const maxOwners = 3

// ownerOf describes the tables that have a key which the table in lacks: the nearest table around it, else all. It
// returns "" if there is none, or if there are too many.
func (d *decoder) ownerOf(in *tree.Node, key string) string {
	kinds := d.keyOwners(key)
	for n := in.Parent; n != nil; n = n.Parent {
		if kind := tableKind(n); kind != "" && slices.Contains(kinds, kind) {
			return d.describeOwner(in, kind)
		}
	}
	if len(kinds) > maxOwners {
		return ""
	}
	var texts []string
	for _, kind := range kinds {
		texts = append(texts, d.describeOwner(in, kind))
	}
	return joinWords(texts, "or")
}

// tableKind returns the kind of a table that may have other tables in it, or "".
func tableKind(n *tree.Node) string {
	switch {
	case n.Kind != tree.Table:
		return ""
	case n.Parent == nil && n.File.JSON:
		return "cluster"
	case n.Parent == nil:
		return "the top level"
	case n.Parent.Kind == tree.List: // [[…level]]; in JSON, levels
		return strings.TrimSuffix(n.Parent.Name, "s")
	case n.Parent.Name == "cluster":
		return "cluster"
	case n.Name == "topology", n.Name == "discover":
		return n.Name
	}
	return ""
}

// describeOwner describes a kind of table; the cluster is the one around the table in.
func (d *decoder) describeOwner(in *tree.Node, kind string) string {
	switch kind {
	case "the top level", "runtime", "log", "admin":
		return kind
	case "event":
		return "an event hook"
	case "discover":
		return "a provider (discover)"
	case "cluster":
		for n := in; n.Parent != nil; n = n.Parent {
			if n.Parent.Parent != nil && n.Parent.Name == "cluster" && n.Parent.Parent.Parent == nil {
				return "cluster." + tree.QuoteKey(n.Name)
			}
		}
		if in.File.JSON {
			return "the cluster"
		}
	}
	return "a " + kind
}
