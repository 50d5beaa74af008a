package conf

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"weir/conf/internal/tree"
)

func serverKeys() []key[Server] {
	return []key[Server]{
		serverAddressKey(),
		scalar("name", orEmpty(serverNameType()), "", func(s *Server) *string { return &s.Name },
			"Unique in the level. The same name in another level is the same server.").withDefaultText("the address as written").withAliases("id"),
		serverPortKey(),
		scalar("weight", integerType(0, maxWeight), "1", func(s *Server) *int { return &s.Weight },
			"Share of the sessions; 0 = used only if no other server of the level has a weight. May differ from level to level."),
		scalar("max_fails", integerType(0, maxInt), "3", func(s *Server) *int { return &s.MaxFails },
			"As in the cluster.").fromCluster(),
		scalar("fail_timeout", positiveDuration(), "10s", func(s *Server) *time.Duration { return &s.FailTimeout },
			"As in the cluster.").fromCluster(),
		scalar("state", serverStateType(), "ready", func(s *Server) *string { return &s.State },
			"`ready`; `drain`: no new sessions; `maint`: out of service and not checked."),
		scalar("max_sessions", integerType(0, maxInt), "0", func(s *Server) *int { return &s.MaxSessions },
			"As in the cluster.").fromCluster().withAliases("maxconn", "max_conns"),
		scalar("source", sourceType(), "", func(s *Server) *Source { return &s.Source },
			"As in the cluster.").fromCluster().withAliases("bind", "proxy_bind", "bind_address", "local_address"),
		scalar("source_interface", orEmpty(interfaceType()), "", func(s *Server) *string { return &s.Interface },
			"As in the cluster.").fromCluster().withAliases("interface", "device"),
		scalar("send_proxy", sendProxyType(), "", func(s *Server) *string { return &s.SendProxy },
			"As in the cluster.").fromCluster().withAliases("send-proxy", "proxy_protocol", "send-proxy-v2"),
		scalar("proxy_tlvs", tlvTypesType(), "all", func(s *Server) *TLVTypes { return &s.ProxyTLVs },
			"As in the cluster.").fromCluster().withAliases("proxy-v2-options"),
	}
}

// maxWeight is the maximum weight of a server, as in HAProxy.
const maxWeight = 256

// sendProxyType is a version of the PROXY protocol, or empty.
func sendProxyType() valueType[string] {
	k := orEmpty(oneOf([]string{"v1", "v2"}, map[string]string{"1": "v1", "2": "v2"}))
	k.show = func(s string) string { return cmp.Or(s, "none") }
	return k
}

func serverStateType() valueType[string] {
	return oneOf([]string{"ready", "drain", "maint"},
		map[string]string{"up": "ready", "down": "maint", "disabled": "maint", "maintenance": "maint", "draining": "drain"})
}

// serverDraft is a server with its position.
type serverDraft struct {
	Server
	node    *tree.Node
	invalid bool // it has an error, so it is not compared with others
}

func decodeServers(d *decoder, n *tree.Node, l *levelDraft) {
	for _, e := range d.list(n, "servers") {
		if d.tooManyErrors() {
			return
		}
		s := serverDraft{Server: l.inherit, node: e}
		before := len(d.errs)
		if table := serverTable(d, e); table != nil {
			decodeTable(d, table, d.schema.server, &s.Server)
			finishServer(d, table, &s.Server)
		}
		s.invalid = len(d.errs) > before || e.Incomplete
		l.servers = append(l.servers, s)
	}
}

// serverTable returns the table form of a server, or nil if it is neither a table nor a string.
func serverTable(d *decoder, n *tree.Node) *tree.Node {
	if text, ok := n.Value.(string); ok {
		return parseServerString(d, n, text)
	}
	if n.Kind == tree.Table {
		return n
	}
	table := `{ address = "10.0.0.1:6379" }`
	if n.File.JSON {
		table = `{"address": "10.0.0.1:6379"}`
	}
	d.errorAt(n, "want a server such as \"10.0.0.1:6379 weight=5\" or %s, got %s", table, n.Describe())
	return nil
}

// maxWords limits a server's string form; there are fewer keys.
const maxWords = 64

// parseServerString turns a server's string form, "ADDRESS KEY=VALUE …", into a table. All nodes have the position of
// the string.
func parseServerString(d *decoder, n *tree.Node, text string) *tree.Node {
	t := &tree.Node{File: n.File, Offset: n.Offset, KeyOffset: n.KeyOffset, Kind: tree.Table, Parent: n.Parent, Index: n.Index}
	words := strings.Fields(text)
	if len(words) == 0 {
		d.errorAt(n, "empty server; want an address such as \"10.0.0.1:6379\"")
		return nil
	}
	if len(words) > maxWords {
		d.errorAt(n, "server with %d words; want an address and at most %d KEY=VALUE pairs", len(words), maxWords-1)
		return nil
	}
	if name, _, ok := strings.Cut(words[0], "="); !ok || strings.ContainsAny(name, ":/") || name == "" {
		words[0] = "address=" + words[0]
	}
	ok := true
	for _, w := range words {
		name, value, pair := strings.Cut(w, "=")
		switch {
		case !pair || name == "":
			d.errorAt(n, "want KEY=VALUE after the address, got %s", tree.Quote(w))
			ok = false
		case t.Get(name) != nil:
			d.errorAt(n, "duplicate key %s", tree.QuoteKey(name))
			ok = false
		default:
			t.Keys = append(t.Keys, &tree.Node{File: n.File, Offset: n.Offset, KeyOffset: n.Offset, Value: value, InString: true, Parent: t, Name: name})
		}
	}
	if !ok {
		d.markSuggested(t, "address")
	}
	return t
}

// finishServer fills in values that depend on other keys of the server.
func finishServer(d *decoder, n *tree.Node, s *Server) {
	written := n.Get("address")
	if written == nil {
		return
	}
	if own := n.Get("name"); s.Name == "" && (own == nil || own.Value == "") && !s.Address.IsZero() {
		s.Name, _ = written.Value.(string)
	}
	if s.Source.IsZero() || s.Address.IsZero() {
		return
	}
	own := n.Get("source")
	switch to := s.Address.Addr.Addr(); {
	case s.Address.SamePort && s.Source.Client:
		d.errorAt(written, "source = \"client\" requires a port in the address: replies are routed by it")
	case s.Address.Path != "" && own != nil: // given here, not inherited
		d.errorAt(own, "source does not apply to unix sockets")
	case s.Address.Path != "":
		s.Source = Source{}
	case to.IsValid() && !s.Source.Client && len(s.Source.RangesFor(to)) == 0:
		d.errorAt(written, "family mismatch: cannot connect to %s from source %s", s.Address, s.Source)
	}
}

// keyOrServer returns the node of a key in the table form, or else the server.
func (s *serverDraft) keyOrServer(name string) *tree.Node {
	if n := s.node.Get(name); n != nil {
		return n
	}
	return s.node
}

// givenAt returns the node that sets a key: its value in the table form, the server in the string form, or nil.
func (s *serverDraft) givenAt(name string) *tree.Node {
	words, _ := s.node.Value.(string)
	if slices.ContainsFunc(strings.Fields(words), func(w string) bool { return strings.HasPrefix(w, name+"=") }) {
		return s.node
	}
	return s.node.Get(name)
}
