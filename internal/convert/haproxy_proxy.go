package convert

import (
	"strconv"
	"strings"
	"time"
)

// proxy is a frontend, a backend or both (listen) while its lines are read, those of its defaults section first.
type proxy struct {
	h         *haproxy
	section   *section
	inherited bool // the lines are those of the defaults section

	notes          []string // comments for the listener, or else the cluster
	binds          []*bind
	listener       table // keys of all listeners
	cluster        table // keys of the cluster
	timeouts       map[string]time.Duration
	disabled       bool
	defaultBackend string
	rules          rules
	check          checkKind
	servers        []*server
	serverDefaults []string // words of default-server lines
	allBackups     bool
}

func (h *haproxy) newProxy(s *section) *proxy {
	return &proxy{h: h, section: s, timeouts: map[string]time.Duration{}, rules: rules{acls: map[string][]acl{}}}
}

// isFront reports whether the proxy accepts clients.
func (p *proxy) isFront() bool { return p.section.kind == "frontend" || p.section.kind == "listen" }

// isBack reports whether the proxy has servers.
func (p *proxy) isBack() bool { return p.section.kind == "backend" || p.section.kind == "listen" }

// proxy translates a frontend, backend or listen section.
func (h *haproxy) proxy(s *section) {
	if mode := modeOf(s); mode == "http" {
		h.skipHTTP(s)
		return
	}
	p := h.newProxy(s)
	if s.defaults != nil {
		p.inherited = true
		for i := range s.defaults.lines {
			p.line(&s.defaults.lines[i])
		}
		p.inherited = false
	}
	for i := range s.lines {
		p.line(&s.lines[i])
	}
	if p.disabled {
		h.warn(&h.notes, s.head.origin(), "skipped: it is disabled")
		return
	}
	if p.isFront() {
		p.writeListeners()
	}
	if p.isBack() {
		p.writeCluster()
	}
}

// explain keeps a line without which nothing is lost.
func (p *proxy) explain(l *line, reason string) {
	if !p.inherited {
		p.h.explain(&p.notes, l.origin(), reason)
	}
}

// warn keeps a line whose effect is lost.
func (p *proxy) warn(l *line, reason string) {
	if !p.inherited {
		p.h.warn(&p.notes, l.origin(), reason)
	}
}

// duration sets a key to the time in a line.
func (h *haproxy) duration(t *table, key string, l *line, text string) {
	d, ok := period(text, time.Millisecond)
	if !ok {
		h.warn(&t.notes, l.origin(), "not a time")
		return
	}
	t.set(key, writeDuration(d))
}

// line translates a line of a proxy or of its defaults.
func (p *proxy) line(l *line) {
	if l.variable {
		p.warn(l, "the value of an environment variable is not known")
		return
	}
	first, second := l.words[0], l.word(1)
	if first == "no" && second == "option" {
		p.noOption(l)
		return
	}
	switch first {
	case "mode", "enabled":
	case "disabled":
		p.disabled = true
	case "bind":
		p.bind(l)
	case "default_backend":
		if !p.rules.ended {
			p.defaultBackend = second
		}
	case "use_backend":
		p.useBackend(l)
	case "acl":
		p.acl(l)
	case "tcp-request":
		p.tcpRequest(l)
	case "maxconn":
		p.listener.set("max_sessions", number(second))
		p.listener.set("when_full", quote("wait"))
	case "backlog":
		p.listener.set("backlog", number(second))
	case "rate-limit":
		p.listener.set("max_session_rate", number(l.word(2)))
	case "timeout":
		p.timeout(l)
	case "clitimeout", "srvtimeout", "contimeout":
		p.timeout(&line{number: l.number, text: l.text, words: []string{"timeout", map[string]string{"clitimeout": "client", "srvtimeout": "server", "contimeout": "connect"}[first], second}})
	case "retries":
		if n, err := strconv.Atoi(second); err == nil && n >= 0 {
			p.cluster.set("try", itoa(n+1)) // the first attempt counts too
		}
	case "balance":
		p.balance(l)
	case "source":
		p.cluster.setText("source", sourceOf(l.words[1:]))
	case "option", "http-check", "tcp-check", "external-check":
		p.option(l)
	case "default-server":
		p.serverDefaults = append(p.serverDefaults, l.words[1:]...)
	case "server":
		p.server(l)
	case "server-template":
		p.serverTemplate(l)
	case "stick-table", "stick":
		p.warn(l, "weir has no stick tables: balance = \"hash\" keeps a client at its server without one; limits per client are "+
			"max_sessions_per_source and max_session_rate_per_source")
	case "filter":
		if strings.HasPrefix(second, "bwlim-") {
			p.warn(l, "limits of the bytes per second of a session are max_rate_up and max_rate_down of a listener")
		} else {
			p.warn(l, "no counterpart")
		}
	case "dispatch":
		p.dispatch(l)
	case "email-alert":
		p.warn(l, "use an [[event]] hook")
	default:
		if reason, ok := reasonNotNeeded(l); ok {
			p.explain(l, reason)
		} else {
			p.warn(l, "no counterpart")
		}
	}
}

// timeout translates a timeout line.
func (p *proxy) timeout(l *line) {
	d, ok := period(l.word(2), time.Millisecond)
	switch name := l.word(1); {
	case !ok:
		p.warn(l, "not a time")
	case name == "client", name == "server", name == "connect", name == "queue", name == "check", name == "tunnel",
		name == "client-fin", name == "server-fin":
		p.timeouts[name] = d
	case strings.HasPrefix(name, "http-"), name == "tarpit":
		p.explain(l, "only for HTTP")
	default:
		p.warn(l, "no counterpart")
	}
}

// noOption translates "no option …", which takes back an option of the defaults.
func (p *proxy) noOption(l *line) {
	switch l.word(2) {
	case "allbackups":
		p.allBackups = false
	case "tcp-check", "redis-check", "mysql-check", "pgsql-check", "httpchk", "ssl-hello-chk", "external-check", "smtpchk", "ldap-check":
		p.check = checkKind{}
	case "tcpka", "clitcpka":
		p.listener.set("tcp_keepalive", `"0s"`)
	case "redispatch":
		p.warn(l, "a failed attempt always continues with another server")
	default:
		p.explain(l, "no counterpart, and not set")
	}
}

// balance translates the balancing method.
func (p *proxy) balance(l *line) {
	switch method := l.word(1); {
	case method == "roundrobin", method == "static-rr":
		p.cluster.set("balance", quote("wrr"))
	case method == "leastconn":
		p.cluster.set("balance", quote("least_sessions"))
	case method == "first":
		p.cluster.set("balance", quote("first"))
	case method == "source":
		p.cluster.set("balance", quote("hash"))
	case method == "random", strings.HasPrefix(method, "random("):
		p.cluster.set("balance", quote("random"))
	default:
		p.warn(l, "no counterpart at layer 4; wrr is used")
	}
}

// sourceOf translates the words after "source".
func sourceOf(words []string) string {
	if len(words) == 0 {
		return ""
	}
	for i, w := range words {
		if w == "usesrc" && i+1 < len(words) && strings.HasPrefix(words[i+1], "client") {
			return "client"
		}
	}
	host, _ := splitAddress(words[0])
	if host == "0.0.0.0" || host == "*" || host == "::" {
		return ""
	}
	return strings.Trim(host, "[]")
}
