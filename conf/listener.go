package conf

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

func listenerKeys() []key[listenerDraft] {
	field := func(l *listenerDraft) *Listener { return &l.Listener }
	return []key[listenerDraft]{
		scalar("name", nameType(), "", func(l *listenerDraft) *string { return &field(l).Name },
			"Unique among listeners.").required().withAliases("id"),
		{
			name: "address", typeText: "address or list", isRequired: true, aliases: []string{"bind", "listen", "addresses"},
			doc: "Addresses to listen at: `\"10.0.0.1:6379\"`, `\"[::1]:6379\"`, `\":6379\"` (all addresses, the same as " +
				"`\"[::]:6379\"`), `\"0.0.0.0:7000-7005\"` (one address per port) or `\"unix:/run/redis.sock\"`. No host names.",
			decode: decodeListenAddresses,
		},
		scalar("protocol", oneOf([]string{"tcp", "udp"}, nil), "tcp", func(l *listenerDraft) *string { return &field(l).Protocol },
			"`tcp` or `udp`."),
		scalar("cluster", nameType(), "", func(l *listenerDraft) *string { return &field(l).Cluster },
			"The cluster that serves the clients.").required().withAliases("proxy_pass", "service"),
		{
			name: "levels", typeText: "list", defaultText: "[]",
			doc: "Levels of the cluster to try, in this order: names, or numbers counted from 1. Empty = all levels, in file order.",
			decode: func(d *decoder, n *tree.Node, l *listenerDraft) {
				l.levels = decodeLevelReferences(d, n)
			},
		},
		accessList("allow", func(l *listenerDraft) *Clients { return &field(l).Allow },
			"Clients to accept: addresses and CIDRs, `\"unix:\"` for clients of unix sockets, `\"all\"` for every client; with `accept_proxy` also "+
				"the endpoint in a cloud that the PROXY header names: `\"aws_vpce_id:vpce-0abc\"`, `\"azure_link_id:1234\"`, "+
				"`\"gcp_psc_id:1234\"`. Empty = every client.").withAliases("allow_from", "allowlist", "whitelist"),
		accessList("deny", func(l *listenerDraft) *Clients { return &field(l).Deny },
			"Clients to reject, even if `allow` lists them; as in `allow`. Empty = none.").withAliases("deny_from", "denylist", "blacklist"),
		scalar("max_sessions", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxSessions },
			"Maximum number of concurrent sessions over all addresses; 0 = no limit. Clients over the limit are reset.").withAliases("maxconn", "max_connections", "max_conns"),
		scalar("max_sessions_per_source", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxSessionsPerSource },
			"Maximum number of concurrent sessions per source; 0 = no limit. A source is an IPv4 address or an IPv6 prefix "+
				"(`source_prefix_v6`). Does not apply to clients of unix sockets.").withAliases("limit_conn", "max_conns_per_ip"),
		scalar("max_session_rate", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxSessionRate },
			"Maximum number of new sessions per second, with bursts of the same size; 0 = no limit.").withAliases("rate_limit", "maxconnrate", "max_rate"),
		scalar("max_session_rate_per_source", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxSessionRatePerSource },
			"Maximum number of new sessions per second and source, with bursts of the same size; 0 = no limit. Up to 32,768 sources are "+
				"remembered.").withAliases("rate_limit_per_source", "limit_req"),
		scalar("source_prefix_v6", integerType(1, 128), "64", func(l *listenerDraft) *int { return &field(l).SourcePrefixV6 },
			"Length of the IPv6 prefix that counts as one source for the limits per source: one client usually has a whole /64."),
		scalar("when_full", oneOf([]string{"reject", "wait"}, nil), "reject", func(l *listenerDraft) *string { return &field(l).WhenFull },
			"What clients over `max_sessions`, or over `runtime.max_sessions`, get: `reject` resets them, `wait` stops accepting until a "+
				"session ends. Those that wait are in the kernel's queue, of at most `backlog` clients per event loop, and wait as long as they like.").withAliases("on_full").onlyFor("tcp"),
		scalar("accept_proxy", booleanType(), "false", func(l *listenerDraft) *bool { return &field(l).AcceptProxy },
			"Require a PROXY header, version 1 or 2, from every client.").withAliases("accept-proxy", "proxy_protocol", "proxy_in"),
		clients("trusted_proxies", func(l *listenerDraft) *Clients { return &field(l).TrustedProxies },
			"Clients that may send PROXY headers: addresses and CIDRs. Others are rejected. Required with `accept_proxy`, except for "+
				"unix sockets.").withAliases("set_real_ip_from"),
		scalar("proxy_timeout", positiveDuration(), "5s", func(l *listenerDraft) *time.Duration { return &field(l).ProxyTimeout },
			"Maximum time from accept to the last byte of the PROXY header.").onlyFor("tcp"),
		scalar("preread_timeout", positiveDuration(), "5s", func(l *listenerDraft) *time.Duration { return &field(l).PrereadTimeout },
			"Maximum time for the client's TLS ClientHello, on listeners that wait for it: those with `sni` or `alpn` in a route, or with "+
				"a cluster with `hash_key = \"sni\"`.").withAliases("ssl_preread", "inspect_delay", "tcp-request inspect-delay").onlyFor("tcp"),
		scalar("client_idle_timeout", durationOrZero(), "0s", func(l *listenerDraft) *time.Duration { return &field(l).ClientIdleTimeout },
			"Ends a session after this time without a byte in either direction on the client side; 0 = never.").withAliases("timeout", "idle_timeout", "timeout_client", "timeout client").onlyFor("tcp"),
		scalar("half_close_timeout", positiveDuration(), "30s", func(l *listenerDraft) *time.Duration { return &field(l).HalfCloseTimeout },
			"Ends a session after this time without a byte once one side has closed its direction.").onlyFor("tcp"),
		scalar("tcp_keepalive", durationType(time.Second, maxKeepalive, true), "60s", func(l *listenerDraft) *time.Duration { return &field(l).TCPKeepalive },
			"Idle time before TCP keepalive probes, on the sockets of both sides. 0 = off; at least 1s, at most "+showDuration(maxKeepalive)+".").withAliases("keepalive", "so_keepalive").onlyFor("tcp"),
		scalar("tcp_user_timeout", durationType(minDuration, maxUserTimeout, true), "0s", func(l *listenerDraft) *time.Duration { return &field(l).TCPUserTimeout },
			"How long sent bytes may stay unacknowledged, or unread by a host that answers, before the session is ended; on both "+
				"sides. 0 = 60 seconds for a host that sends nothing at all, and no limit for one that answers; at most "+showDuration(maxUserTimeout)+".").onlyFor("tcp"),
		scalar("max_rate_up", byteRateType(), "0", func(l *listenerDraft) *int64 { return &field(l).MaxRateUp },
			"Maximum number of bytes per second of each session from the client to the server: an integer, or a text such as `\"10M\"` with K, M "+
				"or G (1,024 bytes and so on); 0 = no limit. See [below](#limits-of-the-rate).").withAliases("proxy_upload_rate", "upload_rate", "bwlim-in").onlyFor("tcp"),
		scalar("max_rate_down", byteRateType(), "0", func(l *listenerDraft) *int64 { return &field(l).MaxRateDown },
			"The same from the server to the client.").withAliases("proxy_download_rate", "download_rate", "limit_rate", "bwlim-out").onlyFor("tcp"),
		scalar("backlog", integerType(1, 1<<20), "4096", func(l *listenerDraft) *int { return &field(l).Backlog },
			"Connections that may wait to be accepted; the kernel limits it to net.core.somaxconn.").onlyFor("tcp"),
		scalar("defer_accept", booleanType(), "false", func(l *listenerDraft) *bool { return &field(l).DeferAccept },
			"Accept a client when its first bytes have arrived, or after about a second (TCP_DEFER_ACCEPT): a client that only connects costs nothing. "+
				"Not for protocols in which the server speaks first, such as MySQL.").withAliases("deferred", "defer-accept", "accept_filter").onlyFor("tcp"),
		scalar("fast_open", integerType(0, 1<<20), "0", func(l *listenerDraft) *int { return &field(l).FastOpen },
			"Clients that may send data with their SYN (TCP_FASTOPEN) before the handshake is complete, at a time; 0 = none. Needs "+
				"net.ipv4.tcp_fastopen = 3. The network may repeat such a SYN, so the first bytes of a session can arrive twice: only for protocols that bear it.").withAliases("fastopen", "tfo", "tcp_fastopen").onlyFor("tcp"),
		scalar("freebind", booleanType(), "false", func(l *listenerDraft) *bool { return &field(l).Freebind },
			"Bind addresses that this host does not have yet (IP_FREEBIND): a standby in VRRP or BGP listens before it gets the address.").withAliases("transparent", "nonlocal", "ip_freebind"),
		scalar("interface", orEmpty(interfaceType()), "", func(l *listenerDraft) *string { return &field(l).Interface },
			"Accept only clients that arrive at this network interface (SO_BINDTODEVICE). Empty = any.").withDefaultText("`\"\"`").withAliases("device", "bind_to_device", "so_bindtodevice"),
		scalar("unix_mode", fileModeType(), "0666", func(l *listenerDraft) *fs.FileMode { return &field(l).UnixMode },
			"Permissions of the file of a unix socket. With the default, access is decided by the directory.").withAliases("mode", "socket_mode", "perm").onlyFor("tcp"),
		scalar("unix_owner", ownerType("user"), "", func(l *listenerDraft) *string { return &field(l).UnixOwner },
			"Owner of the file of a unix socket: a user's name or number. Empty = the user of weir.").withDefaultText("`\"\"`").withAliases("user", "uid", "socket_owner").onlyFor("tcp"),
		scalar("unix_group", ownerType("group"), "", func(l *listenerDraft) *string { return &field(l).UnixGroup },
			"Group of the file of a unix socket: a group's name or number. Empty = that of weir or of the directory.").withDefaultText("`\"\"`").withAliases("group", "gid", "socket_group").onlyFor("tcp"),
		scalar("flow_timeout", positiveDuration(), "30s", func(l *listenerDraft) *time.Duration { return &field(l).FlowTimeout },
			"udp: ends a flow after this time without a datagram in either direction.").withAliases("udp_timeout").onlyFor("udp"),
		scalar("responses", integerType(0, maxResponses), "0", func(l *listenerDraft) *int { return &field(l).Responses },
			"udp: number of responses to each datagram of a client. When all have arrived, the flow ends and the next datagram is "+
				"balanced again; with 1, so is a datagram that arrives before the response. 0 = any number: only `flow_timeout` ends a "+
				"flow.").withAliases("proxy_responses", "udp_responses").onlyFor("udp"),
		scalar("requests", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).Requests },
			"udp: balances a flow again after so many datagrams of its client; replies to the old port are delivered for another second. "+
				"With 1 and `responses = 0`, one-way protocols such as syslog are spread evenly. 0 = any number.").withAliases("proxy_requests").onlyFor("udp"),
		scalar("max_flow_age", durationOrZero(), "0s", func(l *listenerDraft) *time.Duration { return &field(l).MaxFlowAge },
			"udp: balances a flow again at its next datagram after this age; 0 = never.").onlyFor("udp"),
		scalar("max_flows", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxFlows },
			"udp: maximum number of concurrent flows over all addresses. At the limit, a new flow replaces the oldest flow that no "+
				"server has answered, else the oldest one whose client has not sent since the first answer; if there is neither, the new "+
				"flow is dropped. 0 = an equal share of the process's sessions, "+
				"see [below](#udp-listeners).").withAliases("udp_max_sessions").onlyFor("udp"),
		scalar("max_flows_per_source", integerType(0, maxInt), "0", func(l *listenerDraft) *int { return &field(l).MaxFlowsPerSource },
			"udp: maximum number of concurrent flows per source; 0 = no limit.").onlyFor("udp"),
		scalar("promote", oneOf([]string{"off", "auto"}, nil), "off", func(l *listenerDraft) *string { return &field(l).Promote },
			"udp: `auto` lets the kernel forward the datagrams of flows that have proved to be busy, at `runtime.promote_interfaces`: see [below](#promotion).").onlyFor("udp"),
		promoteAfterKey().onlyFor("udp"),
		tables("route", "Clients that another cluster serves, by TLS server name, protocol or address: see [below](#routes). The first route that matches applies.", decodeRoute).
			withAliases("routes", "rule", "rules", "use_backend", "acl", "map"),
	}
}

