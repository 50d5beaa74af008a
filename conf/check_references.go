package conf

import (
	"cmp"
	"slices"

	"weir/conf/internal/tree"
)

// References of checks to the servers of their cluster.

// checkedServers holds the servers of a cluster by name.
type checkedServers struct {
	names map[string]bool // all names
	unix  map[string]bool // names of unix sockets
	same  map[string]bool // names of servers with port = "same"
	order []string        // all names, in file order

	firstUnix, firstSame string // the first of unix and of same; "" = none
}

func newCheckedServers(c *clusterDraft) checkedServers {
	w := checkedServers{names: make(map[string]bool), unix: make(map[string]bool), same: make(map[string]bool)}
	for _, l := range c.levels {
		for _, s := range l.servers {
			w.names[s.Name] = true
			w.order = append(w.order, s.Name)
			if s.Address.Path != "" {
				w.unix[s.Name] = true
				w.firstUnix = cmp.Or(w.firstUnix, s.Name)
			}
			if s.Address.SamePort {
				w.same[s.Name] = true
				w.firstSame = cmp.Or(w.firstSame, s.Name)
			}
		}
	}
	return w
}

// Tests reports whether the check may test a server at some time.
func (c *Check) Tests(server string) bool {
	return c.Servers != "list" || slices.Contains(c.ServerNames, server)
}

// of returns the servers that a check may test at some time.
func (w *checkedServers) of(k *checkDraft) []string {
	if k.Servers == "list" {
		return k.ServerNames
	}
	return w.order
}

// firstOf returns the first server in set that a check may test at some time, or "". first is the first one in set.
func (w *checkedServers) firstOf(k *checkDraft, set map[string]bool, first string) string {
	if k.Servers != "list" {
		return first // without a look at each server: checks and servers may be many
	}
	if i := slices.IndexFunc(k.ServerNames, func(name string) bool { return set[name] }); i >= 0 {
		return k.ServerNames[i]
	}
	return ""
}

// validateChecks rejects duplicate ids and invalid references to servers.
func validateChecks(d *decoder, c *clusterDraft) {
	ids := make(map[string]*tree.Node)
	agents := make(map[string]*checkDraft) // by the name of their server
	servers := newCheckedServers(c)
	for i := range c.checks {
		k := &c.checks[i]
		if k.ID != "" {
			at := k.node
			if id := at.Get("id"); id != nil && id.Value != "" {
				at = id
			}
			if old := ids[k.ID]; old != nil {
				d.errorAt(at, "duplicate id %s of a check (%s)", tree.QuoteKey(k.ID), lines(old, at))
			} else {
				ids[k.ID] = at
			}
		}
		if list := k.node.Get("servers"); list != nil && !c.incomplete && !c.discovers() {
			validateServerNames(d, list, servers.names)
		}
		validateUnixSockets(d, k, &servers)
		validateSamePort(d, k, &servers)
		if k.Type == "agent" || k.Type == "agent_http" {
			validateAgents(d, k, agents, servers.of(k))
		}
	}
}

// discovers reports whether servers of a level come from a provider: their names are not known yet.
func (c *clusterDraft) discovers() bool {
	return slices.ContainsFunc(c.levels, func(l levelDraft) bool { return l.Discover != nil })
}

// validateUnixSockets rejects checks that cannot reach a unix socket among their servers.
func validateUnixSockets(d *decoder, k *checkDraft, servers *checkedServers) {
	name := servers.firstOf(k, servers.unix, servers.firstUnix)
	agent := k.Type == "agent" || k.Type == "agent_http"
	switch {
	case name == "":
	case k.Address != "" && k.Port == 0 && !agent:
		d.errorAt(k.node.Get("address"), "address requires port: unix sockets such as %q have none", name)
	case k.Address == "" && (k.Type == "udp" || agent && k.Port != 0):
		d.errorMissing(k.node, "address", "%s requires address: unix sockets such as %q have none", checkWithArticle(k.Type), name)
	}
}

// validateSamePort rejects checks without a port of servers that have none.
func validateSamePort(d *decoder, k *checkDraft, servers *checkedServers) {
	name := servers.firstOf(k, servers.same, servers.firstSame)
	if name != "" && k.Port == 0 && k.Type != "agent" && k.Type != "agent_http" { // agents always require one
		d.errorMissing(k.node, "port", "%s", checkWithoutPortText(&k.Check, name))
	}
}

// validateAgents allows at most one agent for a server.
func validateAgents(d *decoder, k *checkDraft, agents map[string]*checkDraft, names []string) {
	for _, name := range names {
		if old := agents[name]; old != nil && old != k {
			d.errorAt(k.node, "server %s has two agent checks: %s (%s) and %s (%s)", tree.Quote(name),
				old.ID, line(old.node, k.node), k.ID, line(k.node, k.node))
			return
		}
		agents[name] = k
	}
}

func validateServerNames(d *decoder, list *tree.Node, servers map[string]bool) {
	seen := make(map[string]bool)
	for _, e := range list.Items {
		name, ok := e.Value.(string)
		switch {
		case !ok:
		case seen[name]:
			d.errorAt(e, "server %q is listed twice", name)
		case !servers[name]:
			d.errorAt(e, "server %s not defined in this cluster%s", tree.Quote(name), suggest(d, name, servers))
		}
		seen[name] = true
	}
}
