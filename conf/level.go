package conf

import (
	"slices"

	"weir/conf/internal/tree"
)

func levelKeys() []key[levelDraft] {
	return []key[levelDraft]{
		scalar("name", orEmpty(nameType()), "", func(l *levelDraft) *string { return &l.Name },
			"Unique in the cluster. Used by the listener's `levels`, the API and the logs.").withDefaultText("none"),
		scalar("min_up", integerType(1, maxInt), "1", func(l *levelDraft) *int { return &l.MinUp },
			"The level is used while at least this many of its servers are usable."),
		scalar("try", integerType(0, maxInt), "0", func(l *levelDraft) *int { return &l.Try },
			"Failed attempts in the level before the next level is tried; 0 = every server once.").withAliases("tries", "retries"),
		{
			name: "servers", typeText: "list of servers", defaultText: "[]", aliases: []string{"server", "targets", "nodes", "hosts", "endpoints"},
			doc:    "Servers, as strings (`\"10.0.0.2:6379 weight=5\"`) or tables (`{ address = \"10.0.0.2:6379\", weight = 5 }`). May be empty.",
			decode: decodeServers,
		},
		table("discover", "Where more servers come from. An address that is in `servers` too has the options of the file.", decodeDiscover).
			withAliases("discovery", "provider", "service_discovery"),
	}
}

// levelDraft is a level with the positions of its parts.
type levelDraft struct {
	Level
	node    *tree.Node
	inherit Server
	servers []serverDraft

	discover *discoverDraft // nil = none
}

func decodeLevel(d *decoder, n *tree.Node, c *clusterDraft) {
	l := levelDraft{node: n, inherit: c.Defaults}
	decodeTable(d, n, d.schema.level, &l)
	if m := n.Get("min_up"); m != nil && len(l.servers) > 0 && l.Discover == nil && l.MinUp > len(l.servers) {
		d.warn(m, "min_up is %d, but the level has only %s", l.MinUp, count(len(l.servers), "server"))
	}
	c.levels = append(c.levels, l)
}

func (l *levelDraft) finish() Level {
	for _, s := range l.servers {
		l.Servers = append(l.Servers, s.Server)
	}
	return l.Level
}

// validateLevels rejects duplicate names of levels, duplicate names of servers in a level, and servers of several
// levels that differ.
func validateLevels(d *decoder, c *clusterDraft) {
	named := make(map[string]*tree.Node)
	c.named = make(map[string]int)
	first := make(map[string]*serverDraft) // over the whole cluster
	for i := range c.levels {
		l := &c.levels[i]
		if name := l.node.Get("name"); name != nil && l.Name != "" {
			if old := named[l.Name]; old != nil {
				d.errorAt(name, "duplicate name %s of a level (%s)", tree.QuoteKey(l.Name), lines(old, name))
			} else {
				named[l.Name], c.named[l.Name] = name, i
			}
		}
		here := make(map[string]*serverDraft)
		for j := range l.servers {
			s := &l.servers[j]
			if s.Name == "" {
				continue
			}
			if old := here[s.Name]; old != nil {
				d.errorAt(s.node, "duplicate name %q of a server in one level (%s)", s.Name, lines(old.node, s.node))
				continue
			}
			here[s.Name] = s
			if old := first[s.Name]; old != nil {
				if !old.invalid && !s.invalid {
					validateSameServer(d, old, s)
				}
			} else {
				first[s.Name] = s
			}
		}
	}
}

// validateSameServer reports two descriptions of one server that differ in more than the weight.
func validateSameServer(d *decoder, a, b *serverDraft) {
	for _, x := range d.differences(&a.Server, &b.Server) {
		d.errorAt(b.node, "server %q is in several levels and has %s %s in one and %s in another (%s); only the weight may differ",
			b.Name, x.Key, x.From, x.To, lines(a.node, b.node))
	}
}

// differences compares two descriptions of one server, without the weight.
func (d *decoder) differences(a, b *Server) []Detail {
	return slices.DeleteFunc(changes(d.schema.server, *a, *b), func(x Detail) bool { return x.Key == "weight" })
}
