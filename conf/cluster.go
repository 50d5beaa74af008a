package conf

import (
	"slices"
	"time"
)

// Methods lists the legal values of a cluster's balance.
func Methods() []string {
	return []string{"wrr", "rr", "least_sessions", "random", "first", "least_time", "hash", "maglev"}
}

// ipHash is another way to write balance = "hash" with hash_key = "client_ip".
const ipHash = "ip_hash"

func clusterKeys() []key[clusterDraft] {
	methodWords := map[string]string{
		"roundrobin": "wrr", "round_robin": "wrr", "weighted": "wrr", "static-rr": "wrr", "smooth": "wrr",
		"leastconn": "least_sessions", "least_conn": "least_sessions", "least_connections": "least_sessions",
		"leasttime": "least_time", "source": ipHash, "iphash": ipHash, "consistent": "hash", "consistent_hash": "hash", "ring_hash": "hash",
	}
	return []key[clusterDraft]{
		scalar("balance", oneOf(append(Methods(), ipHash), methodWords), "wrr", func(c *clusterDraft) *string { return &c.Balance },
			"How a server is chosen: `wrr` smooth weighted round robin, `rr` the same without weights, `least_sessions` the fewest sessions "+
				"per weight, `random` the better of two random ones, `first` the first one with room, `least_time` the shortest connect time, "+
				"`hash` a weighted consistent ring, `maglev` a weighted Maglev table, `ip_hash` the same as `hash` by `client_ip`.").balancing().called("algorithm", "method", "lb", "policy"),
		scalar("hash_key", hashKeyText(), "client_ip", func(c *clusterDraft) *string { return &c.HashKey },
			"What `hash` and `maglev` go by: the client's address, its address and port, the address that it connected to, or a value of "+
				"its PROXY header: the host name that it asked for (`proxy_authority`), or any by its type. A client without it is balanced by `wrr`.").balancing(),
		scalar("connect_timeout", someTime(), "2s", func(c *clusterDraft) *time.Duration { return &c.ConnectTimeout },
			"How long one attempt to connect to a server may take.").called("timeout", "timeout_connect", "timeout connect", "proxy_connect_timeout"),
		scalar("try", integer(0, most), "0", func(c *clusterDraft) *int { return &c.Try },
			"Failed attempts per session over all levels; 0 = the number of servers in the levels chosen.").called("retries", "tries"),
		scalar("try_timeout", timeOrNone(), "0s", func(c *clusterDraft) *time.Duration { return &c.TryTimeout },
			"Time for all attempts of a session together; 0 = no limit."),
		scalar("server_idle_timeout", timeOrNone(), "0s", func(c *clusterDraft) *time.Duration { return &c.ServerIdleTimeout },
			"Ends a session after so long without a byte on the server side, either way. 0 = never.").called("timeout_server", "timeout server"),
		scalar("protected", boolean(), "true", func(c *clusterDraft) *bool { return &c.Protected },
			"Never leave the cluster without its last server because checks or failures say so, nor a session without trying two servers that are out only for failed dials, when all others have failed it.").balancing(),
		scalar("slow_start", timeOrNone(), "0s", func(c *clusterDraft) *time.Duration { return &c.SlowStart },
			"How long a server that came back takes to grow to its full weight. 0 = at once.").balancing().called("slowstart"),
		scalar("on_down", oneOf([]string{"keep", "close"}, nil), "keep", func(c *clusterDraft) *string { return &c.OnDown },
			"What happens to the sessions of a server that goes down or into maintenance."),
		scalar("failback", oneOf([]string{"auto", "manual"}, nil), "auto", func(c *clusterDraft) *string { return &c.Failback },
			"Whether a better level takes over again by itself (`auto`) or when an operator says so (`manual`).").balancing(),
		scalar("queue_timeout", timeOrNone(), "0s", func(c *clusterDraft) *time.Duration { return &c.QueueTimeout },
			"How long a session may wait for a server that is at its `max_sessions`; 0 = do not wait.").called("timeout_queue", "timeout queue", "queue"),
		scalar("resolve_interval", someTime(), "10s", func(c *clusterDraft) *time.Duration { return &c.ResolveInterval },
			"How often the host names of servers are resolved anew."),

		scalar("max_fails", integer(0, most), "3", func(c *clusterDraft) *int { return &c.Defaults.MaxFails },
			"Failed attempts within `fail_timeout` that put a server out of use; 0 = never. Also per server."),
		scalar("fail_timeout", someTime(), "10s", func(c *clusterDraft) *time.Duration { return &c.Defaults.FailTimeout },
			"How long failures count together, and for how long the server is then out of use. Also per server."),
		scalar("max_sessions", integer(0, most), "0", func(c *clusterDraft) *int { return &c.Defaults.MaxSessions },
			"Sessions per server; 0 = no limit. Also per server.").called("maxconn", "max_conns"),
		scalar("source", sources(), "", func(c *clusterDraft) *Source { return &c.Defaults.Source },
			"Where servers are dialled from: a local IP address, several in turn (a list, or `\"10.0.0.1,10.0.0.8/29\"`), or `\"client\"` for the "+
				"client's own. Checks come from the first, or with `\"client\"` from wherever the kernel chooses, as sessions do without it. Also per server.").defaults("none").called("bind", "proxy_bind", "bind_address", "local_address"),
		scalar("send_proxy", sendProxy(), "", func(c *clusterDraft) *string { return &c.Defaults.SendProxy },
			"Begin connections to servers, those of checks too, with a PROXY header of this version. Also per server.").defaults("none").called("send-proxy", "proxy_protocol", "send-proxy-v2"),

		tables("level", "One priority tier of servers, in the order in which they are tried. At least one.", decodeLevel).
			called("levels", "group", "groups", "tier", "priority"),
		tables("check", "One kind of test run against the servers.", decodeCheck).
			called("checks", "health_check", "healthcheck", "monitor", "monitors"),
	}
}