// maxResponses keeps sums of expected responses from overflowing.
const maxResponses = 1 << 16

// Limits of the kernel: MAX_TCP_KEEPIDLE is 32,767 s (net/tcp.h), and TCP_USER_TIMEOUT is an int of milliseconds.
const (
	maxKeepalive   = 32767 * time.Second
	maxUserTimeout = math.MaxInt32 / 1000 / 3600 * time.Hour
)

// listenerDraft is a listener whose references are not linked yet.
type listenerDraft struct {
	Listener
	node   *tree.Node
	ranges []listenRange
	levels []levelReference
	routes []routeDraft
}

// listenRange is an address as written, before its ports are expanded.
type listenRange struct {
	parsed
	node *tree.Node
}

// levelReference names a level of the cluster, or gives its number counted from 1.
type levelReference struct {
	name   string
	number int
	node   *tree.Node
}

// finishListener rejects keys in the table n that do not apply to the listener's protocol.
func finishListener(d *decoder, n *tree.Node, l *listenerDraft) {
	if l.Protocol == "" {
		return // reported already
	}
	for _, k := range d.schema.listener {
		if at := n.Get(k.name); at != nil && k.types != nil && !slices.Contains(k.types, l.Protocol) {
			d.errorAtKey(at, "%s applies to %s listeners; the protocol of this one is %s", k.name, k.types[0], l.Protocol)
		}
	}
	isUnix := func(r listenRange) bool { return r.Path != "" }
	for _, name := range unixKeys {
		if at := n.Get(name); at != nil && l.Protocol == "tcp" && len(l.ranges) > 0 && !slices.ContainsFunc(l.ranges, isUnix) {
			d.errorAtKey(at, "%s applies to unix sockets; this listener has none", name)
		}
	}
	l.finishRoutes(d, n)
	isIP := func(r listenRange) bool { return r.Path == "" }
	for _, name := range []string{"defer_accept", "fast_open", "freebind", "interface"} {
		if at := n.Get(name); at != nil && len(l.ranges) > 0 && !slices.ContainsFunc(l.ranges, isIP) {
			d.errorAtKey(at, "%s applies to IP addresses; this listener has only unix sockets", name)
		}
	}
	if l.Protocol == "udp" {
		for _, r := range l.ranges {
			if r.Path != "" {
				d.errorAt(r.node, "a udp listener cannot have a unix socket; want an IP address and a port")
			}
		}
	}
}

