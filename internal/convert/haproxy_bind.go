package convert

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// bind is a bind line: addresses with their options.
type bind struct {
	addresses []string
	options   table
}

// bindFlags are options of bind lines without which nothing is lost, with the number of their values.
var bindFlags = map[string]int{
	"name": 1, "id": 1, "process": 1, "thread": 1, "shards": 1, "nice": 1, "v4v6": 0, "v6only": 0, "level": 1,
	"severity-output": 1, "mptcp": 0, "no-quic": 0, "expose-fd": 1, "maxconn": 1, "gid": 1, "uid": 1,
}

// bind translates a bind line.
func (p *proxy) bind(l *line) {
	b := &bind{}
	words := l.words[min(2, len(l.words)):]
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch w := words[i]; w {
		case "accept-proxy":
			b.options.set("accept_proxy", "true")
			b.options.set("trusted_proxies", quoteList([]string{"0.0.0.0/0", "::/0"}))
			p.explain(l, "accept-proxy trusts every client: list your proxies in trusted_proxies")
			continue
		case "transparent":
			b.options.set("freebind", "true")
			continue
		case "defer-accept":
			b.options.set("defer_accept", "true")
			continue
		case "tfo":
			b.options.set("fast_open", "256")
			continue
		case "ssl":
			p.warn(l, "left out: weir passes TLS through and does not terminate it")
			return
		case "interface":
			b.options.setText("interface", value)
		case "backlog":
			b.options.set("backlog", number(value))
		case "mode":
			b.options.setText("unix_mode", "0"+strings.TrimLeft(value, "0"))
		case "user", "uid":
			b.options.setText("unix_owner", value)
		case "group", "gid":
			b.options.setText("unix_group", value)
		case "tcp-ut":
			if d, ok := period(value, time.Millisecond); ok {
				b.options.set("tcp_user_timeout", writeDuration(d))
			}
		default:
			skip, known := bindFlags[w]
			if !known {
				p.warn(l, "option "+w+" has no counterpart")
				if i+1 < len(words) {
					skip = 1
				}
			}
			i += skip
			continue
		}
		i++ // the value
	}
	for _, a := range strings.Split(l.word(1), ",") {
		address, reason := bindAddress(a, l)
		if reason != "" {
			p.warn(l, reason)
			continue
		}
		b.addresses = append(b.addresses, address)
	}
	if len(b.addresses) > 0 {
		p.binds = append(p.binds, b)
	}
}

// bindAddress translates the address of a bind line, or says why it cannot.
func bindAddress(a string, l *line) (address, reason string) {
	v6 := false
	switch {
	case strings.HasPrefix(a, "/"):
		return "unix:" + a, ""
	case strings.HasPrefix(a, "unix@"):
		return "unix:" + strings.TrimPrefix(a, "unix@"), ""
	case strings.HasPrefix(a, "ipv4@"), strings.HasPrefix(a, "tcp4@"), strings.HasPrefix(a, "tcp@"):
		a = a[strings.IndexByte(a, '@')+1:]
	case strings.HasPrefix(a, "ipv6@"), strings.HasPrefix(a, "tcp6@"):
		v6, a = true, a[5:]
	case strings.ContainsRune(a, '@'):
		return "", "addresses of this kind have no counterpart"
	}
	host, port := splitAddress(a)
	if !validPorts(port) {
		return "", "no port"
	}
	switch host {
	case "", "*", "0.0.0.0":
		if v6 {
			return "[::]:" + port, ""
		}
		return "0.0.0.0:" + port, ""
	case "::", "[::]":
		return "[::]:" + port, ""
	}
	if strings.ContainsRune(host, ':') && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":" + port, ""
}

// splitAddress splits an address of HAProxy at its last colon. IPv6 addresses need no brackets there.
func splitAddress(a string) (host, port string) {
	if strings.HasPrefix(a, "[") {
		if at := strings.LastIndexByte(a, ']'); at >= 0 {
			return a[:at+1], strings.TrimPrefix(a[at+1:], ":")
		}
	}
	at := strings.LastIndexByte(a, ':')
	if at < 0 {
		return a, ""
	}
	return a[:at], a[at+1:]
}

