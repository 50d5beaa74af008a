package conf

import (
	"cmp"
	"slices"
	"time"

	"weir/conf/internal/tree"
)

// Methods returns the legal values of balance, without ip_hash.
func Methods() []string {
	return []string{"wrr", "rr", "least_sessions", "random", "first", "least_time", "hash", "maglev"}
}

// Greetings returns the legal values of greeting, without the empty one.
func Greetings() []string { return []string{"mysql", "redis"} }

func greetingType() valueType[string] {
	k := orEmpty(oneOf(Greetings(), map[string]string{"mariadb": "mysql", "valkey": "redis"}))
	k.show = func(s string) string { return cmp.Or(s, "none") }
	return k
}

// greetingTimeoutType is a duration whose zero value means connect_timeout.
func greetingTimeoutType() valueType[time.Duration] {
	k := positiveDuration()
	show := k.show
	k.show = func(d time.Duration) string {
		if d == 0 {
			return "connect_timeout"
		}
		return show(d)
	}
	return k
}

// ipHash is short for balance = "hash" with hash_key = "client_ip".
const ipHash = "ip_hash"

func clusterKeys() []key[clusterDraft] {
	methodWords := map[string]string{
		"roundrobin": "wrr", "round_robin": "wrr", "weighted": "wrr", "static-rr": "wrr", "smooth": "wrr",
		"leastconn": "least_sessions", "least_conn": "least_sessions", "least_connections": "least_sessions",
		"leasttime": "least_time", "source": ipHash, "iphash": ipHash, "consistent": "hash", "consistent_hash": "hash", "ring_hash": "hash",
	}
	return []key[clusterDraft]{
		scalar("balance", oneOf(append(Methods(), ipHash), methodWords), "wrr", func(c *clusterDraft) *string { return &c.Balance },
			"Balancing method: `wrr` smooth weighted round robin, `rr` the same without weights, `least_sessions` the fewest "+
				"sessions per weight, `random` the better of two random servers, `first` the first server below its limit, `least_time` "+
				"the shortest time to connect and to send the first byte of an answer, among 64 servers in turn if there are more, `hash` a weighted consistent ring, `maglev` a weighted Maglev table, `ip_hash` the same as "+
				"`hash` with `client_ip`.").withAliases("algorithm", "method", "lb", "policy"),
		scalar("hash_key", hashKeyType(), "client_ip", func(c *clusterDraft) *string { return &c.HashKey },
			"Key of `hash` and `maglev`: the address of the client, its address and port, the local address that it connected to, "+
				"a value of its PROXY header: the requested host name (`proxy_authority`), the endpoint in a cloud (`aws_vpce_id`, `azure_link_id`, "+
				"`gcp_psc_id`), or a value by its type; or `sni`, the server "+
				"name of its TLS ClientHello, for which listeners then wait. Clients without such a value are balanced by `wrr`."),
		scalar("connect_timeout", positiveDuration(), "2s", func(c *clusterDraft) *time.Duration { return &c.ConnectTimeout },
			"Timeout of one attempt to connect to a server.").withAliases("timeout", "timeout_connect", "timeout connect", "proxy_connect_timeout"),
		scalar("try", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.Try },
			"Failed attempts per session over all levels; 0 = the number of servers in the chosen levels.").withAliases("retries", "tries"),
		scalar("try_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.TryTimeout },
			"Timeout of all attempts of a session together; 0 = none."),
		scalar("server_idle_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.ServerIdleTimeout },
			"Ends a session after this time without a byte in either direction on the server side; 0 = never.").withAliases("timeout_server", "timeout server"),
		scalar("protected", booleanType(), "true", func(c *clusterDraft) *bool { return &c.Protected },
			"Do not take the last server of the cluster out of use because of checks or failed dials; and let a session whose "+
				"attempts have all failed try two servers that are out of use only because of failed dials."),
		scalar("slow_start", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.SlowStart },
			"Time in which a server that comes back grows to its full weight; 0 = no slow start.").withAliases("slowstart"),
		scalar("on_down", oneOf([]string{"keep", "close"}, nil), "keep", func(c *clusterDraft) *string { return &c.OnDown },
			"What happens to the sessions of a server that goes down or into maintenance: they continue, or are closed."),
		scalar("failback", oneOf([]string{"auto", "manual"}, nil), "auto", func(c *clusterDraft) *string { return &c.Failback },
			"Whether a better level takes over again automatically (`auto`) or on request of an operator (`manual`)."),
		scalar("on_failback", oneOf([]string{"keep", "close"}, nil), "keep", func(c *clusterDraft) *string { return &c.OnFailback },
			"What happens to the sessions of lower levels when a better level takes over again: they continue, or are closed gently."),
		scalar("close_rate", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.CloseRate },
			"Sessions that are closed per second, evenly paced; 0 = no limit. Sessions that are left at `close_deadline` are closed at once."),
		scalar("close_quiet", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.CloseQuiet },
			"A gentle close waits for a moment when the last byte came from the server and no byte has moved for this time."),
		scalar("close_deadline", positiveDuration(), "30s", func(c *clusterDraft) *time.Duration { return &c.CloseDeadline },
			"How long sessions may wait for their turn and a quiet moment to be closed. Those that are left are reset."),
		scalar("max_session_age", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.MaxSessionAge },
			"Closes TCP sessions gently when they reach this age; 0 = never.").withAliases("max_conn_age", "max_connection_age", "max_connection_duration"),
		scalar("max_session_age_jitter", integerType(0, 100), "10", func(c *clusterDraft) *int { return &c.MaxSessionAgeJitter },
			"How far the age of each session may be from `max_session_age`, above or below, in percent."),
		scalar("rebalance", oneOf([]string{"off", "auto"}, nil), "off", func(c *clusterDraft) *string { return &c.Rebalance },
			"`auto`: when a server is added or comes back, sessions above the fair share of the others are closed gently until the largest share "+
				"is within 10 % of fair. Not with `hash`, `maglev` and `first`."),
		scalar("queue_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.QueueTimeout },
			"How long a session may wait for a server that is at its `max_sessions`; 0 = do not wait.").withAliases("timeout_queue", "timeout queue", "queue"),
		scalar("hold_timeout", durationOrZero(), "0s", func(c *clusterDraft) *time.Duration { return &c.HoldTimeout },
			"How long a new TCP session may wait while no server can serve it; 0 = do not wait."),
		scalar("max_held", integerType(0, maxInt), "1000", func(c *clusterDraft) *int { return &c.MaxHeld },
			"Maximum number of sessions that wait because of `hold_timeout`; 0 = no limit."),
		scalar("release_rate", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.ReleaseRate },
			"How many waiting sessions per second are sent to servers once some can serve; 0 = all at once."),
		scalar("greeting", greetingType(), "", func(c *clusterDraft) *string { return &c.Greeting },
			"Protocol in which a server may refuse a session with its first bytes; such a session goes to the next server. None = the "+
				"bytes are not read.").withDefaultText("none"),
		scalar("greeting_timeout", greetingTimeoutType(), "", func(c *clusterDraft) *time.Duration { return &c.GreetingTimeout },
			"How long to wait for the first packet of a server with `greeting = \"mysql\"`.").withDefaultText("`connect_timeout`"),
		scalar("resolve_interval", positiveDuration(), "10s", func(c *clusterDraft) *time.Duration { return &c.ResolveInterval },
			"How often the host names of servers are resolved."),

		scalar("max_fails", integerType(0, maxInt), "3", func(c *clusterDraft) *int { return &c.Defaults.MaxFails },
			"Failed attempts within `fail_timeout` that take a server out of use; 0 = never. Can be set per server."),
		scalar("fail_timeout", positiveDuration(), "10s", func(c *clusterDraft) *time.Duration { return &c.Defaults.FailTimeout },
			"How long failed attempts count together, and how long the server is then out of use. Can be set per server."),
		scalar("max_sessions", integerType(0, maxInt), "0", func(c *clusterDraft) *int { return &c.Defaults.MaxSessions },
			"Maximum number of sessions per server; 0 = no limit. Can be set per server.").withAliases("maxconn", "max_conns"),
		scalar("source", sourceType(), "", func(c *clusterDraft) *Source { return &c.Defaults.Source },
			"Source address of connections to servers: a local IP address (link-local: `\"fe80::1%eth0\"`), several in turn (a list, or `\"10.0.0.1,10.0.0.8/29\"`), "+
				"or `\"client\"` for the address of the client. Checks use the first address; with `\"client\"`, the kernel chooses the "+
				"address of checks. None = the kernel chooses. Can be set per server.").withDefaultText("none").withAliases("bind", "proxy_bind", "bind_address", "local_address"),
		scalar("source_interface", orEmpty(interfaceType()), "", func(c *clusterDraft) *string { return &c.Defaults.Interface },
			"Network interface that connections to servers, including those of checks, leave through (SO_BINDTODEVICE). None = the "+
				"kernel chooses. Can be set per server.").withDefaultText("none").withAliases("interface", "device", "bind_to_device"),
		scalar("send_proxy", sendProxyType(), "", func(c *clusterDraft) *string { return &c.Defaults.SendProxy },
			"Start connections to servers, including those of checks, with a PROXY header of this version. None = no header. Can be "+
				"set per server.").withDefaultText("none").withAliases("send-proxy", "proxy_protocol", "send-proxy-v2"),
		scalar("proxy_tlvs", tlvTypesType(), "all", func(c *clusterDraft) *TLVTypes { return &c.Defaults.ProxyTLVs },
			"TLVs of the client's PROXY header that `send_proxy = \"v2\"` passes on: `all`, `none`, or a list of types: numbers such as "+
				"`\"0xE5\"` or names (`authority`, `alpn`, `unique_id`, `ssl`, `aws_vpce_id`, `azure_link_id`, `gcp_psc_id`). Can be set "+
				"per server.").withAliases("proxy-v2-options"),

		tables("level", "Priority tiers of servers, in the order in which they are tried. At least one.", decodeLevel).
			withAliases("levels", "group", "groups", "tier", "priority"),
		tables("check", "Checks of the servers.", decodeCheck).
			withAliases("checks", "health_check", "healthcheck", "monitor", "monitors"),
		table("topology", "Who is the primary, according to the data store. Servers without the role that the cluster asks for get no sessions.", decodeTopology).
			withAliases("sentinel", "replication", "discovery"),
		table("fleet", "What the nodes of a [fleet](#fleet) decide together.", decodeClusterFleet),
	}
}

