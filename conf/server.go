package conf

import (
	"slices"
	"strings"
	"time"
)

func serverKeys() []key[Server] {
	return []key[Server]{
		scalar("address", serverAddress(), "", func(s *Server) *Address { return &s.Address },
			"Where to dial: `\"10.0.0.1:6379\"`, `\"[::1]:6379\"`, `\"db1.example:6379\"` or `\"unix:/run/redis.sock\"`.").required().balancing().called("addr", "host", "target"),
		scalar("name", orNone(serverName()), "", func(s *Server) *string { return &s.Name },
			"Unique in the level. The same name in another level is the same server.").defaults("the address as written").called("id").identity(),
		scalar("weight", integer(0, maxWeight), "1", func(s *Server) *int { return &s.Weight },
			"Its share; 0 = only when no other server of the level has weight. May differ from level to level.").balancing(),
		scalar("max_fails", integer(0, most), "3", func(s *Server) *int { return &s.MaxFails },
			"As in the cluster.").inherits().balancing(),
		scalar("fail_timeout", someTime(), "10s", func(s *Server) *time.Duration { return &s.FailTimeout },
			"As in the cluster.").inherits().balancing(),
		scalar("state", serverState(), "ready", func(s *Server) *string { return &s.State },
			"`ready`; `drain`: no new sessions; `maint`: out of service and not checked.").balancing(),
		scalar("max_sessions", integer(0, most), "0", func(s *Server) *int { return &s.MaxSessions },
			"As in the cluster.").inherits().balancing().called("maxconn", "max_conns"),
		scalar("source", sources(), "", func(s *Server) *Source { return &s.Source },
			"As in the cluster.").inherits().called("bind", "proxy_bind", "bind_address", "local_address"),
		scalar("send_proxy", sendProxy(), "", func(s *Server) *string { return &s.SendProxy },
			"As in the cluster.").inherits().called("send-proxy", "proxy_protocol", "send-proxy-v2"),
	}
}

// maxWeight is the largest weight of a server, that of HAProxy.
const maxWeight = 256

// sendProxy is a version of the PROXY protocol, or empty.
func sendProxy() kind[string] {
	k := orNone(oneOf([]string{"v1", "v2"}, map[string]string{"1": "v1", "2": "v2"}))
	k.show = func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	return k
}

func serverState() kind[string] {
	return oneOf([]string{"ready", "drain", "maint"},
		map[string]string{"up": "ready", "down": "maint", "disabled": "maint", "maintenance": "maint", "draining": "drain"})
}

// serverDraft is a server together with where it stands.
type serverDraft struct {
	Server
	node  *node
	wrong bool // something about it is: it is not compared with others
}

func decodeServers(d *decoder, n *node, l *levelDraft) {
	if n.kind != nodeList {
		d.fault(n, "want a list of servers, got %s", n.got())
		return
	}
	for _, e := range n.items {
		if d.full() {
			return
		}
		s := serverDraft{Server: l.inherit, node: e}
		before := len(d.mistakes)
		table := e
		if text, ok := e.value.(string); ok {
			table = wordsAsTable(d, e, text)
		} else if e.kind != nodeTable {
			d.fault(e, "want a server such as \"10.0.0.1:6379 weight=5\" or { address = \"10.0.0.1:6379\" }, got %s", e.got())
			table = nil
		}
		if table != nil {
			decodeTable(d, table, d.schema.server, &s.Server)
			finishServer(d, table, &s.Server)
		}
		s.wrong = len(d.mistakes) > before || e.lost
		l.servers = append(l.servers, s)
	}
}

// maxWords bounds a server's string form; there are fewer keys than that.
const maxWords = 64

// wordsAsTable turns a server's string form, "ADDRESS KEY=VALUE …", into the table that it stands for; every part of it
// stands where the string does.
func wordsAsTable(d *decoder, n *node, text string) *node {
	t := &node{file: n.file, at: n.at, key: n.key, kind: nodeTable, parent: n.parent, index: n.index}
	words := strings.Fields(text)
	if len(words) == 0 {
		d.fault(n, "an empty server; want an address such as \"10.0.0.1:6379\"")
		return nil
	}
	if len(words) > maxWords {
		d.fault(n, "a server in %d words; want an address and at most %d KEY=VALUE pairs", len(words), maxWords-1)
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
			d.fault(n, "want KEY=VALUE after the address, got %s", quoteText(w))
			ok = false
		case t.get(name) != nil:
			d.fault(n, "duplicate key %s", quoteName(name))
			ok = false
		default:
			t.keys = append(t.keys, &node{file: n.file, at: n.at, key: n.at, value: value, word: true, parent: t, name: name})
		}
	}
	if !ok {
		d.seen(t, "address")
	}
	return t
}

// finishServer fills in what depends on other keys of the server.
func finishServer(d *decoder, n *node, s *Server) {
	written := n.get("address")
	if written == nil {
		return
	}
	if own := n.get("name"); s.Name == "" && (own == nil || own.value == "") && !s.Address.IsZero() {
		s.Name, _ = written.value.(string)
	}
	if s.Source.IsZero() || s.Address.IsZero() {
		return
	}
	own := n.get("source")
	switch to := s.Address.Addr.Addr(); {
	case s.Address.Path != "" && own != nil: // given here, not inherited
		d.fault(own, "a unix socket is dialled without a source address")
	case s.Address.Path != "":
		s.Source = Source{}
	case to.IsValid() && !s.Source.Client && len(s.Source.RangesFor(to)) == 0:
		d.fault(written, "family mismatch: %s cannot be dialled from source %s", s.Address, s.Source)
	}
}

// at is where a key of the server stands: in the table, or in the string that stands for it.
func (s *serverDraft) at(name string) *node {
	if n := s.node.get(name); n != nil {
		return n
	}
	return s.node
}

// given is where a key of the server was written, which a string is as a whole; nil if it was not.
func (s *serverDraft) given(name string) *node {
	words, _ := s.node.value.(string)
	if slices.ContainsFunc(strings.Fields(words), func(w string) bool { return strings.HasPrefix(w, name+"=") }) {
		return s.node
	}
	return s.node.get(name)
}