// unixKeys apply to listeners with a unix socket.
var unixKeys = []string{"unix_mode", "unix_owner", "unix_group"}

// fileModeType is the permissions of a file, in octal digits.
func fileModeType() valueType[fs.FileMode] {
	return valueType[fs.FileMode]{
		text: "octal mode",
		parse: func(n *tree.Node) (fs.FileMode, error) {
			s, _ := n.Value.(string)
			mode, err := strconv.ParseUint(s, 8, 9)
			if err != nil {
				return 0, fmt.Errorf("want permissions in octal digits such as \"0660\", got %s", n.Describe())
			}
			return fs.FileMode(mode), nil
		},
		show: func(m fs.FileMode) string { return fmt.Sprintf("%04o", uint32(m)) },
	}
}

// ownerType is the name or number of a user or a group, or empty.
func ownerType(kind string) valueType[string] {
	return orEmpty(textType(kind, func(s string) error {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(":/\"'`\\", r) }) {
			return fmt.Errorf("want a %s's name or number, got %s", kind, tree.Quote(s))
		}
		return nil
	}))
}

func decodeListenAddresses(d *decoder, n *tree.Node, l *listenerDraft) {
	entries := []*tree.Node{n}
	if n.Kind == tree.List {
		entries = n.Items
		if len(entries) == 0 {
			d.errorAt(n, "want at least one address")
		}
	}
	for _, e := range entries {
		s, ok := e.Value.(string)
		if !ok {
			d.errorAt(e, "want an address such as \"0.0.0.0:6379\", got %s", e.Describe())
			continue
		}
		p, err := parseAddress(s)
		switch {
		case err != nil:
			d.errorAt(e, "%s", err)
			continue
		case p.Host != "":
			d.errorAt(e, "want an IP address to listen at, got the name %q; for all addresses write \":%d\"", p.Host, p.Port)
			continue
		case p.Path == "" && !p.Addr.IsValid():
			p.Addr = allAddresses(p.Port)
		}
		l.ranges = append(l.ranges, listenRange{p, e})
	}
}

func decodeLevelReferences(d *decoder, n *tree.Node) []levelReference {
	var refs []levelReference
	for _, e := range d.list(n, "level names or numbers") {
		switch v := e.Value.(type) {
		case string:
			refs = append(refs, levelReference{name: v, node: e})
		case int64:
			refs = append(refs, levelReference{number: int(max(-1, min(v, maxInt))), node: e})
		default:
			d.errorAt(e, "want a level's name or its number counted from 1, got %s", e.Describe())
		}
	}
	return refs
}