// clusterDraft is a cluster together with where its parts stand.
type clusterDraft struct {
	Cluster
	node   *node
	levels []levelDraft
	checks []checkDraft

	named  map[string]int // the index of each level that has a name
	hidden bool           // something of it could not be parsed, so that what seems missing may not be
}

func decodeClusters(d *decoder, n *node, into *draft) {
	if n.kind != nodeTable {
		d.fault(n, "want [cluster.NAME] tables, got %s", gotTable(n))
		d.seen(n.parent, "cluster")
		return
	}
	for _, c := range n.keys {
		if c.kind != nodeTable {
			d.fault(c, "want a [%s] table, got %s", tablePath(c), gotTable(c))
			d.seen(n.parent, "cluster")
			continue
		}
		into.clusters = append(into.clusters, decodeCluster(d, c))
	}
}

func decodeCluster(d *decoder, n *node) clusterDraft {
	c := clusterDraft{node: n}
	c.Name = n.name
	if err := checkName(n.name); err != nil {
		d.faultKey(n, "%s", err)
	}
	presets(d.schema.server, &c.Defaults)
	decodeTable(d, n, d.schema.cluster, &c)
	if c.Balance == ipHash {
		if k := n.get("hash_key"); k != nil && c.HashKey != "" && c.HashKey != "client_ip" {
			d.fault(k, "balance = \"ip_hash\" always goes by client_ip; write \"hash\" to go by %s", c.HashKey)
		}
		c.Balance, c.HashKey = "hash", "client_ip"
	}
	if n.get("level") == nil {
		d.absent(n, "level", "cluster %s has no server: it has no level; want at least one [[%s.level]]", n.name, tablePath(n))
	} else if list := n.get("level"); list.kind == nodeList && len(list.items) == 0 {
		d.fault(list, "cluster %s has no server: it has no level; want at least one", n.name)
	}
	c.hidden = d.partial || n.lost || d.meant[n]["level"] || slices.ContainsFunc(c.levels, func(l levelDraft) bool { return l.node.lost })
	checkLevels(d, &c)
	checkChecks(d, &c)
	for _, l := range c.levels {
		c.Levels = append(c.Levels, l.finish())
	}
	for _, k := range c.checks {
		c.Checks = append(c.Checks, k.Check)
	}
	return c
}
