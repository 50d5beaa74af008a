package conf

import "slices"

// What checks say about the servers of their cluster.

// watchable is the servers of a cluster as its checks see them.
type watchable struct {
	names map[string]bool // every name
	unix  map[string]bool // those of unix sockets
	order []string        // every name, in the order of the file
}

func watchableOf(c *clusterDraft) watchable {
	w := watchable{names: make(map[string]bool), unix: make(map[string]bool)}
	for _, l := range c.levels {
		for _, s := range l.servers {
			w.names[s.Name] = true
			w.order = append(w.order, s.Name)
			if s.Address.Path != "" {
				w.unix[s.Name] = true
			}
		}
	}
	return w
}

// watched lists the servers that a check may test at some time or other.
func (w *watchable) watched(k *checkDraft) []string {
	if k.Servers == "list" {
		return k.ServerNames
	}
	return w.order
}

// checkChecks looks for identities given twice, and for what checks say about servers.
func checkChecks(d *decoder, c *clusterDraft) {
	ids := make(map[string]*node)
	agents := make(map[string]*checkDraft) // by the server that they speak for
	servers := watchableOf(c)
	for i := range c.checks {
		k := &c.checks[i]
		if k.ID != "" {
			if old := ids[k.ID]; old != nil {
				d.fault(k.node, "duplicate id %s of a check (%s)", quoteName(k.ID), lines(old, k.node))
			} else {
				ids[k.ID] = k.node
			}
		}
		if list := k.node.get("servers"); list != nil && !c.hidden {
			checkWatch(d, list, servers.names)
		}
		checkSockets(d, k, &servers)
		if k.Type == "agent" || k.Type == "agent_http" {
			checkAgents(d, k, agents, servers.watched(k))
		}
	}
}

// checkSockets refuses checks that can reach no unix socket among their servers.
func checkSockets(d *decoder, k *checkDraft, servers *watchable) {
	watched := servers.watched(k)
	i := slices.IndexFunc(watched, func(name string) bool { return servers.unix[name] })
	agent := k.Type == "agent" || k.Type == "agent_http"
	switch {
	case i < 0:
	case k.Address != "" && k.Port == 0 && !agent:
		d.fault(k.node.get("address"), "address needs port as well: unix sockets such as %q have none", watched[i])
	case k.Address == "" && (k.Type == "udp" || agent && k.Port != 0):
		d.absent(k.node, "address", "%s needs address: unix sockets such as %q have none", article(k.Type), watched[i])
	}
}

// checkAgents makes sure that one agent at most speaks for a server.
func checkAgents(d *decoder, k *checkDraft, agents map[string]*checkDraft, watched []string) {
	told := false
	for _, name := range watched {
		old := agents[name]
		if old != nil && old != k && !told {
			d.fault(k.node, "two agents speak for server %s: %s (%s) and %s (%s)", quoteText(name),
				old.ID, line(old.node, k.node), k.ID, line(k.node, k.node))
			told = true
		}
		agents[name] = k
	}
}

func checkWatch(d *decoder, list *node, servers map[string]bool) {
	seen := make(map[string]bool)
	for _, e := range list.items {
		name, ok := e.value.(string)
		switch {
		case !ok:
		case seen[name]:
			d.fault(e, "server %q is named twice", name)
		case !servers[name]:
			d.fault(e, "server %s not defined in this cluster%s", quoteText(name), suggest(d, name, servers))
		}
		seen[name] = true
	}
}