// clusterDraft is a cluster with the positions of its parts.
type clusterDraft struct {
	Cluster
	node     *tree.Node
	levels   []levelDraft
	checks   []checkDraft
	topology *topologyDraft // nil = none
	fleet    *tree.Node     // [cluster.NAME.fleet]; nil = none

	named      map[string]int // index by name of the named levels
	incomplete bool           // part of it could not be parsed, so what seems missing may exist
}

func decodeClusters(d *decoder, n *tree.Node, into *draft) {
	if n.Kind != tree.Table {
		d.errorAt(n, "want [cluster.NAME] tables, got %s", gotTable(n))
		d.markSuggested(n.Parent, "cluster")
		return
	}
	for _, c := range n.Keys {
		if d.tooManyErrors() {
			return
		}
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
	setDefaults(d.schema.clusterFleet, &c.Fleet)
	decodeTable(d, n, d.schema.cluster, &c)
	if c.Balance == ipHash {
		if k := n.Get("hash_key"); k != nil && c.HashKey != "" && c.HashKey != "client_ip" {
			d.errorAt(k, "balance = \"ip_hash\" always uses client_ip; use \"hash\" for hash_key %s", c.HashKey)
		}
		c.Balance, c.HashKey = "hash", "client_ip"
	}
	if len(c.levels) == 0 && c.Topology != nil && c.Topology.Discover && !d.suggested[n]["level"] {
		c.levels = []levelDraft{{Level: Level{MinUp: 1}, node: n, inherit: c.Defaults}}
	} else if n.Get("level") == nil {
		d.errorMissing(n, "level", "cluster %s has no server: it has no level; want at least one [[%s.level]]", n.Name, tablePath(n))
	} else if list := n.Get("level"); list.Kind == tree.List && len(list.Items) == 0 {
		d.errorAt(list, "cluster %s has no server: it has no level; want at least one", n.Name)
	}
	c.incomplete = d.incomplete || n.Incomplete || d.suggested[n]["level"] || slices.ContainsFunc(c.levels, func(l levelDraft) bool { return l.node.Incomplete })
	validateLevels(d, &c)
	validateChecks(d, &c)
	validateTopology(d, &c)
	validateRebalance(d, &c)
	for _, l := range c.levels {
		c.Levels = append(c.Levels, l.finish())
	}
	for _, k := range c.checks {
		c.Checks = append(c.Checks, k.Check)
	}
	return c
}

// validateRebalance reports automatic rebalancing with a method that chooses servers by other rules than shares.
func validateRebalance(d *decoder, c *clusterDraft) {
	if c.Rebalance != "auto" {
		return
	}
	switch c.Balance {
	case "hash", "maglev", "first":
		d.errorAt(c.node.Get("rebalance"), "balance = %q has no shares by weight; rebalance = \"auto\" needs another method", c.Balance)
	}
}