// validPorts reports whether the text is a port or a range of ports.
func validPorts(s string) bool {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	return err1 == nil && err2 == nil && from > 0 && from <= to
}

// writeListeners writes a listener for each bind line, or one for all that have the same options.
func (p *proxy) writeListeners() {
	h := p.h
	if len(p.binds) == 0 {
		h.warn(&p.notes, p.section.head.origin(), "no address that could be translated: the listener is left out")
		h.notes = append(h.notes, p.notes...)
		p.notes = nil
		return
	}
	p.setListenerTimeouts()
	var groups []*bind
	for _, b := range p.binds {
		if n := len(groups); n > 0 && sameTable(&groups[n-1].options, &b.options) {
			groups[n-1].addresses = append(groups[n-1].addresses, b.addresses...)
			continue
		}
		groups = append(groups, b)
	}
	for _, b := range groups {
		t := h.add("[[listener]]")
		t.notes, p.notes = p.notes, nil
		name, changed := h.listeners.make(p.section.name)
		if changed {
			t.comment("The name %q of %s is taken or not allowed in weir.", p.section.name, p.section.kind)
		}
		t.set("name", quote(name))
		setAddresses(t, b.addresses)
		t.set("cluster", quote(p.defaultCluster(t)))
		copyKeys(t, &p.listener)
		copyKeys(t, &b.options)
		p.writeRules(t)
	}
}

// setAddresses sets the addresses of a listener. All IPv4 and all IPv6 addresses of a port become one address.
func setAddresses(t *table, addresses []string) {
	var list []string
	for _, a := range addresses {
		if port, v6 := strings.CutPrefix(a, "[::]:"); v6 {
			if i := slices.Index(list, "0.0.0.0:"+port); i >= 0 {
				list[i] = ":" + port
				continue
			}
		}
		if port, v4 := strings.CutPrefix(a, "0.0.0.0:"); v4 {
			if i := slices.Index(list, "[::]:"+port); i >= 0 {
				list[i] = ":" + port
				continue
			}
		}
		list = append(list, a)
	}
	if len(list) == 1 {
		t.set("address", quote(list[0]))
	} else {
		t.set("address", quoteList(list))
	}
}

// defaultCluster returns the cluster of clients that no rule sends elsewhere.
func (p *proxy) defaultCluster(t *table) string {
	h := p.h
	name := p.defaultBackend
	switch {
	case name == "" && p.section.kind == "listen":
		return h.clusterOf[p.section.name]
	case name == "":
		t.comment("There is no default backend: clients that no route takes are reset.")
	case h.modeOf[name] == "http":
		h.warnings++
		t.comment("WARNING: the default backend %s is an HTTP proxy, and was skipped.", name)
	case h.clusterOf[name] == "":
		h.warnings++
		t.comment("WARNING: the default backend %s does not exist.", name)
	default:
		return h.clusterOf[name]
	}
	if h.nothing == "" {
		h.nothing, _ = h.clusters.make("none")
	}
	return h.nothing
}

// setListenerTimeouts sets what the timeouts mean for clients.
func (p *proxy) setListenerTimeouts() {
	client, known := p.timeouts["client"]
	if tunnel, also := p.timeouts["tunnel"]; also {
		client, known = tunnel, true
	}
	if known {
		p.listener.set("client_idle_timeout", writeDuration(client))
	}
	fin := max(p.timeouts["client-fin"], p.timeouts["server-fin"])
	if fin > 0 {
		p.listener.set("half_close_timeout", writeDuration(fin))
	}
}

func sameTable(a, b *table) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for _, k := range a.keys {
		if a.values[k] != b.values[k] {
			return false
		}
	}
	return true
}

func copyKeys(to, from *table) {
	for _, k := range from.keys {
		to.set(k, from.values[k])
	}
}
