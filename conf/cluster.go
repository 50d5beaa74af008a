package conf

import (
	"slices"
	"time"

	"weir/conf/internal/tree"
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
				"`hash` a weighted consistent ring, `maglev` a weighted Maglev table, `ip_hash` the same as `hash` by `client_ip`.").withAliases("algorithm", "method", "lb", "policy"),
		scalar("hash_key", hashKeyType(), "client_ip", func(c *clusterDraft) *string { return &c.HashKey },
			"What `hash` and `maglev` go by: the client's address, its address and port, the address that it connected to, or a value of "+
				"its PROXY header: the host name that it asked for (`proxy_authority`), or any by its type. A client without it is balanced by `wrr`."),
		scalar("connect_timeout", positiveDuration(), "2s", func(c *clusterDraft) *time.Duration { return &c.ConnectTimeout },
			"How long one attempt to connect to a server may take.").withAliases("timeout", "timeout_connect", "timeout connect", "proxy_connect_timeout"),
		scalar("try", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.Try },
			"Failed attempts per session over all levels; 0 = the number of servers in the levels chosen.").withAliases("retries", "tries"),
		scalar("try_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.TryTimeout },
			"Time for all attempts of a session together; 0 = no limit."),
		scalar("server_idle_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.ServerIdleTimeout },
			"Ends a session after so long without a byte on the server side, either way. 0 = never.").withAliases("timeout_server", "timeout server"),
		scalar("protected", booleanType(), "true", func(c *clusterDraft) *bool { return &c.Protected },
			"Never leave the cluster without its last server because checks or failures say so, nor a session without trying two servers that are out only for failed dials, when all others have failed it."),
		scalar("slow_start", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.SlowStart },
			"How long a server that came back takes to grow to its full weight. 0 = at once.").withAliases("slowstart"),
		scalar("on_down", oneOf([]string{"keep", "close"}, nil), "keep", func(c *clusterDraft) *string { return &c.OnDown },
			"What happens to the sessions of a server that goes down or into maintenance."),
		scalar("failback", oneOf([]string{"auto", "manual"}, nil), "auto", func(c *clusterDraft) *string { return &c.Failback },
			"Whether a better level takes over again by itself (`auto`) or when an operator says so (`manual`)."),
		scalar("queue_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.QueueTimeout },
			"How long a session may wait for a server that is at its `max_sessions`; 0 = do not wait.").withAliases("timeout_queue", "timeout queue", "queue"),
		scalar("resolve_interval", positiveDuration(), "10s", func(c *clusterDraft) *time.Duration { return &c.ResolveInterval },
			"How often the host names of servers are resolved anew."),

		scalar("max_fails", integerType(0, maxInt), "3", func(c *clusterDraft) *int { return &c.Defaults.MaxFails },
			"Failed attempts within `fail_timeout` that put a server out of use; 0 = never. Also per server."),
		scalar("fail_timeout", positiveDuration(), "10s", func(c *clusterDraft) *time.Duration { return &c.Defaults.FailTimeout },
			"How long failures count together, and for how long the server is then out of use. Also per server."),
		scalar("max_sessions", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.Defaults.MaxSessions },
			"Sessions per server; 0 = no limit. Also per server.").withAliases("maxconn", "max_conns"),
		scalar("source", sourceType(), "", func(c *clusterDraft) *Source { return &c.Defaults.Source },
			"Where servers are dialled from: a local IP address, several in turn (a list, or `\"10.0.0.1,10.0.0.8/29\"`), or `\"client\"` for the "+
				"client's own. Checks come from the first, or with `\"client\"` from wherever the kernel chooses, as sessions do without it. Also per server.").withDefaultText("none").withAliases("bind", "proxy_bind", "bind_address", "local_address"),
		scalar("send_proxy", sendProxyType(), "", func(c *clusterDraft) *string { return &c.Defaults.SendProxy },
			"Begin connections to servers, those of checks too, with a PROXY header of this version. Also per server.").withDefaultText("none").withAliases("send-proxy", "proxy_protocol", "send-proxy-v2"),

		tables("level", "One priority tier of servers, in the order in which they are tried. At least one.", decodeLevel).
			withAliases("levels", "group", "groups", "tier", "priority"),
		tables("check", "One kind of test run against the servers.", decodeCheck).
			withAliases("checks", "health_check", "healthcheck", "monitor", "monitors"),
	}
}

// clusterDraft is a cluster together with where its parts stand.
type clusterDraft struct {
	Cluster
	node   *tree.Node
	levels []levelDraft
	checks []checkDraft

	named      map[string]int // the index of each level that has a name
	incomplete bool           // something of it could not be parsed, so that what seems missing may not be
}

func decodeClusters(d *decoder, n *tree.Node, into *draft) {
	if n.Kind != tree.Table {
		d.errorAt(n, "want [cluster.NAME] tables, got %s", gotTable(n))
		d.markSuggested(n.Parent, "cluster")
		return
	}
	for _, c := range n.Keys {
		if c.Kind != tree.Table {
			d.errorAt(c, "want a [%s] table, got %s", tablePath(c), gotTable(c))
			d.markSuggested(n.Parent, "cluster")
			continue
		}
		into.clusters = append(into.clusters, decodeCluster(d, c))
	}
}

func decodeCluster(d *decoder, n *tree.Node) clusterDraft {
	c := clusterDraft{node: n}
	c.Name = n.Name
	if err := validateName(n.Name); err != nil {
		d.errorAtKey(n, "%s", err)
	}
	setDefaults(d.schema.server, &c.Defaults)
	decodeTable(d, n, d.schema.cluster, &c)
	if c.Balance == ipHash {
		if k := n.Get("hash_key"); k != nil && c.HashKey != "" && c.HashKey != "client_ip" {
			d.errorAt(k, "balance = \"ip_hash\" always goes by client_ip; write \"hash\" to go by %s", c.HashKey)
		}
		c.Balance, c.HashKey = "hash", "client_ip"
	}
	if n.Get("level") == nil {
		d.errorMissing(n, "level", "cluster %s has no server: it has no level; want at least one [[%s.level]]", n.Name, tablePath(n))
	} else if list := n.Get("level"); list.Kind == tree.List && len(list.Items) == 0 {
		d.errorAt(list, "cluster %s has no server: it has no level; want at least one", n.Name)
	}
	c.incomplete = d.incomplete || n.Incomplete || d.suggested[n]["level"] || slices.ContainsFunc(c.levels, func(l levelDraft) bool { return l.node.Incomplete })
	validateLevels(d, &c)
	validateChecks(d, &c)
	for _, l := range c.levels {
		c.Levels = append(c.Levels, l.finish())
	}
	for _, k := range c.checks {
		c.Checks = append(c.Checks, k.Check)
	}
	return c
}
